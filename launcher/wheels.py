"""Finds what wheels carry beside Python, without importing them."""

import importlib.util
from pathlib import Path

from launcher.errors import LauncherError


def directory(package: str) -> Path:
    """Where an installed package lies.

    Raises:
        LauncherError: It is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LauncherError(f"the package {package} is not installed: run `make setup`")
    return Path(spec.origin).parent


def only(package: str, pattern: str) -> Path:
    """The one file of a package that fits a pattern.

    Raises:
        LauncherError: There is none, as in a wheel of another machine.
    """
    found = next(iter(directory(package).glob(pattern)), None)
    if found is None:
        raise LauncherError(f"the package {package} has no {pattern} for this machine")
    return found
