"""How an upgrade ends, as exit codes, and the errors that end it before it has changed anything."""

DONE = 0
FAILED = 1  # the branch is there, and its checks are red
MISUSE = 2
REFUSED = 3  # nothing has changed
CONFLICTS = 5  # a person has to decide
INTERRUPTED = 130


class RefusedError(Exception):
    """The upgrade cannot start; nothing has changed. The message says why, and what to type."""
