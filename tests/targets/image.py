"""What the pipeline's job `build` does: the commit's image, pushed to GitLab's registry."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import clean_environment


def build_and_push(project: Path, gitlab: Mapping[str, str], config: Path) -> str:
    """Build the checked-out commit and push it by bin/push-image; return its name by digest.

    `gitlab` has what GitLab tells a job about its registry, and `config` is docker's folder.
    """
    commit = git(project, "rev-parse", "--short=8", "HEAD").decode().strip()
    tag = f"delivery-test/{commit}"
    command = ["docker", "build", "--quiet", f"--tag={tag}", "-"]
    subprocess.run(command, input=git(project, "archive", "HEAD"), check=True, capture_output=True)
    job = {"CI_COMMIT_SHORT_SHA": commit, "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main"}
    try:
        done = subprocess.run(
            ["bin/push-image", tag],
            cwd=project,
            env={**clean_environment(), **gitlab, **job, "DOCKER_CONFIG": str(config)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search("^IMAGE=(.+)$", (project / "image.env").read_text("utf-8"), re.MULTILINE)
        assert found, done.stdout
        return found[1]
    finally:
        (project / "image.env").unlink(missing_ok=True)


def git(project: Path, *words: str) -> bytes:
    """Run git and return what it prints."""
    return subprocess.run(["git", *words], cwd=project, capture_output=True, check=True).stdout
