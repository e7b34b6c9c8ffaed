"""What Cloud Run needs, for connect and doctor: service, account, images, the record's bucket."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from delivery.cloudrun import settings
from delivery.cloudrun.settings import NAMES, PLACEHOLDERS, Place
from delivery.connect.connection import Finding, Options
from delivery.connect.once import Once
from delivery.connect.project import values_of
from delivery.connect.resource import Look, Resource, State
from delivery.errors import CommandError, MisuseError
from delivery.google.connect import lists, policies
from delivery.google.connect.google import LATE, Google, Role
from delivery.google.connect.resources import Named
from delivery.google.rest import ApiError
from delivery.process import Runner

APIS = (
    *("run", "artifactregistry", "storage", "cloudresourcemanager", "iam", "iamcredentials"),
    *("logging", "sts"),
)
PROJECT, RUNTIME = "project", "service's account"
REPOSITORY, BUCKET = "image repository", "bucket"
ONE, BOTH = ("deployer",), ("deployer", "reviewer")
IMAGES = "artifactregistry.repositories"
LABEL = {"made-by": "delivery-connect"}  # a bucket has no description


class CloudRun(Google):
    """A service in a region, and all that a delivery to it needs."""

    NAMES = NAMES
    PLACES: ClassVar[Options] = {
        **Google.PLACES,
        "--region": {"metavar": "REGION", "help": "where the service runs"},
        "--service": {"metavar": "NAME", "help": "default: the project's name"},
    }
    ACCESS: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
        PROJECT: ("deliver, read logs", lists.ON_PROJECT),
        RUNTIME: ("deploy what runs as it, and as no other", lists.ON_ACCOUNT),
        REPOSITORY: ("push images", lists.ON_REPOSITORY),
        BUCKET: ("keep the record of deliveries", lists.ON_BUCKET),
    }
    # https://cloud.google.com/run/docs/reference/iam/roles#additional-configuration. Review apps
    # are tags of the same service: no role lets the reviewer make one, and not move traffic.
    ROLES = (
        Role(PROJECT, BOTH, "run.developer", "run.services.update"),
        Role(PROJECT, ONE, "logging.viewer", "logging.logEntries.list"),
        Role(RUNTIME, BOTH, "iam.serviceAccountUser", "iam.serviceAccounts.actAs"),
        Role(REPOSITORY, BOTH, "artifactregistry.writer", f"{IMAGES}.uploadArtifacts"),
        Role(BUCKET, ONE, "storage.objectAdmin", "storage.objects.create"),
    )

    def __init__(self, runner: Runner, options: argparse.Namespace, *, ask: bool) -> None:
        super().__init__(runner, options, ask=ask)
        self.place = self._place(ask=ask)
        self.service = Once(lambda: self.cloud.find("run", self._service.path))

    def _place(self, *, ask: bool) -> Place:
        """Find region and service: the options, the variables, GitLab's; the region also gcloud's.

        RUN_REPOSITORY does not count: who keeps images elsewhere has made that place.
        """
        environ, options, there = self.runner.environ, self.options, values_of(self.gitlab)

        def known(option: str | None, name: str) -> str:
            return option or environ.get(name, "").strip() or there.get((name, "*")) or ""

        region = known(options.region, "RUN_REGION") or self.me.property("run", "region")
        service = known(options.service, "RUN_SERVICE")
        if not region and ask and sys.stdin.isatty():
            region = self.runner.console.ask("Region of the service, such as europe-west1").strip()
        if not region:
            then = "--region REGION; gcloud run regions list shows them"
            raise MisuseError("no region is chosen", then=then)
        place = settings.place({"RUN_SERVICE": service}, self.runner.root, self.project, region)
        usual = place.service == settings.default_service(self.runner.root)
        options.region, options.service = region, "" if usual else place.service
        return place

    def settings(self) -> dict[str, tuple[str, Callable[[], str]]]:
        found = super().settings()
        found["RUN_REGION"] = ("where the service runs", lambda: self.place.region)
        if self.options.service:
            found["RUN_SERVICE"] = ("which service", lambda: self.place.service)
        return found

    def resources(self, *, undo: bool = False) -> list[Resource]:
        """List them in order."""
        self.choose_login(undo=undo)
        return [
            *lists.ready(self, "Cloud Run and Artifact Registry need one", APIS),
            *lists.accounts(self),
            lists.account(
                self,
                self.runtime,
                "the service runs as it, and it may do nothing",
                f"{self.place.service} runs as it",
                in_use=lambda: self.service() is not None and not self._service.made(),
                stays="a service that stays runs as it",
            ),
            lists.repository(self, self.place.service, lambda: self.place.region),
            self._bucket,
            self._service,
            *lists.access(self),
            *lists.federation(self),
            *lists.in_gitlab(self),
        ]

    @property
    def runtime(self) -> str:
        """The account that the service runs as."""
        return self._account(f"run-{self.place.service}")

    @property
    def _bucket(self) -> "Bucket":
        name, flags = self.place.bucket, "--uniform-bucket-level-access --public-access-prevention"
        where = {"create": f" --location={self.place.region} --project={self.project}"}
        access = {
            "uniformBucketLevelAccess": {"enabled": True},
            "publicAccessPrevention": "enforced",
        }
        return Bucket(
            f"bucket {name}",
            "keeps the record of deliveries",
            google=self,
            collection=lambda: "b",
            id=name,
            about={"name": name, "location": self.place.region, "labels": LABEL},
            fields=lambda: {"iamConfiguration": access},
            command=lambda verb: [
                f"gcloud storage buckets {verb} gs://{name}{where.get(verb, '')} {flags}"
            ],
        )

    @property
    def _service(self) -> "Service":
        name, region = self.place.service, self.place.region
        where = f"{name} --region={region} --project={self.project} --no-invoker-iam-check"
        made = f"--service-account={self.runtime} --image={PLACEHOLDERS[0]}"
        commands = {"create": f"deploy {where} {made}", "update": f"services update {where}"}
        template = {"serviceAccount": self.runtime, "containers": [{"image": PLACEHOLDERS[0]}]}
        return Service(
            f"service {name}",
            "begins with a page of Google's; everybody may visit it",
            google=self,
            collection=lambda: f"v2/projects/{self.project}/locations/{region}/services",
            id=name,
            about={"template": template},
            fields=lambda: {"invokerIamDisabled": True},
            command=lambda verb: [f"gcloud run {commands[verb]}"],
            parent=self.runtime,
        )

    def policy(self, on: str) -> policies.Policy:
        project, place = self.project, self.place
        return {
            PROJECT: policies.of_project(project),
            RUNTIME: policies.of_account(project, self.runtime),
            REPOSITORY: policies.of_repository(project, place.region, place.service),
            BUCKET: policies.of_bucket(place.bucket),
        }[on]

    def check(self, who: str) -> Iterator[Finding]:
        try:
            why = "" if self.service() else f"there is none in {self.place.region}"
        except CommandError as error:
            why = error.why
        yield Finding(not why, f"service {self.place.service}", why, LATE * bool(why))
        yield from self.check_roles(who, *self.ACCESS)


@dataclass(kw_only=True)
class Bucket(Named):
    """The bucket of the record, which nobody but accounts with a role on it can read."""

    permissions: tuple[str, ...] = ("storage.buckets.create",)
    role: str = "roles/storage.admin"
    stays: str = "it has the record of deliveries, or was there before"
    service: str = "storage"

    def look(self) -> Look:
        """Compare; all buckets of the world share their names."""
        found, number = self.find() or {}, self.google.about()["projectNumber"]
        if found.get("projectNumber", number) == number:
            return super().look()
        return Look(State.BLOCKED, "another Google Cloud project has it", "take another region")

    def differences(self, found: dict[str, Any]) -> list[str]:
        now = found.get("iamConfiguration", {})
        uniform = now.get("uniformBucketLevelAccess", {}).get("enabled")
        closed = uniform and now.get("publicAccessPrevention") == "enforced"
        return ["it lacks uniform access, or what prevents public access"] * (not closed)

    def make(self, body: dict[str, Any]) -> None:
        del body["description"]
        self.send("POST", self.collection(), body, project=self.google.project)

    def update(self, fields: dict[str, Any]) -> None:
        self.send("PATCH", self.path, fields)

    def marked(self, found: dict[str, Any]) -> bool:
        return set(found.get("labels", {}).items()) >= {*LABEL.items()}

    def made(self) -> bool:
        return super().made() and not self.cloud.pages("storage", f"{self.path}/o", "items")


@dataclass(kw_only=True)
class Service(Named):
    """The service: made once, with nothing of ours in it, so that no delivery need be able to."""

    permissions: tuple[str, ...] = (
        *("run.services.get", "run.services.create", "run.services.update"),
        *("run.services.setIamPolicy", "iam.serviceAccounts.actAs"),
    )
    role: str = "roles/run.admin and roles/iam.serviceAccountUser"
    stays: str = "something was delivered to it, or it was there before"
    service: str = "run"
    id_is: str = "serviceId"
    google: CloudRun

    def find(self) -> dict[str, Any] | None:
        return self.google.service()

    def look(self) -> Look:
        """Compare; what it runs as is changed by a person, as that makes a revision."""
        now, wanted = (self.find() or {}).get("template", {}).get("serviceAccount"), self.parent
        if now in {None, wanted}:
            return super().look()
        where = f"--region={self.google.place.region} --project={self.google.project}"
        then = f"gcloud run services update {self.id} {where} --service-account={wanted}"
        return Look(State.BLOCKED, f"it runs as {now}, not {wanted}", f"{then} --no-traffic")

    def too_early(self, error: ApiError) -> bool:
        return "not exist" in error.message  # of its account

    def made(self) -> bool:
        """Whether it was made here, and nothing has been delivered to it."""
        containers = (self.find() or {}).get("template", {}).get("containers", [])
        new = all(str(each.get("image", "")).startswith(PLACEHOLDERS) for each in containers)
        return super().made() and new
