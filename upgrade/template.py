"""The template's repository: its releases, and what each of them has in its files."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upgrade.errors import RefusedError
from upgrade.git import Git, GitError

RELEASE = re.compile(r"v?(\d+(?:\.\d+)*)")


@dataclass(frozen=True)
class Template:
    """A clone of the template's repository, with all its history and tags."""

    git: Git

    @classmethod
    def at(cls, folder: Path) -> "Template":
        """Return the template whose clone is in a folder."""
        return cls(Git(folder))

    def releases(self) -> list[str]:
        """List the tags that are versions, newest first; pre-releases are none of them."""
        tags = [tag for tag in self.git("tag", "--list").split("\n") if RELEASE.fullmatch(tag)]
        return sorted(tags, key=version, reverse=True)

    def commit(self, name: str) -> str:
        """Return the commit that a tag, a branch or a hash names; RefusedError if there is none."""
        for candidate in (f"refs/tags/{name}", f"refs/remotes/origin/{name}", name):
            try:
                return self.git.line("rev-parse", "--quiet", "--verify", candidate + "^{commit}")
            except GitError:
                continue
        known = ", ".join(self.releases()[:5]) or "none"
        raise RefusedError(
            f"the template has no version {name!r} here. Its newest releases: {known}. If its clone"
            " is a shallow one, type there: git fetch --unshallow --tags"
        )

    def release(self, commit: str) -> str | None:
        """Return the tag of a commit, if it has one."""
        try:
            return self.git.line("describe", "--tags", "--exact-match", commit)
        except GitError:
            return None

    def read(self, commit: str, path: str) -> str:
        """Return the text of a file at a commit; nothing if it has no such file."""
        try:
            return self.git("show", f"{commit}:{path}")
        except GitError:
            return ""

    def settings(self, commit: str, directory: str | None = None) -> dict[str, Any]:
        """Return the template's cookiecutter.json at a commit."""
        path = f"{directory}/cookiecutter.json" if directory else "cookiecutter.json"
        settings: dict[str, Any] = json.loads(self.read(commit, path) or "{}")
        return settings

    def prompts(self, commit: str, directory: str | None = None) -> dict[str, Any]:
        """Return what the template asks at a commit, with the defaults."""
        asked = self.settings(commit, directory).items()
        return {name: value for name, value in asked if not name.startswith("_")}

    def is_older(self, commit: str, than: str) -> bool:
        """Whether a commit is part of the history of another one."""
        return commit != than and self.git.ok("merge-base", "--is-ancestor", commit, than)

    def export(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into a folder, with the very bytes and modes that git has."""
        folder.mkdir(parents=True)
        index = self.git.using(GIT_INDEX_FILE=str(folder.with_suffix(".index")))
        plain = ("-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null")
        index(*plain, f"--work-tree={folder}", "checkout", "--force", commit, "--", ".")


def version(tag: str) -> tuple[int, ...]:
    """Return a tag as numbers, so that 0.10 comes after 0.9."""
    found = RELEASE.fullmatch(tag)
    return tuple(map(int, found[1].split("."))) if found else ()
