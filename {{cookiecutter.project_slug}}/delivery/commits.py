"""What git knows about the commits that versions are named after."""

import getpass
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from delivery import names
from delivery.errors import CommandError, MisuseError, RefusedError
from delivery.process import Runner

ELSEWHERE = (":(exclude)bin", ":(exclude)docs", ":(exclude)tests")
SUBJECTS = 10  # of the commits between two versions; more are counted

# In a job the checkout often belongs to another user, which git takes for an attack. The last two:
# what a person has chosen for line ends must not make another upload of the same commit.
_SETTINGS = (
    *("-c", "safe.directory=*", "-c", "core.quotePath=false"),
    *("-c", "core.autocrlf=false", "-c", "core.eol=lf"),
)


@dataclass(frozen=True)
class Repository:
    """The repository that the project is in, as the verbs ask it (job.py)."""

    runner: Runner

    def version(self) -> str:
        """Name the version of the checked-out commit."""
        seconds, sha = self._git("log", "-1", "--no-show-signature", "--format=%ct %H").split()
        return names.of_commit(int(seconds), sha)

    def refuse_uncommitted(self) -> None:
        """Raise RefusedError when files differ from the commit: they would not be delivered."""
        changes = self._git("status", "--porcelain", "--untracked-files=no", "--", ".").rstrip()
        if not changes:
            # A new module is easily forgotten. Elsewhere, and hidden, lies what nobody delivers.
            where = ("app", ":(glob)*/**/*.py", ":(exclude,glob)**/.*", *ELSEWHERE)
            changes = self._git("status", "--porcelain", "--untracked-files=all", "--", *where)
        if changes:
            raise RefusedError(
                "there are changes that are not committed, and what is delivered is the commit",
                why=changes.rstrip(),
                then="commit them, or set them aside: git stash --include-untracked",
            )

    def export(self, folder: Path) -> None:
        """Write the files of the checked-out commit into an empty folder: these and no others.

        Through an index of its own: `git archive` would leave out what is marked export-ignore,
        and a copy of the working tree would hold what git ignores, or was told not to look at.
        Raise RefusedError for a link that leads out of the project: it would take along a file
        that no commit holds.
        """
        top = Path(self._git("rev-parse", "--show-toplevel").rstrip("\n"))
        inside = self._git("rev-parse", "--show-prefix").rstrip("\n")
        self._export(top, "HEAD", inside, folder)
        _refuse_links_outwards(folder)

    def _export(self, repository: Path, commit: str, inside: str, folder: Path) -> None:
        """Write what a commit has in a folder (`inside`, with a slash at its end) and below it."""
        with tempfile.TemporaryDirectory(dir=self.runner.private.path) as private:
            index = {"GIT_INDEX_FILE": str(Path(private, "index"))}
            # With their whole path: the .gitattributes of the folders above count, too.
            tree = (f"--prefix={inside}", f"{commit}:{inside}") if inside else (commit,)
            self._git("read-tree", *tree, more=index, cwd=repository)
            files = Path(private, "files")
            prefix = f"--prefix={files.as_posix()}/"
            self._git("checkout-index", "--all", prefix, more=index, cwd=repository)
            entries = self._git("ls-files", "--stage", "-z", more=index, cwd=repository)
            (files / inside).mkdir(parents=True, exist_ok=True)  # for a commit without a file
            folder.rmdir()
            (files / inside).rename(folder)
        for entry in entries.split("\0"):
            about, _, path = entry.partition("\t")
            if not about.startswith("160000 "):  # anything but the commit of a submodule
                continue
            place = folder / path.removeprefix(inside)
            try:
                self._export(repository / path, about.split()[1], "", place)
            except MisuseError as error:
                raise RefusedError(
                    f"the submodule {path} is not here at the commit that the project names",
                    why=error.why,
                    then="git submodule update --init --recursive",
                ) from error

    def is_ancestor(self, version: str, other: str) -> bool | None:
        """Whether a version's commit is one that the other's is built on; None: git cannot say."""
        one, two = names.commit_of(version), names.commit_of(other)
        if one is None or two is None or one == two:
            return None
        try:
            for commit in (one, two):
                self._git("rev-parse", "--quiet", "--verify", commit + "^{commit}")
        except MisuseError:
            return None  # not in this clone, or several commits begin like that
        try:
            self._git("merge-base", "--is-ancestor", one, two)
        except MisuseError as error:
            # For "no" git has an exit code and no words. A shallow clone lacks some of the way.
            shallow = self._git("rev-parse", "--is-shallow-repository").strip() == "true"
            return None if error.why or shallow else False
        return True

    def between(self, old: str, new: str) -> Sequence[str]:
        """List subject and author of the commits that `new` has and `old` has not, if git can."""
        one, two = names.commit_of(old), names.commit_of(new)
        if one is None or two is None:
            return []
        try:
            # --first-parent: what was merged counts as one change, as in the list of commits.
            count = int(self._git("rev-list", "--count", "--first-parent", f"{one}..{two}"))
            lines = self._git(
                *("log", "--no-show-signature", "--first-parent", f"--max-count={SUBJECTS}"),
                *("--format=%h %s (%an)", f"{one}..{two}"),
            ).splitlines()
        except MisuseError:
            return []
        more = count - len(lines)
        return [*lines, f"and {more} more"] if more > 0 else lines

    def _git(self, *args: str, more: dict[str, str] | None = None, cwd: Path | None = None) -> str:
        # Inside a git hook, GIT_DIR and the like point git elsewhere.
        environ = {k: v for k, v in self.runner.bare_environ().items() if not k.startswith("GIT_")}
        environ |= {"LC_ALL": "C", **(more or {})}
        argv = ["git", *_SETTINGS, *args]
        try:
            return self.runner.read(
                argv, doing="reading the commit", timeout=60, environ=environ, cwd=cwd, quiet=True
            )
        except CommandError as error:
            raise MisuseError(
                error.what,
                why=error.why,
                then="run this in a clone that has a commit, or name the VERSION",
            ) from error


def _refuse_links_outwards(folder: Path) -> None:
    """Raise RefusedError for a symbolic link out of a folder: gcloud would follow it."""
    top = folder.resolve()
    outwards = [
        f"{file.relative_to(folder).as_posix()} -> {file.readlink()}"
        for file in sorted(folder.rglob("*"))
        if file.is_symlink() and not _leads_into(file, top)
    ]
    if outwards:
        raise RefusedError(
            "a link in the commit leads out of the project, and what it leads to is not committed",
            why="\n".join(outwards),
            then="commit the file itself in place of the link",
        )


def _leads_into(link: Path, top: Path) -> bool:
    try:
        return link.resolve().is_relative_to(top)
    except (OSError, RuntimeError):  # links in a circle
        return False


def who(environ: Mapping[str, str]) -> str:
    """Say who delivers, for the record: a person at a laptop, or a job and who started it."""
    job = environ.get("CI_JOB_ID")
    if job:
        return f"{environ.get('GITLAB_USER_LOGIN') or 'GitLab'}, job {job}"
    try:
        person = getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        person = "somebody"
    return f"{person}@{platform.node() or 'a laptop'}"
