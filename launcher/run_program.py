"""Becomes one program of the plan: `python -m launcher.run_program SPECIFICATIONS NAME`.

The supervisor starts this in place of the program. Its own configuration can carry neither another
user nor every character in a variable, and knows nothing of what an earlier run left behind.
"""

import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

from launcher import processes
from launcher.program import SERVICE_PREFIXES


def main() -> None:
    """Never returns: the process becomes the program."""
    specifications, name = Path(sys.argv[1]), sys.argv[2]
    specification = json.loads(specifications.read_text(encoding="utf-8"))[name]
    # Children that outlived a killed parent would keep its memory and its ports.
    leftovers = processes.of_instance(Path(os.environ[processes.INSTANCE_VARIABLE]), name)
    processes.end(leftovers, patience_seconds=0)
    become(specification)


def become(specification: dict[str, Any]) -> None:
    """Drops privileges where asked to, and runs the command in this process."""
    if user := specification["user"]:
        account = pwd.getpwnam(user)
        os.chdir("/")  # that user may be unable to enter this directory
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    # What the supervisor was once started with may have been unset since.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(SERVICE_PREFIXES)}
    environment = {**kept, **specification["environment"]}
    command = specification["command"]
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
