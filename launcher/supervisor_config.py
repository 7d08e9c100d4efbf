"""Writes the plan down for supervisord: its own configuration, and what it must not show.

Commands, variables and users go to a file of their own, which only the owner may read and which
`run_program.py` reads; supervisord's configuration has names, order and patience.
"""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from launcher.places import Places, write_private
from launcher.processes import PROGRAM_VARIABLE
from launcher.program import SERVICE_PREFIXES, Program
from launcher.settings import REPOSITORY

# The services drain for 20 s.
_STOP_SECONDS = 35
# A program that ends sooner, as one that cannot load, is started again after 1 s, then 2 s, 3 s, …
_STARTED_AFTER_SECONDS = 30
_RETRIES = 1_000

# For a caller that goes by a proxy, this machine is not behind it.
_ALWAYS = {"no_grpc_proxy": "localhost,127.0.0.1", "PYTHONUNBUFFERED": "1"}


def path(places: Places) -> Path:
    """Supervisord's configuration."""
    return places.run / "supervisord.conf"


def socket(places: Places) -> Path:
    """Where supervisord listens."""
    return places.sockets / "supervisord.sock"


def write(places: Places, programs: Iterable[Program]) -> None:
    """Writes both files."""
    specifications = {program.name: _specification(program) for program in programs}
    write_private(_specifications_path(places), json.dumps(specifications, indent=2))
    sections = [_daemon(places), *(_section(places, program) for program in programs)]
    write_private(path(places), "\n".join(sections))


def _specifications_path(places: Places) -> Path:
    return places.run / "programs.json"


def _specification(program: Program) -> dict[str, Any]:
    # Named here, so that a changed one restarts the programs at the next `up`.
    chosen = {key: value for key, value in os.environ.items() if key.startswith(SERVICE_PREFIXES)}
    return {
        "command": program.command,
        "environment": {**_ALWAYS, **chosen, **program.environment},
        "user": program.user,
    }


def _daemon(places: Places) -> str:
    # Without `user`, supervisord warns root at every start.
    user = "user=root\n" if os.getuid() == 0 else ""
    return f"""\
[unix_http_server]
file={_value(socket(places))}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
{user}identifier=damso
pidfile={_value(places.run / "supervisord.pid")}
logfile={_value(places.log("supervisord"))}
logfile_maxbytes=10MB
logfile_backups=3
umask=077
"""


def _section(places: Places, program: Program) -> str:
    runner = (sys.executable, "-m", "launcher.run_program")
    command = shlex.join([*runner, str(_specifications_path(places)), program.name])
    specification = json.dumps(_specification(program), sort_keys=True)
    # Supervisord compares sections to see what has changed.
    digest = hashlib.sha256(specification.encode()).hexdigest()
    return f"""\
[program:{program.name}]
command={_value(command)}
directory={_value(REPOSITORY)}
environment={PROGRAM_VARIABLE}="{program.name}",DAMSO_DIGEST="{digest}"
priority={program.stage.value}
autostart=false
autorestart=true
startsecs={_STARTED_AFTER_SECONDS}
startretries={_RETRIES}
stopsignal={program.stop_signal}
stopwaitsecs={_STOP_SECONDS}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_value(places.log(program.name))}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
"""


def _value(value: object) -> str:
    return str(value).replace("%", "%%")
