"""One program under the supervisor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from launcher.checks import Check

SERVICE_PREFIXES = ("TOKENIZER_", "GENERATION_", "GATEWAY_", "FRONTEND_", "OTEL_", "VLLM_", "HF_")
"""Of the variables by which a person sets up the services themselves."""


class Stage(IntEnum):
    """Programs start in this order and stop in the reverse."""

    DATABASES = 100
    SERVICES = 200
    GATEWAY = 300
    FRONTEND = 400


@dataclass(frozen=True)
class Program:
    """What to run, and how to see that it can serve."""

    name: str
    """What people call it; letters, digits and dashes."""

    stage: Stage
    """When it starts and stops."""

    command: tuple[str, ...]
    """Program and arguments. No secrets: `ps` shows them to everybody."""

    check: Check
    """Tells whether it can serve."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables on top of the launcher's own. Secrets go here."""

    ports: tuple[int, ...] = ()
    """TCP ports it listens on."""

    user: str = ""
    """System user that it runs as. Empty: who runs the launcher."""

    stop_signal: str = "TERM"
    """What tells it to end."""
