"""vLLM's outputs as steps, and its logprobs as ours."""

from collections.abc import Sequence

from vllm.logprobs import FlatLogprobs
from vllm.outputs import CompletionOutput, RequestOutput

from services.generation.engine import (
    Delta,
    EngineFailed,
    FinishReason,
    TokenLogprob,
    TokenProbability,
)

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "abort": FinishReason.ABORT,
}


def to_delta(output: CompletionOutput, *, include_text: bool) -> Delta:
    """What one completion gained.

    Raises:
        EngineFailed: The engine gave it up.
    """
    reason = output.stop_reason
    if output.finish_reason and output.finish_reason not in _FINISH_REASONS:
        raise EngineFailed
    return Delta(
        index=output.index,
        token_ids=output.token_ids,
        text=output.text if include_text else "",
        logprobs=to_logprobs(output.logprobs) if output.logprobs is not None else (),
        finish_reason=_FINISH_REASONS[output.finish_reason] if output.finish_reason else None,
        stop_string=reason if isinstance(reason, str) else "",
        stop_token_id=reason if isinstance(reason, int) else None,
    )


def prompt_logprobs(output: RequestOutput) -> Sequence[TokenLogprob]:
    """The prompt's logprobs, where this output brings them; the first token has none."""
    if not output.prompt_logprobs or not output.prompt_token_ids:
        return ()
    logprobs = to_logprobs(output.prompt_logprobs)
    first = TokenProbability(output.prompt_token_ids[0], "", None, 0)
    return [TokenLogprob(first), *logprobs[1:]]


def to_logprobs(flat: FlatLogprobs) -> list[TokenLogprob]:
    """One per position; vLLM puts the token itself first, then the most probable ones."""
    converted = []
    for start, end in zip(flat.start_indices, flat.end_indices, strict=True):
        entries = [
            TokenProbability(token_id, text or "", logprob, rank or 0)
            for token_id, text, logprob, rank in zip(
                flat.token_ids[start:end],
                flat.decoded_tokens[start:end],
                flat.logprobs[start:end],
                flat.ranks[start:end],
                strict=True,
            )
        ]
        converted.append(
            TokenLogprob(entries[0], entries[1:])
            if entries
            else TokenLogprob(TokenProbability(0, "", None, 0))
        )
    return converted
