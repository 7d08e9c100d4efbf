"""What a person can put right; shown without a traceback."""


class LauncherError(Exception):
    """The message says what to change."""
