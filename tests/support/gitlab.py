"""GitLab on this machine, for tests: a bare repository, and gitlab-ci-local for the pipelines."""

import json
import re
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import clean_environment, run
from tests.support.engine import free_port
from tests.support.tools import FINDERS, require

# What GitLab sets in each kind of pipeline, as far as rules and scripts look at it.
MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
    "CI_COMMIT_BRANCH": None,
}
FORK = MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2"}
DEFAULT_BRANCH = {"CI_COMMIT_BRANCH": "main", "CI_PIPELINE_SOURCE": "push"}
OTHER_BRANCH = DEFAULT_BRANCH | {"CI_COMMIT_BRANCH": "feature"}
TAG = {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1.0.0", "CI_COMMIT_BRANCH": None}
# The same branch, but the pipeline was started by something else than a push.
# https://docs.gitlab.com/ci/jobs/job_rules/#ci_pipeline_source-predefined-variable
RUN_PIPELINE = DEFAULT_BRANCH | {"CI_PIPELINE_SOURCE": "web"}  # a person, in GitLab's pages
MACHINES = {
    source: DEFAULT_BRANCH | {"CI_PIPELINE_SOURCE": source}
    for source in (
        "schedule", "api", "trigger", "pipeline", "parent_pipeline", "chat", "external",
    )
}  # fmt: skip

Variables = Mapping[str, str | None]


@dataclass
class Pipeline:
    """How a pipeline ended: `jobs` has `passed`, `warned` or `failed` for those that ran."""

    said: str
    seconds: float
    jobs: dict[str, str] = field(default_factory=dict)


@dataclass
class GitLab:
    """A project in GitLab: what was pushed to `bare` runs in clones below `folder`."""

    bare: Path
    folder: Path
    _count: int = 0

    def jobs(self, kind: Variables, **variables: str) -> dict[str, str]:
        """Return the jobs of a pipeline of that kind, and when each would run."""
        listed = self._list(self._clone(), kind, variables)
        return {job["name"]: job["when"] for job in listed if job["when"] != "never"}

    def starts(self, kind: Variables, **variables: str) -> bool:
        """Tell whether `workflow` lets a pipeline of that kind start.

        gitlab-ci-local ignores `workflow`, so its rules are evaluated as those of a job.
        """
        clone = self._clone()
        pipeline = yaml.safe_load((clone / ".gitlab-ci.yml").read_text("utf-8"))
        probe = {"probe": {"script": ["true"], "rules": pipeline["workflow"]["rules"]}}
        (clone / ".gitlab-ci.yml").write_text(yaml.safe_dump(probe), "utf-8")
        return bool(self._list(clone, kind, variables)[0]["when"] != "never")

    def run(
        self,
        kind: Variables,
        *jobs: str,
        mounts: tuple[Path, ...] = (),
        host_network: bool = False,
        **variables: str,
    ) -> Pipeline:
        """Run a pipeline of that kind on what the default branch has: in containers if possible.

        With `host_network`, jobs reach servers of this machine; a service cannot have a name of
        its own there, so the engine's socket takes the place of the `docker:dind` service.
        """
        clone = self._clone()
        options = ["--concurrency", "2"]
        if FINDERS["docker"]("docker"):
            mounts = (*mounts, Path("/var/run/docker.sock"))
            options += [item for m in mounts for item in ("--volume", f"{m}:{m}")]
            options += ["--network", "host"] if host_network else []
        else:
            options += ["--force-shell-executor"]
        # Where `docker:dind` is this machine's own engine, tests that run at once share it.
        own = {"COMPOSE_PROJECT_NAME": f"build-{uuid.uuid4().hex[:12]}", "PORT": str(free_port())}
        build: dict[str, Any] = {"variables": own}
        if host_network:
            own["DOCKER_HOST"] = "unix:///var/run/docker.sock"
            build["services"] = []
        (clone / ".gitlab-ci-local.yml").write_text(yaml.safe_dump({"build": build}))
        started = time.monotonic()
        done = self._call(clone, *options, *jobs, *settings(kind, variables))
        results = re.findall(r"^ (PASS|WARN|FAIL) +(\w+)", done.stdout, re.MULTILINE)
        known = yaml.safe_load((clone / ".gitlab-ci.yml").read_text("utf-8"))
        words = {"PASS": "passed", "WARN": "warned", "FAIL": "failed"}
        ended = {job: words[word] for word, job in results if job in known}
        return Pipeline(done.stdout, time.monotonic() - started, ended)

    def _clone(self) -> Path:
        self._count += 1
        clone = self.folder / f"clone{self._count}"
        git = ["git", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(
            [*git, "clone", "--quiet", self.bare, clone], check=True, env=clean_environment()
        )
        remote = "https://gitlab.example.com/client/project.git"
        subprocess.run([*git, "-C", clone, "remote", "set-url", "origin", remote], check=True)
        return clone

    def _list(self, clone: Path, kind: Variables, variables: dict[str, str]) -> Any:
        done = self._call(clone, "--list-json", *settings(kind, variables))
        return json.loads(done.stdout[done.stdout.index("[\n") :].rpartition("]")[0] + "]")

    def _call(self, clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [require("gitlab-ci-local"), "--home", str(self.folder), *arguments]
        return run(command, clone, {"NO_COLOR": "1", "HOME": str(self.folder)})


def settings(kind: Variables, variables: dict[str, str]) -> list[str]:
    """Return the options of gitlab-ci-local that set, and unset, variables."""
    options = []
    for name, value in {**kind, **variables}.items():
        if value is None:
            options += ["--unset-variable", name]
        else:
            options += ["--variable", f"{name}={value}"]
    return options
