"""The ways in which delivering can end badly; cli.py turns them into exit codes."""


class DeliveryError(Exception):
    """What failed, why (in the tool's words), what to type next; production is as it was."""

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", then: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.then = then


class MisuseError(DeliveryError):
    """The command, its settings or this machine are not ready: nothing was touched."""

    exit_code = 2


class RefusedError(DeliveryError):
    """Going on would be unsafe (older, unverified, changed underneath): nothing was moved."""

    exit_code = 3


class RestoredError(DeliveryError):
    """Traffic was moved, production then failed its check, and traffic was moved back."""

    exit_code = 4


class AlarmError(DeliveryError):
    """Production has changed, or may have, and is not known to be well: a person must look."""

    exit_code = 5


class CommandError(DeliveryError):
    """A program ended badly."""

    timed_out = False  # it was stopped because it took too long: what it began may still happen
    transient = False  # the same command may succeed in a moment


class Interrupted(BaseException):
    """A signal asked this process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
