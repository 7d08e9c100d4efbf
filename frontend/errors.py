"""What went wrong, and how to say it: the cause and the next step, in the reader's language."""

from frontend.conversation import Failure
from frontend.markdown import plain
from frontend.texts import Texts


class GatewayError(Exception):
    """The gateway could not do what it was asked.

    Args:
        failure: Why; `sentence` says it.
        request_id: Finds the call in the logs of every service.
    """

    def __init__(self, failure: Failure, request_id: str = "") -> None:
        super().__init__(f"{failure.code} {failure.reason}")
        self.failure = failure
        self.request_id = request_id

    @property
    def is_unreachable(self) -> bool:
        """Whether nobody answers at the gateway's address, or not in time."""
        return self.failure.reason in ("GATEWAY_UNREACHABLE", "GATEWAY_SILENT")


def sentence(failure: Failure, texts: Texts) -> str:
    """What to tell the person: by the reason, else by the kind of error.

    A reason may have several sentences (`error.REASON`, `error.REASON.…`), for services that
    raise it with different figures; the first whose figures are all there is taken.
    """
    figures = _figures(failure, texts)
    for name in (failure.reason, failure.code):
        for key in texts.variants(f"error.{name}"):
            try:
                return texts(key, **figures)
            except (KeyError, ValueError):  # a figure is missing, or is no number
                continue
    return texts("error.UNKNOWN")


def _figures(failure: Failure, texts: Texts) -> dict[str, object]:
    """What the sentences may name: numbers as numbers, fields by the page's names for them."""
    figures: dict[str, object] = {
        key: int(value) if value.isdecimal() else plain(value)
        for key, value in failure.metadata.items()
        if key != "field"
    }
    field = f"field.{failure.metadata.get('field', '').removeprefix('settings.')}"
    if field in texts:
        figures["field"] = texts(field)
    return figures
