"""`python -m release.publish TAG FOLDER`: makes what a release shows; the workflow puts it online.

FOLDER gets `notes.md` and the default project as an archive. The branch `demo` gets a commit with
that project, so that the difference between two releases is the difference between two commits.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from upgrade.errors import REFUSED, RefusedError
from upgrade.git import Git, GitError
from upgrade.notes import SECTION
from upgrade.render import render, write_tree
from upgrade.state import State
from upgrade.template import Template

# Whoever publishes is not the author of everybody's example.
AUTHOR = {"author_name": "Your Name", "author_email": "you@example.com"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make all three, in the repository of the current folder."""
    parser = argparse.ArgumentParser(prog="python -m release.publish", description=__doc__)
    parser.add_argument("tag", metavar="TAG")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    options = parser.parse_args(arguments)
    git = Git(Path.cwd())
    try:
        publish(git, options.tag, options.folder.resolve())
    except (RefusedError, GitError) as error:
        print(f"release: {error}", file=sys.stderr)
        return REFUSED
    return 0


def publish(git: Git, tag: str, folder: Path) -> None:
    """Write the notes and the archive, and commit to the branch `demo`."""
    template = Template(git)
    commit = template.commit(tag)
    folder.mkdir(parents=True, exist_ok=True)
    notes = section(template.read(commit, "CHANGELOG.md"), tag)
    (folder / "notes.md").write_text(notes, "utf-8", newline="\n")
    with tempfile.TemporaryDirectory() as work:
        state = State("", commit, tag, AUTHOR, None, {})
        project, _ = render(template, state, Path(work), strict=False)
        tree = write_tree(git, project, "", Path(work))
        name = f"{project.name}-{tag}"
    archive = folder / f"{name}.tar.gz"
    git("archive", "--format=tar.gz", f"--prefix={name}/", f"--output={archive}", tree)
    parents = [("-p", git.line("rev-parse", ref)) for ref in demo(git)]
    made = git.line("commit-tree", tree, *sum(parents, ()), stdin=f"{tag}\n")
    git("update-ref", "refs/heads/demo", made)


def section(changelog: str, tag: str) -> str:
    """Return what the changelog says about one release; RefusedError if that is nothing."""
    for match in SECTION.finditer(changelog):
        if match["version"] == tag:
            following = SECTION.search(changelog, match.end())
            end = following.start() if following else len(changelog)
            return re.sub(r"\n{3,}", "\n\n", changelog[match.end() : end]).strip() + "\n"
    raise RefusedError(f"CHANGELOG.md has no section {tag}")


def demo(git: Git) -> list[str]:
    """Return the branch so far, here or where this was cloned from; nothing for the first time."""
    refs = ("refs/remotes/origin/demo", "refs/heads/demo")
    return [ref for ref in refs if git.ok("rev-parse", "--quiet", "--verify", ref)][:1]


if __name__ == "__main__":
    raise SystemExit(main())
