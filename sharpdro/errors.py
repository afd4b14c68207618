"""What a user can mend about a run."""


class RunError(Exception):
    """A run cannot be started or continued; the message names the flag or file and the fix."""
