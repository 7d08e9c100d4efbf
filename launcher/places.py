"""Where the local platform keeps things: one directory, `var/`, and sockets near it."""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError

# A Unix socket's path has 108 bytes on Linux and 104 on macOS; supervisord appends its pid.
_LONGEST_SOCKET_BYTES = 90


@dataclass(frozen=True)
class Places:
    """Paths of one instance.

    Attributes:
        var: The directory of everything that is kept.
    """

    var: Path

    @property
    def run(self) -> Path:
        """What lives as long as the platform runs, and secrets."""
        return self.var / "run"

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.var / "log"

    @property
    def models(self) -> Path:
        """Checkpoints that were prepared here."""
        return self.var / "models"

    @property
    def adapters(self) -> Path:
        """Adapters that generation may load."""
        return self.var / "storage" / "adapters"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.var / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's append-only file."""
        return self.var / "valkey"

    @property
    def sockets(self) -> Path:
        """Unix sockets: `run`, or a short directory where that path is too long for a socket."""
        longest = self.run / "postgres" / ".s.PGSQL.5432.lock"
        if len(os.fsencode(longest)) <= _LONGEST_SOCKET_BYTES:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:12]
        return Path(f"/tmp/damso-{os.getuid()}-{digest}")  # noqa: S108 - `make` checks its owner

    @property
    def postgres_socket(self) -> Path:
        """Directory of PostgreSQL's socket."""
        return self.sockets / "postgres"

    def log(self, program: str) -> Path:
        """The log of one program."""
        return self.logs / f"{program}.log"

    def make(self) -> None:
        """Makes the directories.

        Raises:
            LauncherError: Somebody else owns the directory of the sockets.
        """
        for directory in (self.var, self.run, self.logs, self.models):
            directory.mkdir(parents=True, exist_ok=True)
        self.sockets.mkdir(exist_ok=True)
        if (owner := self.sockets.lstat()).st_uid != os.getuid() or not stat.S_ISDIR(owner.st_mode):
            raise LauncherError(f"{self.sockets} belongs to another user: remove it")
        # PostgreSQL, run by root, is a user of its own: let it pass, but not look around.
        mode = 0o711 if os.getuid() == 0 else 0o700
        self.run.chmod(mode)
        self.sockets.chmod(mode)
        self.logs.chmod(0o700)

    def remove_sockets(self) -> None:
        """Removes the directory of the sockets where it is not in `run`."""
        if self.sockets != self.run:
            shutil.rmtree(self.sockets, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)
