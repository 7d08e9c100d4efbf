"""What went wrong, as a sentence with its cause and the next step, in the reader's language."""

from frontend.conversation import Failure
from frontend.markdown import plain
from frontend.texts import Texts


def sentence(failure: Failure, texts: Texts) -> str:
    """What to tell the person: by the reason, else by the kind of error, with the figures in it."""
    figures: dict[str, object] = {
        key: int(value) if value.isdecimal() else plain(value)
        for key, value in failure.metadata.items()
    }
    if (field := failure.metadata.get("field", "")) and f"field.{field}" in texts:
        figures["field"] = texts(f"field.{field}")
    for key in (f"error.{failure.reason}", f"error.{failure.code}"):
        if key in texts:
            try:
                return texts(key, **figures)
            except (KeyError, ValueError):  # a figure that this service did not send
                continue
    return texts("error.UNKNOWN")
