"""`damso.generation.v1.GenerationService`: calls in, domain, messages out."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1 import generation_pb2_grpc
from services.generation import scoring, wire
from services.generation.adapters import Adapter
from services.generation.batch import Batch, Command, Item
from services.generation.engine import ModelNotFound
from services.generation.host import EngineHost, State
from services.runtime import logs, pages
from services.runtime.calls import Context
from services.runtime.errors import InvalidArgument

_MAX_PAGE = 1000
_DEFAULT_PAGE = 100
_MAX_ABORTS = 1024
_STATES = {
    State.LOADING: pb.Model.STATE_LOADING,
    State.READY: pb.Model.STATE_READY,
    State.FAILED: pb.Model.STATE_FAILED,
}


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Answers for one base model and its adapters.

    Args:
        host: Holds the engine.
    """

    def __init__(self, host: EngineHost) -> None:
        self._host = host

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        completion = await self._host.start(wire.to_request(request, logs.request_id.get()))
        async with aclosing(completion):
            async for step in completion:
                yield wire.from_step(step)

    async def GenerateBatch(  # type: ignore[override] # it writes; the stubs know only `yield`
        self, requests: AsyncIterator[pb.GenerateBatchRequest], context: Context
    ) -> None:
        async def send(items: list[Item]) -> None:
            await context.write(wire.from_items(items))

        async def commands() -> AsyncIterator[Command]:
            model = None
            async for request in requests:
                if model is None:
                    model = request.model
                    self._host.adapter(model)  # it must be served
                yield wire.to_command(request, model)

        await Batch(self._host, send).run(commands())

    async def Abort(self, request: pb.AbortRequest, context: Context) -> pb.AbortResponse:
        self._host.adapter(request.model)
        if not 1 <= len(request.request_ids) <= _MAX_ABORTS:
            raise InvalidArgument(
                f"request_ids must be 1 to {_MAX_ABORTS} ids", field="request_ids"
            )
        aborted = await self._host.engine.abort(request.request_ids)
        return pb.AbortResponse(aborted_request_ids=aborted)

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        scores = await scoring.score(
            self._host,
            request.model,
            wire.to_score_items(request),
            request.alternatives,
            logs.request_id.get(),
        )
        return await asyncio.to_thread(wire.from_scores, scores)  # may be megabytes

    async def NextTokens(
        self, request: pb.NextTokensRequest, context: Context
    ) -> pb.NextTokensResponse:
        tokens = await scoring.next_tokens(
            self._host,
            request.model,
            wire.to_prompt(request.prefix, "prefix"),
            request.top_k if request.HasField("top_k") else scoring.DEFAULT_TOP_K,
            logs.request_id.get(),
        )
        return pb.NextTokensResponse(tokens=map(wire.from_probability, tokens))

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Context
    ) -> pb.ListModelsResponse:
        models = [self._base_model()]
        if self._host.state is State.READY:
            models += map(self._adapter_model, self._host.adapters.served())
        size = pages.size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        # Base first, adapters by name: a page goes on after the last name of the page before.
        after = pages.decode(request.page_token, "ListModels")
        if after:
            models = [model for model in models[1:] if model.name > str(after[0])]
        page = models[:size]
        more = len(models) > size
        last = page[-1].name if page[-1].base_model else ""
        return pb.ListModelsResponse(
            models=page, next_page_token=pages.encode([last], "ListModels") if more else ""
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        if request.model in ("", self._host.served_name):
            return pb.GetModelResponse(model=self._base_model())
        adapter = self._host.adapter(request.model)
        assert adapter is not None
        return pb.GetModelResponse(model=self._adapter_model(adapter))

    async def LoadAdapter(
        self, request: pb.LoadAdapterRequest, context: Context
    ) -> pb.LoadAdapterResponse:
        self._check_base(request.model)
        adapter = await self._host.adapters.load(request.name, request.path)
        return pb.LoadAdapterResponse(adapter=self._adapter(adapter))

    async def UnloadAdapter(
        self, request: pb.UnloadAdapterRequest, context: Context
    ) -> pb.UnloadAdapterResponse:
        self._check_base(request.model)
        await self._host.adapters.unload(request.name)
        return pb.UnloadAdapterResponse()

    async def ListAdapters(
        self, request: pb.ListAdaptersRequest, context: Context
    ) -> pb.ListAdaptersResponse:
        self._check_base(request.model)
        adapters = self._host.adapters.served()
        size = pages.size(request.page_size, _DEFAULT_PAGE, _MAX_PAGE)
        if after := pages.decode(request.page_token, "ListAdapters"):
            adapters = [adapter for adapter in adapters if adapter.name > str(after[0])]
        page = adapters[:size]
        return pb.ListAdaptersResponse(
            adapters=map(self._adapter, page),
            next_page_token=(
                pages.encode([page[-1].name], "ListAdapters") if len(adapters) > size else ""
            ),
        )

    async def GetLoad(self, request: pb.GetLoadRequest, context: Context) -> pb.GetLoadResponse:
        self._check_base(request.model)
        engine = self._host.engine
        return wire.from_load(engine.load(), engine.max_running, engine.max_waiting)

    def _check_base(self, name: str) -> None:
        if name not in ("", self._host.served_name):
            raise ModelNotFound(
                "no base model of this name is served; ListModels has the one that is",
                resource_type="model",
                resource_name=name,
            )

    def _adapter(self, adapter: Adapter) -> pb.Adapter:
        return wire.from_adapter(adapter, self._host.served_name)

    def _base_model(self) -> pb.Model:
        host = self._host
        model = pb.Model(name=host.served_name, state=_STATES[host.state])
        if host.state is State.LOADING:
            model.loading.CopyFrom(wire.from_progress(host.progress()))
        if host.state is State.READY:
            engine = host.engine
            model.context_window_tokens = engine.context_window_tokens
            model.vocabulary_size = engine.vocabulary_size
            model.dtype = engine.dtype
            model.device = engine.device
            model.load_time.FromMilliseconds(round(host.load_time * 1000))
        return model

    def _adapter_model(self, adapter: Adapter) -> pb.Model:
        model = self._base_model()
        model.name = adapter.name
        model.base_model = self._host.served_name
        model.version = adapter.version
        model.load_time.FromMilliseconds(round(adapter.load_time * 1000))
        return model
