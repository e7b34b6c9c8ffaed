"""The ledger: of two writers at once only one succeeds, and a lost answer is no failure."""

from datetime import UTC, datetime

import pytest
from delivery import record
from delivery.errors import CommandError, ConflictError, MisuseError, RecordError
from delivery.ledger import ATTEMPTS
from delivery.record import Hold, Record

from tests.delivery.bench import A, B, Site, Taps

HOLD = Hold("slow", datetime(2026, 11, 10, tzinfo=UTC))


def holding(version: str) -> Record:
    return Record().holding({version}, HOLD)


def raising(error: Exception, on: str, times: int = 1) -> Taps:
    left = [error] * times

    def at(_: int, call: str) -> None:
        if call == on and left:
            raise left.pop()

    return Taps(at)


def transient() -> CommandError:
    error = CommandError("503")
    error.transient = True
    return error


def test_what_was_written_is_read(site: Site) -> None:
    ledger = site.job().ledger
    known, tag = ledger.read()
    assert known == Record()
    ledger.write(holding(A), tag)
    assert site.record == holding(A)


def test_of_two_that_have_read_the_same_only_one_can_write(site: Site) -> None:
    ledger = site.job().ledger
    _, tag = ledger.read()
    ledger.write(holding(A), tag)
    with pytest.raises(ConflictError):
        ledger.write(holding(B), tag)
    assert site.record == holding(A)


@pytest.mark.parametrize("error", [CommandError("lost"), ConflictError("by ourselves")])
def test_a_write_whose_answer_was_lost_has_succeeded(site: Site, error: CommandError) -> None:
    ledger = site.job(taps=raising(error, "after write_record")).ledger
    ledger.write(holding(A), ledger.read()[1])
    assert site.record == holding(A)


def test_a_write_that_failed_is_reported_with_its_reason(site: Site) -> None:
    error = CommandError("writing", why="403", then="grant the role")
    ledger = site.job(taps=raising(error, "before write_record")).ledger
    with pytest.raises(RecordError, match="cannot be written") as caught:
        ledger.write(holding(A), "0")
    assert (caught.value.why, caught.value.then) == ("writing\n403", "grant the role")


def test_a_record_out_of_reach_keeps_its_kind_of_failure(site: Site) -> None:
    ledger = site.job(taps=raising(MisuseError("no bucket"), "before read_record")).ledger
    with pytest.raises(RecordError, match="cannot be read") as caught:
        ledger.read()
    assert caught.value.exit_code == 2


def test_an_update_applies_to_whatever_the_record_is_by_then(site: Site) -> None:
    interfered: list[str] = []

    def at(_: int, call: str) -> None:
        if call == "before write_record" and not interfered:
            interfered.append(call)
            site.job().ledger.update(lambda known: known.holding({B}, HOLD))

    new = site.job(taps=Taps(at)).ledger.update(lambda known: known.holding({A}, HOLD))
    assert set(new.held) == {A, B}
    assert site.record == new


def test_an_update_is_tried_again_while_that_may_help(site: Site) -> None:
    ledger = site.job(taps=raising(transient(), "before write_record", 2)).ledger
    before = site.now
    ledger.update(lambda known: known.holding({A}, HOLD))
    assert site.record == holding(A)
    assert (site.now - before).total_seconds() == 0.5 + 1


@pytest.mark.parametrize(
    ("error", "attempts"),
    [(CommandError("403"), 1), (transient(), ATTEMPTS), (ConflictError("again"), ATTEMPTS)],
)
def test_an_update_gives_up_in_the_end(site: Site, error: CommandError, attempts: int) -> None:
    calls: list[str] = []

    def at(_: int, call: str) -> None:
        if call == "before write_record":
            calls.append(call)
            raise error

    with pytest.raises((RecordError, ConflictError)):
        site.job(taps=Taps(at)).ledger.update(lambda known: known.holding({A}, HOLD))
    assert len(calls) == attempts


def test_an_update_that_changes_nothing_writes_nothing(site: Site) -> None:
    ledger = site.job(taps=raising(AssertionError(), "before write_record")).ledger
    assert ledger.update(lambda known: known) == Record()


def test_a_dry_run_reads_and_does_not_write(site: Site) -> None:
    site.job().ledger.write(holding(A), "0")
    ledger = site.job(dry_run=True).ledger
    known, tag = ledger.read()
    ledger.write(holding(B), tag)
    assert known == site.record == holding(A)


def test_switched_off_it_knows_nothing_and_writes_nothing(site: Site) -> None:
    site.job().ledger.write(holding(A), "0")
    ledger = site.job().ledger
    ledger.off = True
    assert ledger.read() == (Record(), "")
    ledger.write(holding(B), "")
    assert site.record == holding(A)


def test_an_unreadable_record_is_not_taken_for_an_empty_one(site: Site) -> None:
    site.write_record(record.dump(holding(A))[:-5])
    with pytest.raises(RecordError):
        site.job().ledger.update(lambda known: known.holding({B}, HOLD))
