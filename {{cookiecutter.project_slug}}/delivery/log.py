"""log: shows who moved the traffic when, to what, and how it went."""

from delivery.job import Job
from delivery.record import HEALTHY, MOVING, SEEN, UNCHECKED
from delivery.splits import describe

ENDS = {HEALTHY: "", UNCHECKED: "not checked", MOVING: "its end is not recorded"}


def log(job: Job, *, count: int) -> str:
    """Show the newest `count` moves, the newest first, and the versions on hold."""
    job.target.login()
    known, _ = job.ledger.read()
    if not known.moves:
        job.console.step("No delivery is recorded yet.")
    for move in reversed(known.moves[-count:]):
        end = ENDS.get(move.outcome, move.outcome)
        when = f"{move.at:%Y-%m-%d %H:%M} UTC"
        by = "found, moved without these commands" if move.verb == SEEN else f"by {move.by}"
        text = f"{when}  {move.verb:<8}  {describe(move.after)}  {by}"
        job.console.result(f"{text}  ({end})" if end else text)
    for version, hold in known.held.items():
        job.console.result(f"on hold: {version}, since {hold.at:%Y-%m-%d %H:%M} UTC: {hold.why}")
    return ""
