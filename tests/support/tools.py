"""Finds the tools that only some machines have; tests call `require` before they use one."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# The names by which systems call their Chromium.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# What the scripts of a baked project need of a system besides Python and uv.
SYSTEM = [
    "cat",
    "cmp",
    "cp",
    "dirname",
    "env",
    "git",
    "mktemp",
    "mv",
    "rm",
    "sed",
    "sh",
    "sleep",
    "tar",
]


def require(tool: str) -> str:
    """Return the tool's path, or skip the test, with the reason, where the machine has none.

    REQUIRE_TOOLS, a list such as `docker,gcloud` or the word `all`, turns the skip into a failure:
    the project's CI sets it, so that no test is left out there.
    """
    path = FINDERS.get(tool, shutil.which)(tool)
    if path:
        return path
    required = os.environ.get("REQUIRE_TOOLS", "").split(",")
    if tool in required or "all" in required:
        pytest.fail(f"{tool} is required by REQUIRE_TOOLS and was not found", pytrace=False)
    pytest.skip(f"needs {tool}")


def only(folder: Path, *tools: str) -> str:
    """Return a PATH with the system's own tools, the named ones, and neither uv nor Python."""
    folder.mkdir()
    for name in SYSTEM:
        (folder / name).symlink_to(str(shutil.which(name)))
    for tool in tools:
        path = Path(tool)
        (folder / path.name).write_text(f'#!/bin/sh\nexec "{path}" "$@"\n')
        (folder / path.name).chmod(0o755)
    return str(folder)


def _find_docker(_: str) -> str | None:
    """Find Docker with an engine that answers; the client alone builds nothing."""
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0
    ):
        return docker
    return None


def _find_browser(_: str) -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def find_python(version: str) -> str | None:
    """Find that Python, such as 3.13, on PATH or among pyenv's versions."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    homes = sorted(pyenv.glob(f"{version}.*/bin"), reverse=True)
    for folder in [*homes, *map(Path, os.environ["PATH"].split(os.pathsep))]:
        python = folder / f"python{version}"
        if python.exists() and _runs(python):
            return str(python)
    return None


def _runs(python: Path) -> bool:
    """Whether it is an interpreter; pyenv's shims of versions that are not active are none."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


FINDERS: dict[str, Callable[[str], str | None]] = {
    "browser": _find_browser,
    "docker": _find_docker,
}
