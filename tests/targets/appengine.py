"""App Engine for the suite: the emulator, and the real gcloud."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from emulators.appengine import AppEngine
from tests.support.clone import new_laptop
from tests.support.tools import require
from tests.support.visitors import Where
from tests.targets.world import World


@dataclass
class AppEngineWorld(World):
    """A Google of its own."""

    gae: AppEngine = field(kw_only=True)

    deploy_to = "app-engine"
    first_serves = True

    @classmethod
    def open(cls, folder: Path) -> Self:
        require("gcloud")
        path, temp, env = new_laptop(folder, cls.deploy_to)
        world = cls(path, temp, env, gae=AppEngine(deadline=5))
        world.set_up()
        world.git("init", "--quiet")
        world.first = world.commit()
        return world

    def set_up(self) -> None:
        """Let this laptop's gcloud be signed in to it."""
        self.env |= self.gae.environment(signed_in=True) | {"GAE_PROJECT": self.gae.project}

    def close(self) -> None:
        self.gae.close()

    def secrets(self) -> Iterable[str]:
        return self.gae.secrets()

    def uploads(self) -> Iterable[bytes]:
        return self.gae.staged()

    def job(self) -> dict[str, str]:
        return {
            "CI": "true",
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
            "GCP_WORKLOAD_IDENTITY_PROVIDER": self.gae.provider,
            "GCP_SERVICE_ACCOUNT": self.gae.service_account,
            "GITLAB_OIDC_TOKEN": self.gae.gitlab_token(),
        }

    def traffic(self) -> dict[str, float]:
        return {version: round(share * 100, 1) for version, share in self.gae.traffic.items()}

    def versions(self) -> set[str]:
        return set(self.gae.versions)

    def where(self) -> Where:
        return self.gae

    def copy(self, name: str) -> None:
        self.gae.copy_version(self.first, name)

    def bookmark(self) -> Callable[[], None]:
        now = self.gae.snapshot()
        return lambda: self.gae.restore(now)
