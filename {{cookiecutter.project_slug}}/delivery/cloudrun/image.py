"""Brings a version's image to where Cloud Run takes it from.

In the pipeline, job `build` made the image and started it; that very image is copied, from GitLab's
registry to Google's. On a laptop it is built from the commit, and pushed.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery import names
from delivery.cloudrun import registry
from delivery.cloudrun.registry import Login, Reference
from delivery.errors import CommandError, MisuseError
from delivery.process import Runner

BUILD_TIMEOUT = 10 * 60.0
PUSH_TIMEOUT = 5 * 60.0
# https://cloud.google.com/artifact-registry/docs/docker/authentication#token
TOKEN_USER = "oauth2accesstoken"  # noqa: S105 - a user's name
# https://cloud.google.com/run/docs/container-contract#executables
PLATFORM = "linux/amd64"
REVISION = "org.opencontainers.image.revision"
_COMMIT = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Image:
    """The image of one delivery."""

    runner: Runner
    environ: Mapping[str, str]  # for programs that are started
    repository: str
    token: Callable[[], str]

    def bring(self, version: str, source: Path) -> str:
        """Return the image by digest, REPOSITORY/NAME@sha256:..., once it is there."""
        given = self.runner.environ.get("IMAGE", "").strip()
        if self.runner.environ.get("CI") and not given:
            raise MisuseError(
                "IMAGE is not set",
                why="the job build pushes the image to GitLab's container registry, and hands its\n"
                "name on; its log says what it did",
                then="GitLab: turn the registry on (Settings > General), run the pipeline again",
            )
        # The clean-up policy keeps the newest of each name: reviews must not push production out.
        name = "review" if names.is_review(version) else "app"
        target = Reference.parse(f"{self.repository}/{name}:{version}")
        return self._copy(given, target, version) if given else self._build(target, source)

    def _copy(self, given: str, target: Reference, version: str) -> str:
        image = Reference.parse(given)
        if not image.digest:
            raise MisuseError(
                f"IMAGE is {given!r}, which names no digest",
                why="a tag may lead to another image than the one that was tested",
                then="its form is REGISTRY/PATH@sha256:...",
            )
        by_digest = f"{target.name}@{image.digest}"
        if self.runner.dry_run:
            self.runner.console.result(f"docker buildx imagetools create --tag={target} {given}")
            return by_digest
        environ = self.runner.environ
        login = None
        if environ.get("CI_REGISTRY") == image.host and environ.get("CI_REGISTRY_PASSWORD"):
            login = Login(environ.get("CI_REGISTRY_USER", ""), environ["CI_REGISTRY_PASSWORD"])
        self.runner.console.step(f"Copying the image to {target.name}.")
        registry.copy(
            registry.Registry(image, login, "pull"),
            registry.Registry(target, Login(TOKEN_USER, self.token()), "pull,push"),
            check=lambda labels: _refuse_other_commit(labels, version),
            clock=self.runner.clock,
            sleep=self.runner.sleep,
        )
        return by_digest

    def _build(self, target: Reference, source: Path) -> str:
        run, environ = self.runner.change, dict(self.environ)
        # An index of one image and its provenance would have another digest on each build.
        environ["BUILDX_NO_DEFAULT_ATTESTATIONS"] = "1"
        run(
            ["docker", "build", f"--platform={PLATFORM}", f"--tag={target}", "."],
            doing="building the image",
            timeout=BUILD_TIMEOUT,
            environ=environ,
            cwd=source,
        )
        if not self.runner.dry_run:
            environ |= self._docker_login(target.host)
        pushed = run(
            ["docker", "push", str(target)],
            doing="pushing the image",
            timeout=PUSH_TIMEOUT,
            environ=environ,
        )
        if self.runner.dry_run:
            return f"{target.name}@DIGEST"
        digest = re.search(r"digest: (sha256:[0-9a-f]{64})", pushed)
        if not digest:
            raise CommandError("pushing the image: docker names no digest", why=pushed[-300:])
        return f"{target.name}@{digest[1]}"

    def _docker_login(self, host: str) -> dict[str, str]:
        """Return variables with which docker is logged in, and still finds its engine."""
        contexts = self.runner.read(
            ["docker", "context", "inspect"],
            doing="looking for Docker",
            timeout=30,
            environ=self.environ,
        )
        engine = json.loads(contexts)[0]["Endpoints"]["docker"]["Host"]
        secret = base64.b64encode(f"{TOKEN_USER}:{self.token()}".encode()).decode()
        folder = self.runner.private.path / "docker"
        folder.mkdir()
        config = json.dumps({"auths": {host: {"auth": secret}}})
        self.runner.private.write("docker/config.json", config)
        return {"DOCKER_CONFIG": str(folder), "DOCKER_HOST": engine}


def _refuse_other_commit(labels: Mapping[str, str], version: str) -> None:
    """Raise MisuseError for the image of another commit: a variable IMAGE that was left behind.

    Nothing else would show it, as the name of the version is what /health answers.
    """
    made_of, wanted = labels.get(REVISION, ""), names.commit_of(version)
    if wanted and _COMMIT.fullmatch(made_of) and made_of != wanted:
        raise MisuseError(
            f"IMAGE was built of commit {made_of}, and not of that of {version}",
            then="unset IMAGE, and on a laptop the image is built; in GitLab, job build sets it",
        )
