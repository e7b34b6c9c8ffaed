"""Reads and writes the record on the target, so that of two writers at once only one succeeds."""

from collections.abc import Callable
from dataclasses import dataclass

from delivery import record
from delivery.backoff import pauses
from delivery.errors import CommandError, ConflictError, DeliveryError
from delivery.record import Record
from delivery.target import Target

ATTEMPTS = 6


@dataclass
class Ledger:
    """The record of one target; a dry run reads it and writes nothing."""

    target: Target
    sleep: Callable[[float], None]
    dry_run: bool = False
    off: bool = False  # where it is out of order: everything is as if nothing had been recorded

    def read(self) -> tuple[Record, str]:
        """Return the record and the tag that `write` needs."""
        if self.off:
            return Record(), ""
        stored = self.target.read_record()
        return record.load(stored.text), stored.tag

    def write(self, new: Record, tag: str) -> str:
        """Replace the record that was read with this tag; return the new tag.

        Raise ConflictError when someone else has written it since.
        """
        if self.dry_run or self.off:
            return tag
        text = record.dump(new)
        try:
            return self.target.write_record(text, tag)
        except CommandError:
            # The answer may have been lost on its way back, and ours the change that is in the way.
            stored = self.target.read_record()
            if stored.text == text:
                return stored.tag
            raise

    def update(self, change: Callable[[Record], Record]) -> Record:
        """Apply a change to whatever the record is by now, as often as it takes."""
        waits = pauses(0.5, longest=4)
        for attempt in range(ATTEMPTS):
            old, tag = self.read()
            new = change(old)
            if new == old:
                return old
            try:
                self.write(new, tag)
            except CommandError as error:
                again = isinstance(error, ConflictError) or error.transient
                if not again or attempt == ATTEMPTS - 1:
                    raise
                self.sleep(next(waits))
            else:
                return new
        raise DeliveryError("the record of deliveries is written by too many at once")
