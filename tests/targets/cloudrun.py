"""Cloud Run for the suite: the emulator with real containers, the real gcloud, real registries."""

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from delivery.cloudrun.settings import PLACEHOLDERS

from emulators.cloudrun import CloudRun
from tests.support.clone import new_laptop
from tests.support.tools import require
from tests.support.visitors import Where
from tests.targets.image import build_and_push
from tests.targets.world import World

SERVICE = "hello-delivery"


@dataclass
class CloudRunWorld(World):
    """A Google of its own, and a GitLab with a registry."""

    cloud: CloudRun = field(kw_only=True)
    config: Path = field(kw_only=True)  # docker's, for pushes from the test
    built: dict[str, str] = field(default_factory=dict)

    deploy_to = "cloud-run"
    first_serves = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        require("gcloud")
        require("docker")
        path, temp, env = new_laptop(folder, cls.deploy_to)
        world = cls(path, temp, env, cloud=CloudRun(deadline=5), config=folder / "docker")
        world.git("init", "--quiet")
        world.first = world.commit()
        world.set_up()
        return world

    def set_up(self) -> None:
        """Make the service as its owner does, with Google's sample and open to everybody."""
        settings = {
            "GCP_PROJECT": self.cloud.project,
            "RUN_REGION": self.cloud.region,
            "RUN_SERVICE": SERVICE,
        }
        self.env |= self.cloud.environment(signed_in=True) | settings
        subprocess.run(
            [
                *("gcloud", "run", "deploy", SERVICE, f"--image={PLACEHOLDERS[0]}", "--quiet"),
                *("--no-invoker-iam-check", f"--region={self.cloud.region}"),
                f"--project={self.cloud.project}",
            ],
            env=self.env,
            check=True,
            capture_output=True,
        )

    def close(self) -> None:
        self.cloud.close()

    def secrets(self) -> Iterable[str]:
        return self.cloud.secrets()

    def uploads(self) -> Iterable[bytes]:
        return self.cloud.staged()

    def job(self) -> dict[str, str]:
        return {
            "CI": "true",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
            "GCP_WORKLOAD_IDENTITY_PROVIDER": self.cloud.provider,
            "GCP_SERVICE_ACCOUNT": self.cloud.service_account,
            "GITLAB_OIDC_TOKEN": self.cloud.gitlab_token(),
            **self.cloud.gitlab.variables(),
        }

    def build(self) -> dict[str, str]:
        commit = self.git("rev-parse", "HEAD")
        if commit not in self.built:
            gitlab = self.cloud.gitlab.variables()
            self.built[commit] = build_and_push(self.path, gitlab, self.config)
        return {"IMAGE": self.built[commit]}

    def traffic(self) -> dict[str, float]:
        return {version: float(share) for version, share in self.cloud.traffic.items()}

    def versions(self) -> set[str]:
        return set(self.cloud.versions)

    def where(self) -> Where:
        return self.cloud

    def bookmark(self) -> Callable[[], None]:
        now = self.cloud.snapshot()
        return lambda: self.cloud.restore(now)
