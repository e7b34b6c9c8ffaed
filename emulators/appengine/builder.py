"""Google's build, in small: lay out the uploaded files, install requirements.txt by its hashes.

Modelled after:

- https://github.com/GoogleCloudPlatform/buildpacks, `cmd/python/pip` (requirements.txt alone is
  installed), `cmd/python/webserver` (gunicorn is added only where app.yaml has no entrypoint) and
  `cmd/python/appengine` (the default entrypoint);
- https://cloud.google.com/appengine/docs/standard/lifecycle/support-schedule for the runtimes.

Stricter on purpose: a requirements.txt is required, and each line in it needs a hash. The tool is
uv, not pip, so the words of a failed build are not Google's.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

RUNTIMES = ("python311", "python312", "python313", "python314", "python315")
OLDEST_PYTHON = (3, 11)
BUILD_SECONDS = 300
DEFAULT_ENTRYPOINT = "gunicorn -b :$PORT main:app"


class BuildError(Exception):
    """Why Cloud Build would have given up."""


@dataclass(frozen=True)
class Build:
    """A version that can be booted."""

    source: Path
    venv: Path
    entrypoint: str


class Builder:
    """Builds under one directory; one environment per content of requirements.txt and Python."""

    def __init__(self, root: Path):
        self._root = root
        self._lock = threading.Lock()
        self._count = 0

    def build(self, files: Mapping[str, bytes], runtime: str, entrypoint: str) -> Build:
        """Lay out the files and install; BuildError says what a build log would say."""
        requirements = files.get("requirements.txt")
        if requirements is None:
            raise BuildError("missing requirements.txt: there is nothing to install the app with")
        with self._lock:
            self._count += 1
            venv = self._environment(requirements, interpreter(runtime))
            if not entrypoint:
                entrypoint = DEFAULT_ENTRYPOINT
                self._install(venv, "gunicorn")
            gunicorn = venv / "bin" / "gunicorn"
            if re.search(r"\bgunicorn\b", entrypoint) and not gunicorn.exists():
                raise BuildError("the entrypoint needs gunicorn: add gunicorn to requirements.txt")
            source = self._root / f"source-{self._count}"
            _lay_out(files, source)
        return Build(source, venv, entrypoint)

    def discard(self, build: Build) -> None:
        """Remove a version's files; environments stay for the next build."""
        _make_writable(build.source)
        shutil.rmtree(build.source)

    def _environment(self, requirements: bytes, python: str) -> Path:
        key = hashlib.sha256(requirements + python.encode()).hexdigest()[:16]
        venv = self._root / f"venv-{key}"
        if venv.exists():
            return venv
        lock = self._root / f"requirements-{key}.txt"
        lock.write_bytes(requirements)
        _uv("venv", "--quiet", "--python", python, str(venv), cwd=self._root)
        try:
            self._install(venv, "--require-hashes", "-r", str(lock))
        except BuildError:
            shutil.rmtree(venv)
            raise
        return venv

    def _install(self, venv: Path, *what: str) -> None:
        _uv("pip", "install", "--quiet", "--python", str(venv), *what, cwd=self._root)


@functools.cache
def interpreter(runtime: str) -> str:
    """Return this machine's Python for `runtime`, or its newest when that one is not here."""
    found: dict[tuple[int, int], str] = {}
    listed = _uv("python", "list", "--only-installed", "--output-format=json", cwd=Path("/"))
    for python in json.loads(listed):
        parts = python["version_parts"]
        version = (parts["major"], parts["minor"])
        if version >= OLDEST_PYTHON and python["implementation"] == "cpython":
            found.setdefault(version, python["path"])
    if not found:
        raise BuildError("no Python >= 3.11 on this machine")
    wanted = (3, int(runtime.removeprefix("python3")))
    return found.get(wanted, found[max(found)])


def _lay_out(files: Mapping[str, bytes], source: Path) -> None:
    for name, data in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BuildError(f"a file outside the application: {name}")
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o444)
    for folder, _, _ in os.walk(source, topdown=False):
        Path(folder).chmod(0o555)


def _make_writable(source: Path) -> None:
    for folder, _, _ in os.walk(source):
        Path(folder).chmod(stat.S_IRWXU)


def _uv(*arguments: str, cwd: Path) -> str:
    # The machine's own settings (mirrors, certificates) apply; an active environment must not.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    try:
        done = subprocess.run(
            ["uv", *arguments],
            cwd=cwd,
            env=environment | {"UV_PYTHON_DOWNLOADS": "never"},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"DEADLINE_EXCEEDED: uv took over {BUILD_SECONDS} s") from error
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return done.stdout
