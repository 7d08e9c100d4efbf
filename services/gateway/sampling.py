"""Which sampling values a chat may have. Generation has the last word on all of them."""

import json
from collections.abc import Mapping
from math import inf
from types import MappingProxyType

from services.gateway.conversations import (
    MAX_SYSTEM_PROMPT_CHARACTERS,
    ChatSettings,
    TextTooLarge,
    check_characters,
)
from services.runtime.errors import InvalidArgument

RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "temperature": (0, 2),
        "top_p": (0, 1),
        "top_k": (0, inf),
        "min_p": (0, 1),
        "repetition_penalty": (0, 2),
        "presence_penalty": (-2, 2),
        "frequency_penalty": (-2, 2),
        "seed": (0, inf),
        "max_tokens": (1, inf),
        "min_tokens": (0, inf),
    }
)
"""As `SamplingParams` says. Checked here too, so that values that no model takes are refused before
they are kept with a conversation; a turn would fail by them again and again."""

ABOVE_ZERO = frozenset({"top_p", "repetition_penalty"})
"""Fields whose lower end is not allowed itself."""

MAX_SAMPLING_BYTES = 64 << 10
"""As JSON: it is kept with the conversation and read with every turn."""

NOT_FOR_CHAT = ("n", "logprobs", "prompt_logprobs")
"""Fields that a chat turn, with one answer in text, has no place for."""


class SamplingNotSupported(InvalidArgument):
    """A chat turn cannot do this; the generation service can."""

    reason = "SAMPLING_NOT_SUPPORTED"


def check_settings(settings: ChatSettings, field: str = "settings") -> None:
    """Refuses settings that no turn could be made with.

    Raises:
        InvalidArgument: A value is out of range; names the field.
        SamplingNotSupported: `n`, `logprobs` or `prompt_logprobs` is set.
        TextTooLarge: A text, or the sampling as a whole, is over its limit.
    """
    check_characters(settings.system_prompt, MAX_SYSTEM_PROMPT_CHARACTERS, f"{field}.system_prompt")
    check_characters(settings.model, 256, f"{field}.model")
    size = len(json.dumps(dict(settings.sampling), ensure_ascii=False).encode())
    if size > MAX_SAMPLING_BYTES:
        raise TextTooLarge(
            f"{field}.sampling has {size} bytes as JSON; at most {MAX_SAMPLING_BYTES} are allowed",
            field=f"{field}.sampling",
            size_bytes=size,
            max_bytes=MAX_SAMPLING_BYTES,
        )
    for name in NOT_FOR_CHAT:
        if name in settings.sampling:
            path = f"{field}.sampling.{name}"
            raise SamplingNotSupported(f"{path} must not be set in a chat", field=path)
    for name, (low, high) in RANGES.items():
        value = settings.sampling.get(name)
        if value is None:
            continue
        number = float(str(value))  # protobuf's JSON writes 64-bit integers and NaN as strings
        allowed = low < number <= high if name in ABOVE_ZERO else low <= number <= high
        if not allowed:
            opening = "(" if name in ABOVE_ZERO else "["
            interval = f"at least {low:g}" if high == inf else f"in {opening}{low:g}, {high:g}]"
            path = f"{field}.sampling.{name}"
            raise InvalidArgument(f"{path} must be {interval}", field=path)


def with_defaults(
    sampling: Mapping[str, object], defaults: Mapping[str, object]
) -> dict[str, object]:
    """The sampling of a turn: what is set, and the chat's defaults for what is not."""
    return {**defaults, **sampling}
