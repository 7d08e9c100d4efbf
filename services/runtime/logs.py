"""JSON logs: one event per line, with the ids that join the lines of one call.

Never log prompts, completions or secrets: pass ids, counts and seconds in `extra`.
"""

import logging
import sys
import traceback
from contextvars import ContextVar
from types import TracebackType

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the call that the current task answers."""


def configure(service: str, level: int = logging.INFO) -> None:
    """Sends every log record of this process to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
            json_ensure_ascii=False,
        )
    )
    handler.addFilter(_add_ids)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)


def fault(logger: logging.Logger, message: str, error: BaseException) -> None:
    """Logs what broke and where. The error's message may quote people, so it is left out."""
    logger.error(
        message,
        extra={
            "error_type": type(error).__qualname__,
            "stack": traceback.format_tb(error.__traceback__),
        },
    )


class _Formatter(JsonFormatter):
    def formatException(  # noqa: N802 - logging names it
        self, ei: tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
    ) -> str:
        """The same for what libraries log."""
        kind, _, place = ei
        return "".join(traceback.format_tb(place)) + (kind.__qualname__ if kind else "")


def _add_ids(record: logging.LogRecord) -> bool:
    if current := request_id.get():
        record.request_id = current
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record.trace_id = trace.format_trace_id(context.trace_id)
    return True
