"""How tokens are chosen and when to stop: values out of range never get past here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from services.runtime.errors import InvalidArgument

MIN_TEMPERATURE = 0.01
"""Besides 0; vLLM takes lower ones as this one."""
MAX_COMPLETIONS = 64
MAX_STOP_STRINGS = 16
MAX_STOP_CHARACTERS = 256
MAX_STOP_TOKEN_IDS = 64
MAX_LOGIT_BIASES = 1024
MAX_BAD_WORDS = 64
MAX_ALTERNATIVES = 1000
MAX_CHOICES = 256
MAX_LOGPROB_ENTRIES = 1 << 17
"""Alternatives, and the token itself, times tokens of one request: some 10 MB while it runs."""
MAX_STRUCTURE_BYTES = 64 << 10
"""Of a schema, regular expression, grammar, or all choices together."""


class StructureInvalid(InvalidArgument):
    """A schema, regular expression or grammar that no completion could be made to match."""

    reason = "STRUCTURE_INVALID"


class StructureKind(Enum):
    """What a completion must look like; the value is the field's name in the request."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    CHOICES = "choices"
    GRAMMAR = "grammar"
    JSON_OBJECT = "json_object"


@dataclass(frozen=True, slots=True)
class Structure:
    """What a completion must look like."""

    kind: StructureKind
    source: str = ""
    """The schema, regular expression or grammar."""
    choices: Sequence[str] = ()

    def __post_init__(self) -> None:
        name = f"sampling.{self.kind.value}"
        size = sum(len(text.encode()) for text in (self.source, *self.choices))
        if size > MAX_STRUCTURE_BYTES:
            raise InvalidArgument(
                f"{name} is {size} bytes long; at most {MAX_STRUCTURE_BYTES} are taken",
                field=name,
                bytes=size,
                max_bytes=MAX_STRUCTURE_BYTES,
            )
        if self.kind is StructureKind.CHOICES:
            require(
                1 <= len(self.choices) <= MAX_CHOICES
                and len(set(self.choices)) == len(self.choices)
                and all(self.choices),
                name,
                f"must be 1 to {MAX_CHOICES} different texts, none empty",
            )
        elif self.kind is not StructureKind.JSON_OBJECT:
            require(bool(self.source.strip()), name, "must not be empty")


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens and when to stop; `damso.type.v1.SamplingParams` says what each means.

    Raises:
        InvalidArgument: A value is out of range; its field is named.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    n: int = 1
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    include_stop_in_text: bool = False
    ignore_eos: bool = False
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    bad_words: Sequence[str] = ()
    skip_special_tokens: bool = True
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    structure: Structure | None = None

    def __post_init__(self) -> None:
        _in_range("temperature", self.temperature, 0, 2)
        require(
            self.temperature == 0 or self.temperature >= MIN_TEMPERATURE,
            "sampling.temperature",
            f"must be 0 or at least {MIN_TEMPERATURE}; lower ones choose no other tokens than 0",
        )
        _in_range("top_p", self.top_p, 0, 1, open_below=True)
        _in_range("min_p", self.min_p, 0, 1)
        _in_range("repetition_penalty", self.repetition_penalty, 0, 2, open_below=True)
        _in_range("presence_penalty", self.presence_penalty, -2, 2)
        _in_range("frequency_penalty", self.frequency_penalty, -2, 2)
        _in_range("n", self.n, 1, MAX_COMPLETIONS)
        for name, alternatives in (
            ("logprobs", self.logprobs),
            ("prompt_logprobs", self.prompt_logprobs),
        ):
            if alternatives is not None:
                _in_range(name, alternatives, 0, MAX_ALTERNATIVES)
        self._check_ends()
        self._check_tokens()

    def _check_ends(self) -> None:
        require(self.seed is None or self.seed >= 0, "sampling.seed", "must be at least 0")
        require(
            self.n == 1 or self.temperature > 0,
            "sampling.n",
            "must be 1 at temperature 0, where all completions are the same",
        )
        require(
            self.max_tokens is None or self.max_tokens >= 1,
            "sampling.max_tokens",
            "must be at least 1",
        )
        require(
            self.min_tokens >= 0
            and (self.max_tokens is None or self.min_tokens <= self.max_tokens),
            "sampling.min_tokens",
            "must be in [0, max_tokens]",
        )
        require(
            len(self.stop) <= MAX_STOP_STRINGS
            and all(1 <= len(text) <= MAX_STOP_CHARACTERS for text in self.stop),
            "sampling.stop",
            f"must be at most {MAX_STOP_STRINGS} strings of 1 to {MAX_STOP_CHARACTERS} characters",
        )

    def _check_tokens(self) -> None:
        require(self.top_k >= 0, "sampling.top_k", "must be at least 0")
        require(
            len(self.stop_token_ids) <= MAX_STOP_TOKEN_IDS,
            "sampling.stop_token_ids",
            f"must be at most {MAX_STOP_TOKEN_IDS} ids",
        )
        require(
            len(self.logit_bias) <= MAX_LOGIT_BIASES,
            "sampling.logit_bias",
            f"must have at most {MAX_LOGIT_BIASES} entries",
        )
        require(
            all(-100 <= bias <= 100 for bias in self.logit_bias.values()),
            "sampling.logit_bias",
            "must have finite values in [-100, 100]",
        )
        require(
            len(self.bad_words) <= MAX_BAD_WORDS
            and all(word.strip() and len(word) <= MAX_STOP_CHARACTERS for word in self.bad_words),
            "sampling.bad_words",
            f"must be at most {MAX_BAD_WORDS} strings of 1 to {MAX_STOP_CHARACTERS} characters, "
            "none blank",
        )

    def check_logprobs(self, prompt_tokens: int, max_tokens: int) -> None:
        """Checks how much the logprobs could come to, for a prompt and what may follow it.

        Raises:
            InvalidArgument: Too much.
        """
        for name, alternatives, tokens in (
            ("logprobs", self.logprobs, self.n * max_tokens),
            ("prompt_logprobs", self.prompt_logprobs, prompt_tokens),
        ):
            require(
                alternatives is None or (alternatives + 1) * tokens <= MAX_LOGPROB_ENTRIES,
                f"sampling.{name}",
                f"plus 1, times the tokens, must be at most {MAX_LOGPROB_ENTRIES}; "
                "ask for fewer of either",
            )

    def check_vocabulary(self, size: int) -> None:
        """Checks every token id against a model's vocabulary.

        Raises:
            InvalidArgument: An id is not in [0, size), or `top_k` is above `size`.
        """
        require(self.top_k <= size, "sampling.top_k", f"must be in [0, {size}]")
        for name, ids in (("stop_token_ids", self.stop_token_ids), ("logit_bias", self.logit_bias)):
            require(
                all(0 <= token_id < size for token_id in ids),
                f"sampling.{name}",
                f"must have token ids in [0, {size})",
            )


def _in_range(
    name: str, value: float, least: float, most: float, *, open_below: bool = False
) -> None:
    inside = least < value <= most if open_below else least <= value <= most
    if not (math.isfinite(value) and inside):
        opening = "(" if open_below else "["
        raise InvalidArgument(
            f"sampling.{name} must be a finite number in {opening}{least}, {most}]",
            field=f"sampling.{name}",
        )


def require(holds: bool, field_name: str, rule: str) -> None:
    """Raises `InvalidArgument` that names the field, unless its rule holds."""
    if not holds:
        raise InvalidArgument(f"{field_name} {rule}", field=field_name)
