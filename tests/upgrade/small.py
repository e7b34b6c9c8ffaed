"""A small template with releases, and clients of it: each test changes what it is about."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import TEMPLATE, BakedProject, clean_environment
from upgrade.state import State

Files = Mapping[str, str | None]

POEM = "".join(f"line {n}\n" for n in range(1, 31))
CHECKS = "#!/bin/sh\necho checked by $0\n"
PROMPTS = {
    "project_slug": "demo",
    "owner": "Acme",
    "license": ["MIT", "proprietary"],
    "init_git": True,
    "_template_name": "small-template",
}
FILES = {
    "README.md": "# {{ cookiecutter.owner }}\n",
    "LICENSE": "{{ cookiecutter.license }}\n",
    "app/pages.py": POEM,
    "app/other.py": POEM.replace("line", "other"),
    **{f"bin/{name}": CHECKS for name in ("setup", "check", "test")},
}


@dataclass
class SmallTemplate(BakedProject):
    """The template's repository."""

    prompts: dict[str, Any] = field(default_factory=lambda: dict(PROMPTS))

    @classmethod
    def at(cls, path: Path) -> "SmallTemplate":
        """Make it, with the release 1.0."""
        path.mkdir()
        template = cls(path)
        template.must("git", "init", "--quiet", "--initial-branch=main")
        template.release("1.0", FILES)
        return template

    def release(self, tag: str, files: Files | None = None) -> str:
        """Make a release in which these files are changed, or gone; return its commit.

        Scripts, which start with #!, can be executed.
        """
        for name, text in (files or {}).items():
            path = self.baked(name)
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="")
            path.chmod(0o755 if text.startswith("#!") else 0o644)
        self.write("cookiecutter.json", json.dumps(self.prompts | {"_template_version": tag}))
        self.must("git", "add", "--all")
        self.must("git", "commit", "--quiet", "--allow-empty", "--message", tag)
        self.must("git", "tag", tag)
        return self.must("git", "rev-parse", "HEAD").strip()

    def baked(self, name: str) -> Path:
        """Return a file of the template by the name that it gets in a project."""
        return self.path / "{{cookiecutter.project_slug}}" / name

    def bake(self, folder: Path, tag: str = "1.0", **answers: Any) -> "Client":
        """Make a client's project of a release, without Cookiecutter's time."""
        self.must("git", "-c", "advice.detachedHead=false", "checkout", "--quiet", tag)
        prompts = {n: v[0] if isinstance(v, list) else v for n, v in self.prompts.items()}
        known = {n: v for n, v in (prompts | answers).items() if not n.startswith("_")}
        done = subprocess.run(
            [sys.executable, "-m", "upgrade.bake"],
            cwd=TEMPLATE,
            input=json.dumps(
                {"template": str(self.path), "answers": known, "output_dir": str(folder)}
            ),
            env=clean_environment() | {"HOME": str(folder)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        client = Client(Path(done.stdout.strip()), template=self.path)
        commit = self.must("git", "rev-parse", tag).strip()
        client.write(".cruft.json", State(str(self.path), commit, tag, known, None, {}).text())
        client.must("git", "init", "--quiet", "--initial-branch=main")
        client.commit()
        self.must("git", "checkout", "--quiet", "main")
        return client


@dataclass
class Client(BakedProject):
    """A client's project, its owner at work in it."""

    template: Path = Path()

    def commit(self, files: Files | None = None) -> str:
        """Write or remove files, and commit all there is; return the commit."""
        for name, text in (files or {}).items():
            if text is None:
                (self.path / name).unlink()
            else:
                self.write(name, text)
        self.must("git", "add", "--all")
        self.must("git", "commit", "--quiet", "--message", "Work")
        return self.head()

    def edit(self, name: str, old: str, new: str) -> None:
        """Edit one place in a file."""
        text = self.read(name)
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def head(self) -> str:
        """Return the current commit."""
        return self.must("git", "rev-parse", "HEAD").strip()

    def branch(self) -> str:
        """Return the current branch."""
        return self.must("git", "branch", "--show-current").strip()

    def status(self) -> list[str]:
        """List what differs from the commit, as git does for programs."""
        return self.must("git", "status", "--porcelain").splitlines()

    def everything(self) -> tuple[str, ...]:
        """Return all that an upgrade could disturb: branches, position, changes, files."""
        files = "".join(f"{n} {(self.path / n).read_bytes()!r}\n" for n in sorted(self.files()))
        return (
            self.must("git", "for-each-ref"),
            self.must("git", "rev-parse", "HEAD"),
            self.branch(),
            *self.status(),
            self.must("git", "worktree", "list"),
            files,
        )

    def upgrade_command(self, to: str, *options: str) -> list[str]:
        """Return the command that bin/upgrade ends with."""
        return [sys.executable, "-m", "upgrade.project", str(self.template), to, *options]

    def upgrade(
        self, to: str, *options: str, code: int = 0, env: Mapping[str, str] | None = None
    ) -> str:
        """Upgrade; the exit code has to be this one. Return what was said."""
        done = self.run(
            *self.upgrade_command(to, *options), **{"PYTHONPATH": str(TEMPLATE), **(env or {})}
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def clone(self, folder: Path, *options: str) -> "Client":
        """Clone the project, as a colleague does."""
        self.must("git", "clone", "--quiet", *options, self.path.as_uri(), folder)
        return Client(folder, self.env, self.template)

    def remove(self) -> None:
        """Remove the project."""
        shutil.rmtree(self.path)
