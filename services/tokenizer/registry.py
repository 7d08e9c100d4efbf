"""The served models, by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.runtime.errors import NotFound
from services.tokenizer.chat_template import ChatTemplate
from services.tokenizer.loading import LoadedTokenizer
from services.tokenizer.tokenizer import Tokenizer


class TokenizerNotFound(NotFound):
    """No served model has this name."""

    reason = "TOKENIZER_NOT_FOUND"


@dataclass(frozen=True)
class Model:
    """What is known of a served model's texts."""

    name: str
    tokenizer: Tokenizer
    chat_template: ChatTemplate


class Registry:
    """Finds models by name.

    Args:
        loaded: By served name, at least one. The first is the default.
    """

    def __init__(self, loaded: Mapping[str, LoadedTokenizer]) -> None:
        self._models = {
            name: Model(
                name,
                Tokenizer(found.backend, found.special_tokens),
                ChatTemplate(found.chat_templates, found.special_tokens),
            )
            for name, found in loaded.items()
        }
        self._default = next(iter(self._models.values()))

    def get(self, name: str) -> Model:
        """The model of this name; the default for an empty one.

        Raises:
            TokenizerNotFound: None has it.
        """
        if not name:
            return self._default
        if name not in self._models:
            raise TokenizerNotFound(
                "no served model has this name; see ListTokenizers",
                resource_type="tokenizer",
                resource_name=name,
            )
        return self._models[name]

    def after(self, name: str, count: int) -> list[Model]:
        """At most `count` models whose names come after `name`, in order of their names."""
        return [self._models[key] for key in sorted(self._models) if key > name][:count]
