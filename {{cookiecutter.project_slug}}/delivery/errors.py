"""The ways in which a delivery can fail; cli.py turns them into exit codes."""


class DeliveryError(Exception):
    """What failed, why (in the tool's words), and what to type next; production is as it was."""

    exit_code = 1
    forbidden = False  # a permission is missing

    def __init__(self, what: str, *, why: str = "", then: str = "", log: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.then = then
        self.log = log  # the last lines that the version itself wrote


class MisuseError(DeliveryError):
    """The command, its settings or this machine are not ready; nothing was touched."""

    exit_code = 2


class RefusedError(DeliveryError):
    """Going on would be unsafe (older, unhealthy, rolled back from, changed by someone else)."""

    exit_code = 3


class RestoredError(DeliveryError):
    """Traffic was moved, production then failed its check, and the traffic was moved back."""

    exit_code = 4


class AlarmError(DeliveryError):
    """Production has changed, or may have, and is not known to be well: a person must look."""

    exit_code = 5


class CommandError(DeliveryError):
    """A program failed, or a request was answered with an error."""

    timed_out = False  # it was stopped because it took too long: what it began may still happen
    transient = False  # the same may succeed in a moment
    exited: int | None = None  # a program's exit code


class UnsettledError(CommandError):
    """A change was asked for, and whether it will take effect is not known."""


class ConflictError(CommandError):
    """What was read has been changed by someone else before it could be written."""


class RecordError(DeliveryError):
    """The record of deliveries cannot be read, or cannot be written; nothing else is wrong."""

    transient = False  # the same may succeed in a moment


class Interrupted(BaseException):
    """A signal asked this process to end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
