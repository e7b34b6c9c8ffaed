"""This template itself with all its releases, and what stands in the work tree as the next one."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT, TEMPLATE, BakedProject, bake_quickly, clean_environment
from upgrade.template import RELEASE

# Released before releases were tagged.
UNTAGGED = {"0.1.0": "7034494"}
NEXT = "98.0.0"
AFTER = "99.0.0"


def copy_of_template(folder: Path) -> None:
    """Copy all that belongs to this template, committed or not."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=TEMPLATE,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, done.stdout.split("\0")):
        if (TEMPLATE / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TEMPLATE / name, folder / name)


@dataclass
class Releases(BakedProject):
    """A clone of the template with its releases, the next one, and one after it."""

    @classmethod
    def at(cls, path: Path) -> "Releases":
        """Make it; the history has to be there."""
        clone = BakedProject(TEMPLATE)
        clone.must("git", "clone", "--quiet", "--no-checkout", TEMPLATE, path)
        releases = cls(path)
        for tag, commit in UNTAGGED.items():
            if releases.run("git", "rev-parse", "--verify", f"{commit}^{{commit}}").returncode:
                pytest.skip("needs the template's history: git fetch --unshallow --tags")
            releases.run("git", "tag", tag, commit)
        copy_of_template(path)
        releases.must("git", "reset", "--quiet")
        releases.release(NEXT)
        for name, line in {
            "app/static/style.css": "/* after */\n",
            "README.md": "\nAfter.\n",
        }.items():
            path = releases.path / PROJECT.name / name
            path.write_text(path.read_text("utf-8") + line, "utf-8")
        releases.release(AFTER)
        return releases

    def release(self, tag: str) -> None:
        """Commit all there is, and tag it."""
        self.must("git", "add", "--all")
        self.must("git", "commit", "--quiet", "--allow-empty", "--message", tag)
        self.must("git", "tag", tag)

    def tags(self) -> list[str]:
        """List the releases, the two of these tests excepted."""
        tags = self.must("git", "tag", "--list", "--sort=v:refname").split()
        return [tag for tag in tags if RELEASE.fullmatch(tag) and tag not in {NEXT, AFTER}]

    def bake(self, tag: str, folder: Path, **answers: Any) -> BakedProject:
        """Bake a release as people do, hooks included, from a clone of its own."""
        checkout = folder / f"template-{tag}"
        self.must("git", "clone", "--quiet", self.path.as_uri(), checkout)
        self.must("git", "-C", checkout, "checkout", "--quiet", tag)
        output = folder / f"baked-{tag}"
        output.mkdir()
        path = bake_quickly(output, template=checkout, hooks=True, **answers)
        return BakedProject(path)
