"""Towards the tokenizer and generation services."""

from collections.abc import AsyncGenerator, Mapping, Sequence

import grpc.aio
from google.protobuf.json_format import ParseDict

from damso.generation.v1 import generation_pb2 as generation
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from damso.tokenizer.v1 import tokenizer_pb2 as tokenizer
from damso.tokenizer.v1.tokenizer_pb2_grpc import TokenizerServiceStub
from damso.type.v1 import completion_pb2, message_pb2, sampling_pb2
from services.gateway.completion import Line, Piece, Prompt, Speaker, TokenizerUnreachable
from services.gateway.conversations import FinishReason, Usage
from services.gateway.models import Model, ModelState, ModelUnreachable
from services.runtime import channels, status
from services.runtime.errors import ServiceError, Unavailable

GENERATION = generation.DESCRIPTOR.services_by_name["GenerationService"]
TOKENIZER = tokenizer.DESCRIPTOR.services_by_name["TokenizerService"]

RENDER_SECONDS = 15.0
LIST_MODELS_SECONDS = 2.0

_ROLES = {
    Speaker.SYSTEM: message_pb2.ROLE_SYSTEM,
    Speaker.USER: message_pb2.ROLE_USER,
    Speaker.ASSISTANT: message_pb2.ROLE_ASSISTANT,
}
_FINISH_REASONS = {
    completion_pb2.FINISH_REASON_STOP: FinishReason.STOP,
    completion_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    completion_pb2.FINISH_REASON_ABORT: FinishReason.ABORT,
}
_STATES = {
    generation.Model.STATE_LOADING: ModelState.LOADING,
    generation.Model.STATE_READY: ModelState.READY,
    generation.Model.STATE_FAILED: ModelState.FAILED,
}


def open_tokenizer_channel(address: str) -> grpc.aio.Channel:
    """A channel to a tokenizer service, all of whose calls are idempotent."""
    return channels.open_channel(
        address, [(TOKENIZER.full_name, method.name) for method in TOKENIZER.methods]
    )


def open_generation_channel(address: str) -> grpc.aio.Channel:
    """A channel to a generation service."""
    reading = ("GetModel", "ListAdapters", "GetLoad", "Score", "NextTokens")
    return channels.open_channel(address, [(GENERATION.full_name, method) for method in reading])


class TokenizerClient:
    """The tokenizer service.

    Args:
        channel: To the service.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = TokenizerServiceStub(channel)

    async def render_chat(
        self, model: str, lines: Sequence[Line], max_prompt_tokens: int
    ) -> Prompt:
        """Renders messages with the model's chat template, within a budget.

        Raises:
            ServiceError: What the tokenizer refused them with.
        """
        request = tokenizer.RenderChatRequest(
            model=model,
            messages=[
                message_pb2.Message(role=_ROLES[line.speaker], content=line.content)
                for line in lines
            ],
            max_prompt_tokens=max_prompt_tokens,
        )
        try:
            response = await self._stub.RenderChat(request, **channels.outgoing(RENDER_SECONDS))
        except grpc.aio.AioRpcError as error:
            raise _named(status.from_rpc_error(error), TokenizerUnreachable) from error
        return Prompt(
            token_ids=tuple(response.prompt_token_ids),
            text=response.prompt,
            dropped_indexes=tuple(response.dropped_message_indexes),
        )


class GenerationClient:
    """One generation service.

    Args:
        channel: To the service.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = GenerationServiceStub(channel)

    async def list_models(self) -> Sequence[Model]:
        """The base model first, then its adapters.

        Raises:
            ServiceError: The service does not answer.
        """
        request = generation.ListModelsRequest(page_size=1000)
        try:
            response = await self._stub.ListModels(
                request, **channels.outgoing(LIST_MODELS_SECONDS)
            )
        except grpc.aio.AioRpcError as error:
            raise _named(status.from_rpc_error(error), ModelUnreachable) from error
        return [_model(model) for model in response.models]

    async def generate(
        self,
        model: str,
        prompt: Prompt,
        sampling: Mapping[str, object],
        request_id: str,
    ) -> AsyncGenerator[Piece]:
        """Streams one completion. Closing the iterator frees its place in the engine.

        Raises:
            ServiceError: What generation refused or failed it with.
        """
        request = generation.GenerateRequest(
            model=model, request_id=request_id, sampling=sampling_pb2.SamplingParams()
        )
        request.prompt.token_ids.token_ids.extend(prompt.token_ids)
        ParseDict(dict(sampling), request.sampling)
        call = self._stub.Generate(request, **channels.outgoing(None))
        try:
            async for response in call:
                usage = _usage(response.finished.usage) if response.HasField("finished") else None
                if not response.deltas:
                    if usage:
                        yield Piece("", usage=usage)
                    continue
                delta = response.deltas[0]
                yield Piece(delta.text, _FINISH_REASONS.get(delta.finish_reason), usage)
        except grpc.aio.AioRpcError as error:
            raise _named(status.from_rpc_error(error), ModelUnreachable) from error
        finally:
            call.cancel()


def _named(error: ServiceError, unreachable: type[Unavailable]) -> ServiceError:
    """The same error; one that only says that nobody answered names the service that did not."""
    return unreachable(error.message) if type(error) is Unavailable else error


def _model(model: generation.Model) -> Model:
    loading = model.loading
    return Model(
        name=model.name,
        base_model=model.base_model or model.name,
        state=_STATES.get(model.state, ModelState.FAILED),
        context_window_tokens=model.context_window_tokens,
        phase=generation.Loading.Phase.Name(loading.phase).removeprefix("PHASE_").lower(),
        progress=loading.progress,
        remaining_seconds=(
            loading.remaining_time.ToTimedelta().total_seconds()
            if loading.HasField("remaining_time")
            else None
        ),
    )


def _usage(usage: completion_pb2.Usage) -> Usage:
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        queue_seconds=usage.queue_time.ToTimedelta().total_seconds(),
        first_token_seconds=usage.first_token_time.ToTimedelta().total_seconds(),
        total_seconds=usage.total_time.ToTimedelta().total_seconds(),
    )
