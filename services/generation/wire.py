"""Generation's domain ↔ its messages; `servicer.py` calls, this converts."""

from dataclasses import replace

from google.protobuf import duration_pb2

from damso.generation.v1 import generation_pb2 as pb
from damso.type.v1 import completion_pb2, sampling_pb2
from services.generation.adapters import Adapter
from services.generation.batch import Abort, Command, Item, Refused, Start
from services.generation.engine import (
    CompletionRequest,
    Delta,
    FinishReason,
    Load,
    Prompt,
    Step,
    TokenLogprob,
    TokenProbability,
    Usage,
)
from services.generation.loading import Phase, Progress
from services.generation.sampling import SamplingParams, Structure, StructureKind
from services.generation.scoring import Score, ScoreItem
from services.runtime import status
from services.runtime.errors import InvalidArgument, ServiceError

_FINISH_REASONS = {
    FinishReason.STOP: completion_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: completion_pb2.FINISH_REASON_LENGTH,
    FinishReason.ABORT: completion_pb2.FINISH_REASON_ABORT,
}
_PHASES = {
    Phase.IMPORTING: pb.Loading.PHASE_IMPORTING,
    Phase.STARTING_ENGINE: pb.Loading.PHASE_STARTING_ENGINE,
    Phase.WARMING_UP: pb.Loading.PHASE_WARMING_UP,
}
_OPTIONAL_SAMPLING = {
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "seed", "n", "max_tokens", "min_tokens", "skip_special_tokens",
    "logprobs", "prompt_logprobs",
}  # fmt: skip


def to_request(message: pb.GenerateRequest, default_request_id: str) -> CompletionRequest:
    """A completion request; `default_request_id` names it where it has no id of its own."""
    return CompletionRequest(
        request_id=message.request_id or default_request_id,
        prompt=to_prompt(message.prompt, "prompt"),
        sampling=to_sampling(message.sampling),
        model=message.model,
        priority=message.priority,
        cache_salt=message.cache_salt,
        include_text=message.include_text if message.HasField("include_text") else True,
        stream_interval=message.stream_interval if message.HasField("stream_interval") else 1,
    )


def to_prompt(content: pb.Content, field: str) -> Prompt:
    """Text or token ids."""
    match content.WhichOneof("content"):
        case "token_ids":
            return Prompt(
                token_ids=content.token_ids.token_ids, field=field
            )  # may be many: no copy
        case "text":
            return Prompt(text=content.text, field=field)
    raise InvalidArgument(f"{field} is required: token ids or text", field=field)


def to_sampling(message: sampling_pb2.SamplingParams) -> SamplingParams:
    """Sampling parameters; unset fields keep the domain's defaults."""
    given = {
        field.name: value
        for field, value in message.ListFields()
        if field.name in _OPTIONAL_SAMPLING
    }
    return SamplingParams(
        **given,
        stop=tuple(message.stop),
        stop_token_ids=tuple(message.stop_token_ids),
        include_stop_in_text=message.include_stop_in_text,
        ignore_eos=message.ignore_eos,
        logit_bias=dict(message.logit_bias),
        bad_words=tuple(message.bad_words),
        structure=_to_structure(message),
    )


def _to_structure(message: sampling_pb2.SamplingParams) -> Structure | None:
    match message.WhichOneof("structure"):
        case None:
            return None
        case "choices":
            return Structure(StructureKind.CHOICES, choices=tuple(message.choices.choices))
        case "json_object":
            return Structure(StructureKind.JSON_OBJECT) if message.json_object else None
        case name:
            return Structure(StructureKind(name), getattr(message, name))


def from_step(step: Step) -> pb.GenerateResponse:
    """What one step brought."""
    response = pb.GenerateResponse(deltas=[_from_delta(delta) for delta in step.deltas])
    if step.prompt_logprobs:
        response.prompt_logprobs.extend(map(from_logprob, step.prompt_logprobs))
    if step.usage is not None:
        response.finished.usage.CopyFrom(from_usage(step.usage))
    return response


def _from_delta(delta: Delta) -> pb.Delta:
    message = pb.Delta(index=delta.index, token_ids=delta.token_ids, text=delta.text)
    if delta.logprobs:
        message.logprobs.extend(map(from_logprob, delta.logprobs))
    if delta.finish_reason is not None:
        message.finish_reason = _FINISH_REASONS[delta.finish_reason]
        message.stop_string = delta.stop_string
        if delta.stop_token_id is not None:
            message.stop_token_id = delta.stop_token_id
    return message


