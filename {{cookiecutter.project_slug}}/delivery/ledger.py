"""Reads and writes the record on the target, so that of two writers at once only one succeeds."""

from collections.abc import Callable
from dataclasses import dataclass

from delivery import record
from delivery.backoff import pauses
from delivery.errors import CommandError, ConflictError, DeliveryError, RecordError
from delivery.record import Record
from delivery.target import Stored, Target

ATTEMPTS = 6


@dataclass
class Ledger:
    """The record of one target; a dry run reads it and writes nothing."""

    target: Target
    sleep: Callable[[float], None]
    dry_run: bool = False
    off: bool = False  # where it is out of order: everything is as if nothing had been recorded

    def read(self) -> tuple[Record, str]:
        """Return the record and the tag that `write` needs. Raise RecordError if it cannot."""
        if self.off:
            return Record(), ""
        stored = self._stored()
        return record.load(stored.text), stored.tag

    def write(self, new: Record, tag: str) -> None:
        """Replace the record that was read with this tag.

        Raise ConflictError when someone else has written it since, and RecordError when it cannot
        be written.
        """
        if self.dry_run or self.off:
            return
        text = record.dump(new)
        waits = pauses(0.5, longest=4)
        for left in reversed(range(ATTEMPTS)):
            try:
                self.target.write_record(text, tag)
            except DeliveryError as error:
                # The answer may have been lost on its way, and ours the change that is in the way.
                if self._stored().text == text:
                    return
                if isinstance(error, ConflictError):
                    raise
                # Trying again is safe: with this tag it can replace only what was read.
                if not (left and isinstance(error, CommandError) and error.transient):
                    raise _out_of_order("written", error) from error
                self.sleep(next(waits))
            else:
                return

    def update(self, change: Callable[[Record], Record]) -> Record:
        """Apply a change to whatever the record is by now, as often as it takes."""
        waits = pauses(0.5, longest=4)
        attempt = 1
        while True:
            old, tag = self.read()
            new = change(old)
            if new == old:
                return old
            try:
                self.write(new, tag)
            except ConflictError:
                if attempt == ATTEMPTS:
                    raise
                attempt += 1
                self.sleep(next(waits))
            else:
                return new

    def _stored(self) -> Stored:
        try:
            return self.target.read_record()
        except DeliveryError as error:
            raise _out_of_order("read", error) from error


def _out_of_order(done: str, error: DeliveryError) -> RecordError:
    failure = RecordError(
        f"the record of deliveries cannot be {done}",
        why=f"{error.what}\n{error.why}".rstrip(),
        then=error.then,
    )
    failure.exit_code = error.exit_code
    failure.forbidden = error.forbidden
    failure.transient = isinstance(error, CommandError) and error.transient
    return failure
