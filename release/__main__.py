"""`python -m release VERSION`: sets the version, gathers the notes, commits and tags.

Nothing leaves this machine: the last line says how to push, and .github/workflows/release.yml does
the rest.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from upgrade.errors import MISUSE, REFUSED, RefusedError
from upgrade.git import Git, GitError
from upgrade.template import Template, version

VERSION = re.compile(r'("_template_version": )"[^"]*"')
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
# What a fragment's kind asks of the version: 0 a new major, 1 a new minor, 2 a new patch.
KINDS = {"must": 0, "removed": 0, "added": 1, "changed": 1, "fixed": 2}
# What `prepare` puts on a server for all its projects, and what else it is made of; an older one
# does not replace a newer one.
SERIAL = re.compile(r"(SERIAL = )(\d+)")
SHARED = {"host.py": ["host.py"], "Caddyfile": ["Caddyfile", "install.py", "prepare.py"]}
HOST = "{{cookiecutter.project_slug}}/delivery/dockerhost"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release, or say why not; nothing has changed then."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0")
    wanted = parser.parse_args(arguments).version
    if not SEMVER.fullmatch(wanted):
        print(f"release: {wanted!r} is no version such as 0.2.0", file=sys.stderr)
        return MISUSE
    root = Path.cwd()
    git = Git(root)
    try:
        refuse(git, root, wanted)
        make(git, root, wanted)
    except (RefusedError, GitError) as error:
        print(f"release: {error}", file=sys.stderr)
        return REFUSED
    print(f"{wanted} is a commit and a tag. To publish it: git push --follow-tags origin main")
    return 0


def refuse(git: Git, root: Path, wanted: str) -> None:
    """Raise RefusedError where this is not the release that comes next."""
    if git.line("branch", "--show-current") != "main":
        raise RefusedError("a release is made on main: git switch main")
    if changed := git("status", "--porcelain"):
        raise RefusedError(f"these changes are in no commit:\n{changed}commit or stash them")
    found = fragments(root)
    if not found:
        raise RefusedError("changes/ has no fragment: nothing is new (CONTRIBUTING.md)")
    declared = json.loads((root / "cookiecutter.json").read_text("utf-8"))["_template_version"]
    newest = max([declared, *Template(git).releases()], key=version)
    allowed = successors(newest)
    if wanted not in allowed:
        raise RefusedError(f"after {newest} comes {', '.join(allowed)}; not {wanted}")
    # Before 1.0 a new minor may do what takes a new major later: https://semver.org, 4.
    least = max(min(map(KINDS.__getitem__, found)), 1 if newest.startswith("0.") else 0)
    if allowed.index(wanted) > least:
        why = ", ".join(sorted(set(found)))
        raise RefusedError(f"with {why} in changes/, it has to be {allowed[least]} at least")


def successors(newest: str) -> list[str]:
    """Return the versions that may come next: a new major, minor, or patch."""
    major, minor, patch = version(newest)
    return [f"{major + 1}.0.0", f"{major}.{minor + 1}.0", f"{major}.{minor}.{patch + 1}"]


def fragments(root: Path) -> list[str]:
    """Return the kind of each fragment; RefusedError for a name that says none."""
    names = [path.name for path in (root / "changes").glob("*.md") if path.name != "README.md"]
    kinds = [name.split(".")[-2] for name in names]
    for name, kind in zip(names, kinds, strict=True):
        if kind not in KINDS:
            raise RefusedError(f"changes/{name}: {kind!r} is none of {', '.join(KINDS)}")
    return kinds


def make(git: Git, root: Path, wanted: str) -> None:
    """Write the version and the notes, commit and tag; go back if any of it fails."""
    settings = root / "cookiecutter.json"
    text = settings.read_text("utf-8")
    settings.write_text(VERSION.sub(rf'\g<1>"{wanted}"', text), "utf-8", newline="\n")
    try:
        raise_serials(git, root)
        subprocess.run(
            [sys.executable, "-m", "towncrier", "build", "--yes", "--version", wanted],
            check=True,
            cwd=root,
            stdout=subprocess.DEVNULL,
        )
        git("add", "--all")
        git("commit", "--quiet", "--message", f"Release {wanted}")
    except (subprocess.CalledProcessError, GitError) as error:
        git("reset", "--quiet", "--hard")
        raise RefusedError(f"nothing was released ({error})") from error
    git("tag", "--annotate", "--message", wanted, wanted)


def raise_serials(git: Git, root: Path) -> None:
    """Raise the serial number of each file that has changed since the last release."""
    released = Template(git).releases()
    for name, parts in SHARED.items() if released else ():
        paths = [f"{HOST}/{part}" for part in parts]
        if git("diff", "--name-only", max(released, key=version), "HEAD", "--", *paths):
            path = root / HOST / name
            text = path.read_text("utf-8")
            higher = SERIAL.sub(lambda found: f"{found[1]}{int(found[2]) + 1}", text, count=1)
            path.write_text(higher, "utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main())
