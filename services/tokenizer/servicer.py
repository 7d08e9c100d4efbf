"""The tokenizer on the wire."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, TypeVar

from google.protobuf import struct_pb2

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.tokenizer.v1 import tokenizer_pb2_grpc
from damso.type.v1 import message_pb2
from services.runtime import deadlines, pages
from services.runtime.calls import Context
from services.runtime.errors import InvalidArgument
from services.tokenizer import prompts, telemetry
from services.tokenizer.chat_template import ChatMessage
from services.tokenizer.limits import MOST_MESSAGES, Limits
from services.tokenizer.registry import Model, Registry
from services.tokenizer.workers import Workers

Response = TypeVar("Response")

# Up to here work stays on the event loop: it takes 0.1 ms or less, and a thread adds 0.04 ms.
_LIGHT_BYTES = 256
_LIGHT_IDS = 256

_ROLES = {
    message_pb2.ROLE_SYSTEM: "system",
    message_pb2.ROLE_USER: "user",
    message_pb2.ROLE_ASSISTANT: "assistant",
    message_pb2.ROLE_TOOL: "tool",
}


class TokenizerServicer(tokenizer_pb2_grpc.TokenizerServiceServicer):
    """Answers for the served models.

    Args:
        registry: The models.
        limits: How much one request may hold.
        workers: Threads for what would hold up the event loop.
        max_render_seconds: Most time of a chat template for one request.
    """

    def __init__(
        self, registry: Registry, limits: Limits, workers: Workers, max_render_seconds: float
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._workers = workers
        self._max_render_seconds = max_render_seconds

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        tokenizer = self._registry.get(request.model).tokenizer
        add_special_tokens = _unless_set(request, "add_special_tokens", True)
        texts = list(request.texts)
        size = self._limits.check_texts(texts, "texts")
        if request.include_spans:
            self._limits.check_span_bytes(size, "texts")

        def encode() -> pb.EncodeResponse:
            response = pb.EncodeResponse()
            if not request.include_spans:
                for token_ids in tokenizer.encode(texts, add_special_tokens):
                    response.encodings.add(token_ids=token_ids)  # half the time of a constructor
                return response
            for encoding in tokenizer.encode_with_spans(texts, add_special_tokens):
                response.encodings.add(
                    token_ids=encoding.token_ids,
                    start_bytes=[span.start_byte for span in encoding.spans],
                    end_bytes=[span.end_byte for span in encoding.spans],
                    token_bytes=[span.token_bytes for span in encoding.spans],
                )
            return response

        response = await self._run(encode, light=size <= _LIGHT_BYTES)
        telemetry.ENCODED.inc(sum(len(encoding.token_ids) for encoding in response.encodings))
        return response

    async def CountTokens(
        self, request: pb.CountTokensRequest, context: Context
    ) -> pb.CountTokensResponse:
        tokenizer = self._registry.get(request.model).tokenizer
        add_special_tokens = _unless_set(request, "add_special_tokens", True)
        texts = list(request.texts)
        size = self._limits.check_texts(texts, "texts")
        counts = await self._run(
            lambda: tokenizer.count(texts, add_special_tokens), light=size <= _LIGHT_BYTES
        )
        telemetry.ENCODED.inc(sum(counts))
        return pb.CountTokensResponse(token_counts=counts)

    async def Decode(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:
        tokenizer = self._registry.get(request.model).tokenizer
        skip_special_tokens = _unless_set(request, "skip_special_tokens", True)
        lengths = [len(sequence.token_ids) for sequence in request.sequences]
        self._limits.check_sequences(lengths, "sequences")

        def decode() -> pb.DecodeResponse:
            sequences = [list(sequence.token_ids) for sequence in request.sequences]
            return pb.DecodeResponse(texts=tokenizer.decode(sequences, skip_special_tokens))

        response = await self._run(decode, light=sum(lengths) <= _LIGHT_IDS)
        telemetry.DECODED.inc(sum(lengths))
        return response

    async def RenderChat(
        self, request: pb.RenderChatRequest, context: Context
    ) -> pb.RenderChatResponse:
        model = self._registry.get(request.model)
        contents = [message.content for message in request.messages]
        self._limits.check_texts(contents, "messages", MOST_MESSAGES)
        self._limits.check_bytes(sum(tool.ByteSize() for tool in request.tools), "tools")
        self._limits.check_bytes(request.template_options.ByteSize(), "template_options")
        chat = _chat(request)
        max_seconds = deadlines.budget_seconds(self._max_render_seconds)

        def render() -> pb.RenderChatResponse:
            prompt = prompts.render_chat(chat, model.chat_template, model.tokenizer, max_seconds)
            return pb.RenderChatResponse(
                prompt_token_ids=prompt.token_ids,
                prompt=prompt.text,
                dropped_message_indexes=prompt.dropped_message_indexes,
            )

        response = await self._workers.run(render)  # a template may take any time
        telemetry.ENCODED.inc(len(response.prompt_token_ids))
        return response

    async def GetTokenizer(
        self, request: pb.GetTokenizerRequest, context: Context
    ) -> pb.GetTokenizerResponse:
        model = self._registry.get(request.model)
        tokenizer = _described(model)
        tokenizer.chat_template = model.chat_template.source
        return pb.GetTokenizerResponse(tokenizer=tokenizer)

    async def ListTokenizers(
        self, request: pb.ListTokenizersRequest, context: Context
    ) -> pb.ListTokenizersResponse:
        size = pages.size(request.page_size, default=50, most=100)
        position = pages.decode(request.page_token, scope="ListTokenizers")
        models = self._registry.after(str(position[0]) if position else "", size + 1)
        response = pb.ListTokenizersResponse(
            tokenizers=[_described(model) for model in models[:size]]
        )
        if len(models) > size:
            response.next_page_token = pages.encode([models[size - 1].name], "ListTokenizers")
        return response

    async def DecodeStream(
        self,
        request_iterator: AsyncIterator[pb.DecodeStreamRequest],
        context: Context,
    ) -> AsyncIterator[pb.DecodeStreamResponse]:
        stream = None
        async for request in request_iterator:
            if stream is None:
                tokenizer = self._registry.get(request.model).tokenizer
                stream = tokenizer.open_decode_stream(
                    _unless_set(request, "skip_special_tokens", True)
                )
            token_ids = list(request.token_ids)
            pending = len(token_ids) + stream.held_count
            self._limits.check_sequences([pending], "token_ids")
            tokenizer.check_ids(token_ids, "token_ids")
            push = partial(stream.push, token_ids)
            text = await self._run(push, light=pending <= _LIGHT_IDS)
            telemetry.DECODED.inc(len(token_ids))
            if text:
                yield pb.DecodeStreamResponse(text=text)
        if stream is not None:
            text = await self._run(stream.close, light=stream.held_count <= _LIGHT_IDS)
            if text:
                yield pb.DecodeStreamResponse(text=text)

    async def _run(self, function: Callable[[], Response], light: bool) -> Response:
        return function() if light else await self._workers.run(function)


def _chat(request: pb.RenderChatRequest) -> prompts.Chat:
    continues = request.continue_final_message
    return prompts.Chat(
        messages=[
            _message(message, f"messages[{place}]")
            for place, message in enumerate(request.messages)
        ],
        max_prompt_tokens=_unless_set(request, "max_prompt_tokens", None),
        add_generation_prompt=_unless_set(request, "add_generation_prompt", not continues),
        continue_final_message=continues,
        tools=[_plain_object(tool) for tool in request.tools] or None,
        template_options=_plain_object(request.template_options),
    )


def _message(message: message_pb2.Message, field: str) -> ChatMessage:
    if message.role not in _ROLES:
        raise InvalidArgument(f"{field}.role must be one that Role names", field=f"{field}.role")
    return {"role": _ROLES[message.role], "content": message.content}


def _described(model: Model) -> pb.Tokenizer:
    """Without the chat template."""
    return pb.Tokenizer(
        model=model.name,
        vocabulary_size=model.tokenizer.vocabulary_size,
        special_tokens=[
            pb.SpecialToken(token_id=token.token_id, token=token.token, purpose=token.purpose)
            for token in model.tokenizer.special_tokens
        ],
        tokenizer_hash=model.tokenizer.hash,
        chat_template_hash=model.chat_template.hash,
    )


def _unless_set(request: Any, field: str, default: Any) -> Any:
    return getattr(request, field) if request.HasField(field) else default


def _plain_object(struct: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _plain(value) for key, value in struct.fields.items()}


def _plain(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain_object(value.struct_value)
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            # A Struct has only doubles, but JSON's 5 is not to be rendered as 5.0.
            number = value.number_value
            return int(number) if number.is_integer() else number
        case None | "null_value":
            return None
        case kind:
            return getattr(value, kind)
