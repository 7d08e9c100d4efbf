"""The command line: `python -m launcher up|down|status|logs|model`."""

import argparse
import sys

from launcher import default_model, models
from launcher import down as stopping
from launcher import logs as log_files
from launcher import status as state
from launcher import up as starting
from launcher.console import say
from launcher.errors import LauncherError
from launcher.places import Places
from launcher.settings import LauncherSettings

_INTERRUPTED = 130


def main() -> int:
    """Runs one command; returns its exit code."""
    arguments = _parser().parse_args()
    try:
        return _run(arguments, LauncherSettings())
    except LauncherError as error:
        say(f"\n{error}")
        return 1
    except (ConnectionError, FileNotFoundError) as error:
        say(f"\nThe supervisor has gone ({error}); `make up` starts it again.")
        return 1
    except KeyboardInterrupt:
        if arguments.command == "up":
            say("\nDamso goes on in the background: `make status` shows it, `make down` stops it.")
        return _INTERRUPTED


def _run(arguments: argparse.Namespace, settings: LauncherSettings) -> int:
    match arguments.command:
        case "up":
            starting.up(settings, arguments.programs)
        case "down":
            stopping.down(settings)
        case "status":
            table = state.status(settings)
            state.show(table)
            return 0 if all(row.fine for row in table) else 1
        case "logs":
            log_files.show(settings, arguments.program, arguments.follow)
        case "model":
            default_model.prepare(Places(settings.var).models / models.DEFAULT_NAME)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launcher", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start, and wait until everything is ready")
    up.add_argument("programs", nargs="*", help="only these, such as `postgres valkey`")
    commands.add_parser("down", help="stop everything")
    commands.add_parser("status", help="show every program; fails if one is not well")
    logs = commands.add_parser("logs", help="show logs")
    logs.add_argument("program", nargs="?", help="only this one's")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is written")
    commands.add_parser("model", help="prepare the default model")
    return parser


if __name__ == "__main__":
    sys.exit(main())
