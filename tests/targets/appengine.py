"""App Engine for the suite: the emulator, and the real gcloud."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from emulators.appengine import AppEngine
from tests.end_to_end.product import Product, new_product
from tests.support.visitors import Where
from tests.targets.world import World


@dataclass
class AppEngineWorld(World):
    """A Google of its own."""

    gae: AppEngine = field(kw_only=True)
    product: Product = field(kw_only=True)

    deploy_to = "app-engine"
    step = 0.1
    first_serves = True

    @classmethod
    def open(cls, folder: Path) -> Self:
        gae = AppEngine(deadline=5)
        product = new_product(folder, gae)
        world = cls(product.path, product.temp, product.env, gae=gae, product=product)
        world.first, world._commits = product.first, product._commits
        return world

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

    def clear(self) -> None:
        self.gae.close()
        self.gae = self.product.gae = AppEngine(deadline=5)
        self.env |= self.gae.environment(signed_in=True)

    def reset(self) -> None:
        if self.first not in self.versions():  # pruned
            self.upload(self.first)
        self.gae.reset(self.first)
        self.product.remember(("promote", {self.first: 100}, "healthy"))