def from_logprob(logprob: TokenLogprob) -> pb.TokenLogprob:
    """A token's probability and those of its alternatives."""
    return pb.TokenLogprob(
        token=from_probability(logprob.token),
        alternatives=[from_probability(token) for token in logprob.alternatives],
    )


def from_probability(token: TokenProbability) -> pb.TokenProbability:
    """One token's probability in its place."""
    return pb.TokenProbability(
        token_id=token.token_id, token=token.token, logprob=token.logprob, rank=token.rank
    )


def from_usage(usage: Usage) -> completion_pb2.Usage:
    """Tokens and times of one request."""
    return completion_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        queue_time=_duration(usage.queue_seconds),
        first_token_time=_duration(usage.first_token_seconds),
        total_time=_duration(usage.total_seconds),
    )


def to_command(message: pb.GenerateBatchRequest, default_model: str) -> Command:
    """A command of a batch stream; `default_model` is asked where it names no model."""
    match message.WhichOneof("command"):
        case "abort_request_id":
            return Abort(message.abort_request_id)
        case "start":
            request_id = message.start.request_id
            if not request_id:
                raise InvalidArgument(
                    "start.request_id is required on a batch stream", field="start.request_id"
                )
            try:
                request = to_request(message.start, request_id)
            except ServiceError as error:
                return Refused(request_id, error)
            return Start(replace(request, model=request.model or message.model or default_model))
    raise InvalidArgument("start or abort_request_id is required", field="start")


def from_items(items: list[Item]) -> pb.GenerateBatchResponse:
    """What one engine step brought."""
    return pb.GenerateBatchResponse(items=map(_from_item, items))


def _from_item(item: Item) -> pb.BatchItem:
    if isinstance(item.result, ServiceError):
        return pb.BatchItem(request_id=item.request_id, failure=status.to_failure(item.result))
    return pb.BatchItem(request_id=item.request_id, response=from_step(item.result))


def to_score_items(message: pb.ScoreRequest) -> list[ScoreItem]:
    """Contexts and what may follow them; an empty context is none."""
    items = []
    for index, item in enumerate(message.items):
        field = f"items[{index}]"
        context = None
        if item.context.text or item.context.token_ids.token_ids:
            context = to_prompt(item.context, f"{field}.context")
        continuations = [
            to_prompt(text, f"{field}.continuations[{place}]")
            for place, text in enumerate(item.continuations)
        ]
        items.append(ScoreItem(context, continuations))
    return items


def from_scores(rows: list[list[Score]]) -> pb.ScoreResponse:
    """The scores of all items."""
    return pb.ScoreResponse(
        items=[pb.ItemScores(scores=map(_from_score, scores)) for scores in rows]
    )


def _from_score(score: Score) -> pb.Score:
    return pb.Score(
        logprob=score.logprob,
        perplexity=score.perplexity,
        token_count=len(score.tokens),
        is_greedy=score.is_greedy,
        tokens=map(from_logprob, score.tokens),
    )


def from_adapter(adapter: Adapter, base_model: str) -> pb.Adapter:
    """A served adapter."""
    message = pb.Adapter(
        name=adapter.name,
        base_model=base_model,
        path=adapter.path,
        version=adapter.version,
        rank=adapter.rank,
    )
    message.load_time.FromMilliseconds(round(adapter.load_time * 1000))
    return message


def from_load(load: Load, max_running: int, max_waiting: int) -> pb.GetLoadResponse:
    """How busy the engine is."""
    return pb.GetLoadResponse(
        running_count=load.running,
        waiting_count=load.waiting,
        max_running_count=max_running,
        max_waiting_count=max_waiting,
        kv_cache_usage=load.kv_cache_usage,
    )


def from_progress(progress: Progress) -> pb.Loading:
    """How far a start is."""
    message = pb.Loading(phase=_PHASES[progress.phase], progress=progress.share)
    if progress.remaining_seconds is not None:
        message.remaining_time.CopyFrom(_duration(progress.remaining_seconds))
    return message


def _duration(seconds: float) -> duration_pb2.Duration:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
