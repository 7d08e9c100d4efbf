"""JSON logs of the pages' process, one event per line, as the services write them."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure() -> None:
    """Sends the pages' own log records to standard error."""
    logger = logging.getLogger("frontend")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": "frontend"},
            json_ensure_ascii=False,
        )
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
