"""A second generation service, which counts: it answers "0 1 2 3 …", one word per token.

A test lets the words out one by one, and so can stop, fail or follow a turn at an exact place, which
nobody can do with vLLM. It speaks the contract over real gRPC.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1 import generation_pb2_grpc
from damso.type.v1 import completion_pb2
from services.runtime import server
from services.runtime.errors import InvalidArgument, NotFound, ServiceError
from services.runtime.settings import ServerSettings

SERVICE = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name
WINDOW_TOKENS = 1000
MODEL = "counting"


class SchemaInvalid(InvalidArgument):
    reason = "STRUCTURE_INVALID"


class CountingServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Counts.

    Attributes:
        name: The model's name.
        state: What the model says of itself.
        failure: What the next word fails with.
        running: Completions now.
        requests: Every request to generate, in order.
    """

    def __init__(self, name: str = MODEL) -> None:
        self.name = name
        self.state = pb.Model.STATE_READY
        self.failure: ServiceError | None = None
        self.running = 0
        self.requests: list[pb.GenerateRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.word = "{}"
        self._words = asyncio.Semaphore(0)
        self._free = False
        self._changed = asyncio.Condition()

    def let_out(self, words: int) -> None:
        """Lets some more words out."""
        for _ in range(words):
            self._words.release()

    def let_all_out(self) -> None:
        """Counts as fast as it can from now on."""
        self._free = True
        self.let_out(1000)

    async def until_running(self, count: int) -> None:
        """Waits until so many completions run."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.running == count)

    async def Generate(self, request, context):
        self.requests.append(request)
        self.metadata.append({key: str(value) for key, value in context.invocation_metadata()})
        if request.model not in ("", self.name):
            raise NotFound("no such model", resource_type="model", resource_name=request.model)
        if request.sampling.json_schema == "broken":
            raise SchemaInvalid("json_schema is no JSON schema", field="sampling.json_schema")
        await self._change(1)
        try:
            words = request.sampling.max_tokens or 10
            for number in range(words):
                if not self._free:
                    await self._words.acquire()
                if self.failure:
                    raise self.failure
                delta = pb.Delta(token_ids=[number], text=self.word.format(number) + " ")
                yield pb.GenerateResponse(deltas=[delta])
            last = pb.Delta(finish_reason=completion_pb2.FINISH_REASON_LENGTH)
            usage = completion_pb2.Usage(
                prompt_tokens=len(request.prompt.token_ids.token_ids), completion_tokens=words
            )
            yield pb.GenerateResponse(deltas=[last], finished=pb.Finished(usage=usage))
        finally:
            await asyncio.shield(self._change(-1))

    async def GenerateBatch(self, requests, context):
        async for request in requests:
            item = pb.BatchItem(request_id=f"{self.name}:{request.start.request_id}")
            yield pb.GenerateBatchResponse(items=[item])

    async def ListModels(self, request, context):
        return pb.ListModelsResponse(models=[self._model()])

    async def GetModel(self, request, context):
        return pb.GetModelResponse(model=self._model())

    async def GetLoad(self, request, context):
        return pb.GetLoadResponse(running_count=self.running)

    def _model(self) -> pb.Model:
        return pb.Model(
            name=self.name,
            state=self.state,
            context_window_tokens=WINDOW_TOKENS,
            loading=pb.Loading(phase=pb.Loading.PHASE_IMPORTING, progress=0.25),
        )

    async def _change(self, by: int) -> None:
        self.running += by
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def counting(name: str = MODEL) -> AsyncIterator[tuple[CountingServicer, str]]:
    """One that listens, and its address."""
    servicer = CountingServicer(name)
    register = partial(generation_pb2_grpc.add_GenerationServiceServicer_to_server, servicer)
    settings = ServerSettings(port=0, drain_seconds=0)
    async with server.running(settings, {SERVICE: register}) as running:
        yield servicer, f"127.0.0.1:{running.port}"
