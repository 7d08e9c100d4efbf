"""Whether the ports that programs want are free."""

import socket
from collections.abc import Iterable

from launcher.errors import LauncherError
from launcher.program import Program


def require_free(programs: Iterable[Program]) -> None:
    """Checks every port of some programs.

    Raises:
        LauncherError: Something else listens on one.
    """
    taken = [
        f"port {port} ({program.name})"
        for program in programs
        for port in program.ports
        if not _is_free(port)
    ]
    if taken:
        raise LauncherError(
            f"something else listens on {', '.join(taken)}.\n"
            "Stop it, or set DAMSO_PORT_OFFSET to move all ports of Damso, as in\n"
            "    DAMSO_PORT_OFFSET=100 make up"
        )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Connections that have just ended do not count; listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
