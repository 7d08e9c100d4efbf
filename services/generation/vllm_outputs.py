"""vLLM's outputs as steps, and its logprobs as ours."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vllm.logprobs import FlatLogprobs
from vllm.outputs import CompletionOutput, RequestOutput

from services.generation.engine import (
    Delta,
    EngineFailed,
    FinishReason,
    TokenLogprob,
    TokenProbability,
)

_REPLACEMENT = "\ufffd"
_REPLACEMENT_BYTES = "ï¿½"  # the bytes EF BF BD, as byte-level vocabularies spell them
_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "abort": FinishReason.ABORT,
}


class WholeCharacters:
    """Takes U+FFFD out of one request's texts, where vLLM puts it for bytes of no character.

    Args:
        spelled: How many U+FFFD a token spells by itself, by id; as many are left in.
    """

    def __init__(self, spelled: Mapping[int, int]) -> None:
        self._spelled = spelled
        self._due: Counter[int] = Counter()  # by completion; a text may come after its tokens

    def of(self, delta: Delta) -> str:
        """The delta's text without them."""
        if not self._spelled.keys().isdisjoint(delta.token_ids):
            self._due[delta.index] += sum(self._spelled.get(each, 0) for each in delta.token_ids)
        if _REPLACEMENT not in delta.text:
            return delta.text
        first, *others = delta.text.split(_REPLACEMENT)
        kept = min(self._due[delta.index], len(others))
        self._due[delta.index] -= kept
        return first + "".join(
            _REPLACEMENT + text if place < kept else text for place, text in enumerate(others)
        )


def spelled_replacements(vocabulary: Mapping[str, int]) -> dict[int, int]:
    """How many U+FFFD a token spells by itself, by id; tokens that spell none are left out."""
    counts = {
        token_id: piece.count(_REPLACEMENT) + piece.count(_REPLACEMENT_BYTES)
        for piece, token_id in vocabulary.items()
    }
    return {token_id: count for token_id, count in counts.items() if count}


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
        if not entries:
            converted.append(TokenLogprob(TokenProbability(0, "", None, 0)))
            continue
        token, *alternatives = entries
        if alternatives and (token.logprob or 0.0) >= (alternatives[0].logprob or 0.0):
            token = replace(token, rank=1)  # vLLM counts equals as before it
        converted.append(TokenLogprob(token, alternatives))
    return converted
