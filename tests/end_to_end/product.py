"""A baked project with a Google of its own, and the verbs in which the tests speak of it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from delivery import record
from delivery.record import Hold, Move, Record

from emulators.appengine import AppEngine, Gate
from tests.support.clone import FIRST_COMMIT, Clone, new_laptop, wait_until
from tests.support.tools import require
from tests.support.visitors import ask, connect


@dataclass
class Product(Clone):
    """A baked project under git, a Google of its own, and the person or job that delivers."""

    gae: AppEngine = field(kw_only=True)
    first: str = ""

    def secrets(self) -> list[str]:
        return self.gae.secrets()

    def uploads(self) -> list[bytes]:
        return self.gae.staged()

    def remember(self, *moves: tuple[str, dict[str, float], str], held: Iterable[str] = ()) -> None:
        """Write a record: moves as (verb, split in per cent, outcome), a minute apart each."""
        before: dict[str, float] = {}
        known, at = Record(), datetime.now(UTC) - timedelta(hours=12)
        for verb, after, outcome in moves:
            at += timedelta(minutes=1)
            known = known.having(Move(verb, before, after, "Ada", at, outcome))
            before = before if outcome == record.RESTORED else after
        known = known.holding(set(held), Hold("Ada rolled back from it", at))
        text = record.dump(known).encode()
        self.gae.storage.write(self.gae.default_bucket, "delivery/default.json", text)

    def record(self) -> Record:
        """Read the record as it lies in the bucket."""
        objects = self.gae.storage.buckets[self.gae.default_bucket].objects
        return record.load(objects["delivery/default.json"].data.decode())

    def copy(self, minutes: float, source: str = "", **files: str) -> str:
        """Put a version there as if delivered from a commit so many minutes after the first."""
        name = f"v{FIRST_COMMIT + timedelta(minutes=minutes):%Y%m%dt%H%M%S}-0123abcd"
        self.gae.copy_version(source or self.first, name, **files)
        return name

    def revision(self) -> str:
        """Ask production who it is."""
        return str(json.loads(self.page("/health"))["revision"])

    def page(self, path: str = "/") -> str:
        """Visit production."""
        with connect(self.gae) as connection:
            status, body = ask(connection, path)
        assert status == 200, body
        return body.decode()


def new_product(folder: Path, gae: AppEngine) -> Product:
    """Bake, commit, and stand at a laptop on which gcloud is signed in."""
    require("gcloud")
    path, temp, env = new_laptop(folder, "app-engine")
    env |= gae.environment(signed_in=True) | {"GAE_PROJECT": gae.project}
    product = Product(path, temp, env, gae=gae)
    product.git("init", "--quiet")
    product.first = product.commit()
    return product


def a_job(product: Product) -> dict[str, str]:
    """The variables of a job in GitLab that signs in without a key."""
    return {
        "CI": "true",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
        "GCP_WORKLOAD_IDENTITY_PROVIDER": product.gae.provider,
        "GCP_SERVICE_ACCOUNT": product.gae.service_account,
        "GITLAB_OIDC_TOKEN": product.gae.gitlab_token(),
    }


def a_job_with_key(key: str) -> dict[str, str]:
    """The variables of a job in GitLab that has a key."""
    return {"CI": "true", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "", "GAE_KEY": key}


def nobody() -> dict[str, str]:
    """A gcloud that nobody signed in."""
    return {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": ""}


def kill_at(product: Product, gate: Gate, *command: str) -> None:
    """Kill a delivery while one of its requests is held, and see that nothing of it is left."""
    with product.start(*command, **a_job(product)) as process:
        assert gate.reached(), "the verb never asked for this"
        process.kill()
        out, err = process.communicate(timeout=30)
    wait_until(lambda: product.left_over() == [])
    gate.abandon()
    product.expect_no_credential(out + err)


def production_files(product: Product) -> set[str]:
    """What production needs: the application, its locked packages, how to run it."""
    tracked = product.git("ls-files", "app", ":(exclude,glob)**/.*").splitlines()
    return {*tracked, "app.yaml", "gunicorn.conf.py", "requirements.txt"}
