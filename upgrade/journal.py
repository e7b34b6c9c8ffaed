"""Lets an upgrade be killed at any point: the next run puts back what the last one left half done.

While the project's own files change, a journal in .git says from what to what. Whoever finds one
without its owner goes back to the start. What a person has edited since is never overwritten.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from upgrade.errors import RefusedError
from upgrade.git import OURS, Git, GitError
from upgrade.merge import MOVED, Merged
from upgrade.plan import Plan


def folder(project: Git) -> Path:
    """Return where an upgrade keeps what it works with, in the project's .git."""
    return Path(project.line("rev-parse", "--absolute-git-dir")) / "upgrade"


@contextlib.contextmanager
def locked(project: Git) -> Iterator[Path]:
    """Hold the folder for one upgrade at a time; the system lets go of it, however this ends."""
    place = folder(project)
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        try:
            _lock(lock)
        except OSError as error:
            raise RefusedError("another bin/upgrade is at work in this project: wait") from error
        yield place


@contextlib.contextmanager
def changing(project: Git, place: Path, plan: Plan, merged: Merged) -> Iterator[None]:
    """Keep the journal while the project's files change; the end of the block removes it."""
    try:
        head = project.line("symbolic-ref", "--quiet", "HEAD")
    except GitError:
        head = plan.start  # no branch
    entry = {
        "head": head,
        "start": plan.start,
        "branch": plan.branch,
        "was": _tip(project, plan.branch),
        "tree": merged.tree,
    }
    journal = place / "journal.json"
    journal.with_suffix(".new").write_text(json.dumps(entry), "utf-8")
    journal.with_suffix(".new").replace(journal)
    yield
    journal.unlink()


def recover(project: Git, place: Path) -> bool:
    """Go back to where the last upgrade began, if it was interrupted; return whether it was.

    RefusedError names the files that a person has changed since, and nothing is touched then.
    """
    journal = place / "journal.json"
    if not journal.exists():
        return False
    entry = json.loads(journal.read_text("utf-8"))
    top = Git(Path(project.line("rev-parse", "--show-toplevel")))
    start, tree = entry["start"], entry["tree"]
    if not _is_half_done(top, start, tree):
        journal.unlink()  # it was killed after its work, and a person has gone on from there
        return False
    added = top.paths("diff", "--name-only", "--no-renames", "--diff-filter=A", "-z", start, tree)
    touched = top.paths("diff", "--name-only", "--no-renames", "-z", start)
    foreign = [p for p in {*touched, *added} if not _is_ours(top, p, start, tree)]
    if foreign:
        raise RefusedError(
            "the last bin/upgrade was interrupted, and these files have changed since:\n"
            + "".join(f"  {path}\n" for path in sorted(foreign))
            + f"Save them elsewhere; then git reset --hard {start[:9]} and bin/upgrade again"
        )
    _git_path(top, "index.lock").unlink(missing_ok=True)
    _git_path(top, "HEAD.lock").unlink(missing_ok=True)
    for state in ("CHERRY_PICK_HEAD", "MERGE_MSG", "AUTO_MERGE"):
        _git_path(top, state).unlink(missing_ok=True)
    for path in added:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            (top.folder / path).unlink()
    if entry["head"].startswith("refs/"):
        top("symbolic-ref", "HEAD", entry["head"])
    else:
        top("update-ref", "--no-deref", "HEAD", start)
    top(*OURS, "reset", "--quiet", "--hard", start)
    if entry["was"]:
        top("update-ref", f"refs/heads/{entry['branch']}", entry["was"])
    elif _tip(top, entry["branch"]):
        top("update-ref", "-d", f"refs/heads/{entry['branch']}")
    journal.unlink()
    return True


def _is_half_done(top: Git, start: str, tree: str) -> bool:
    """Whether HEAD is a commit that the upgrade began with, or made."""
    head = top.line("rev-parse", "HEAD")
    if head == start or top.line("rev-parse", "HEAD^{tree}") == tree:
        return True
    return top.line("log", "-1", "--format=%P %s").startswith(f"{start} {MOVED}")


def _is_ours(top: Git, path: str, start: str, tree: str) -> bool:
    """Whether a file is as it was, as it was to be, or cut off on the way there."""
    try:
        found: bytes | None = (top.folder / path).read_bytes()
    except OSError:
        return not (top.folder / path).is_dir()
    for commit in (start, tree):
        with contextlib.suppress(GitError):
            wanted = top("cat-file", "blob", f"{commit}:{path}").encode("utf-8", "surrogateescape")
            if _lines(wanted).startswith(_lines(found or b"")):
                return True
    return False


def _lines(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


def _tip(project: Git, branch: str) -> str | None:
    try:
        return project.line("rev-parse", "--quiet", "--verify", f"refs/heads/{branch}")
    except GitError:
        return None


def _git_path(top: Git, name: str) -> Path:
    return top.folder / top.line("rev-parse", "--git-path", name)


def _lock(file: IO[Any]) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
