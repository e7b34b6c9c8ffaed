"""What App Engine needs, for connect and doctor: the application, its account, its buckets."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from delivery.appengine.target import NAMES
from delivery.connect.connection import Finding, Options
from delivery.connect.once import Once
from delivery.connect.resource import Choice, Look, Resource, State
from delivery.errors import CommandError
from delivery.google.connect import lists, policies
from delivery.google.connect.cloud import PATIENCE
from delivery.google.connect.google import LATE, Google, Role
from delivery.google.connect.policies import Policy, account
from delivery.google.connect.resources import OnGoogle, unless_forbidden
from delivery.google.rest import ApiError
from delivery.process import Runner

APIS = (
    *("appengine", "artifactregistry", "cloudbuild", "cloudresourcemanager", "iam"),
    *("iamcredentials", "logging", "storage", "sts"),
)
# https://cloud.google.com/appengine/docs/standard/locations; shown only while the API, which
# knows better, is not switched on.
REGIONS = (
    "asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3 asia-south1"
    " asia-southeast1 asia-southeast2 australia-southeast1 europe-central2 europe-west europe-west2"
    " europe-west3 europe-west6 northamerica-northeast1 southamerica-east1 us-central us-east1"
    " us-east4 us-west1 us-west2 us-west3 us-west4"
).split()
# App Engine's two oldest regions lack the digit that all other services have there.
ELSEWHERE = {"us-central": "us-central1", "europe-west": "europe-west1"}
IMAGES = "gae-standard"  # the repository in which App Engine's builds put their images

PROJECT, STAGING, DEFAULT = "project", "staging bucket", "default bucket"
APPLICATION = "application's account"
ONE, BOTH, RUNS = ("deployer",), ("deployer", "reviewer"), ("runtime",)


class AppEngine(Google):
    """An application, and all that a delivery to it needs."""

    NAMES = NAMES
    CHOICES: ClassVar[Options] = {
        "--region": {"metavar": "REGION", "help": "where it runs; this is for good"},
        **Google.CHOICES,
    }
    ACCESS: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
        PROJECT: ("deliver, read logs; store images, write logs", lists.ON_PROJECT),
        STAGING: ("upload files; read them and write the build's log", lists.ON_BUCKET),
        DEFAULT: ("keep the record of deliveries", lists.ON_BUCKET),
        APPLICATION: ("deploy what runs as it, and as no other", lists.ON_ACCOUNT),
    }

    # https://cloud.google.com/appengine/docs/standard/roles. The account that the application runs
    # as also builds it: it reads the files, stores images, and writes the build's log to a bucket.
    ROLES = (
        Role(PROJECT, BOTH, "appengine.deployer", "appengine.versions.create"),
        Role(PROJECT, BOTH, "cloudbuild.builds.editor", "cloudbuild.builds.create"),
        Role(PROJECT, BOTH, "artifactregistry.reader", "artifactregistry.repositories.get"),
        Role(PROJECT, ONE, "appengine.serviceAdmin", "appengine.services.update"),
        Role(PROJECT, ONE, "logging.viewer", "logging.logEntries.list"),
        Role(PROJECT, RUNS, "artifactregistry.createOnPushWriter"),
        Role(PROJECT, RUNS, "logging.logWriter"),
        Role(STAGING, (*BOTH, *RUNS), "storage.objectAdmin", "storage.objects.create"),
        Role(STAGING, (*BOTH, *RUNS), "storage.legacyBucketReader", "storage.buckets.get"),
        Role(DEFAULT, ONE, "storage.objectAdmin", "storage.objects.create"),
        Role(APPLICATION, BOTH, "iam.serviceAccountUser", "iam.serviceAccounts.actAs"),
    )

    def __init__(self, runner: Runner, options: argparse.Namespace, *, ask: bool) -> None:
        super().__init__(runner, options, ask=ask)
        self.app = Once(lambda: self.cloud.find("appengine", f"v1/apps/{self.project}"))

    def resources(self, *, undo: bool = False) -> list[Resource]:
        """List them in order."""
        self.choose_login(undo=undo)
        roles = lists.access(self)

        def note() -> str:
            """Name the roles that the application's account has from us: undo takes them away."""
            who = account(self.runtime)
            grants = [grant for each in roles for grant in each.lacking() if grant.member == who]
            names = " ".join(grant.role.removeprefix("roles/") for grant in grants)
            return f"; for the application: {names}" * bool(names)

        return [
            *lists.ready(self, "App Engine builds with Cloud Build, which needs one", APIS),
            App("App Engine application", "runs the versions", google=self),
            *lists.accounts(self, note),
            *roles,
            *lists.federation(self),
            lists.repository(self, IMAGES, self._images_region),
            *lists.in_gitlab(self),
        ]

    @property
    def runtime(self) -> str:
        """The account that the application runs as, and its builds."""
        name = self.project.rpartition(":")[2]
        return str((self.app() or {}).get("serviceAccount", f"{name}@appspot.gserviceaccount.com"))

    def emails(self) -> dict[str, str]:
        return {**super().emails(), "runtime": self.runtime}

    def _images_region(self) -> str:
        region = (self.app() or {}).get("locationId") or self.options.region or "REGION"
        return ELSEWHERE.get(region, region)

    def policy(self, on: str) -> Policy:
        """Return where it is; the application names its buckets."""
        if on == PROJECT:
            return policies.of_project(self.project)
        if on == APPLICATION:
            return policies.of_account(self.project, self.runtime)
        key, prefix = ("codeBucket", "staging.") if on == STAGING else ("defaultBucket", "")
        name = (self.app() or {}).get(key) or f"{prefix}{self.project}.appspot.com"
        return policies.of_bucket(name)

    def findings(self) -> Iterator[Finding]:
        """Read the newest failed build: which account builds varies between projects."""
        query = {"pageSize": "1", "filter": 'status="FAILURE" OR status="INTERNAL_ERROR"'}
        name = "newest failed build"
        try:
            found = self.cloud.find("cloudbuild", f"{self.path}/builds", query=query) or {}
        except ApiError as error:
            yield Finding(True, name, f"not looked at: {error.message}")
            return
        for build in found.get("builds", []):
            builder = str(build.get("serviceAccount", "")).rpartition("/")[2]
            why = build.get("failureInfo", {}).get("detail") or build.get("statusDetail", "")
            when = build.get("createTime", "")
            detail = f"{when} as {builder or 'an account it does not name'} {why}".strip()
            fine = builder in {"", self.runtime}
            then = (
                f"it builds as {builder}, which needs the roles of {self.runtime}:\n"
                "delivery/README.md, By hand, has them"
            )
            yield Finding(fine, name, detail, then * (not fine))

    def check(self, who: str) -> Iterator[Finding]:
        yield from self.check_roles(who, PROJECT)
        try:
            app = self.app()
        except ApiError as error:
            yield Finding(False, "App Engine application", error.message, LATE)
            return
        if app is None:
            yield Finding(False, "App Engine application", "there is none", LATE)
            return
        yield Finding(True, "App Engine application", f"in {app.get('locationId', '')}")
        yield from self.check_roles(who, STAGING, DEFAULT, APPLICATION)


@dataclass(kw_only=True)
class App(OnGoogle):
    """The App Engine application, which is for good, and so is its region."""

    permissions: tuple[str, ...] = ("appengine.applications.get", "appengine.applications.create")
    role: str = "roles/appengine.appCreator and roles/appengine.appViewer"
    stays: str = "neither it nor its region can ever be removed"
    google: AppEngine

    def _regions(self) -> list[str]:
        path = f"v1/apps/{self.google.project}/locations"
        try:
            rows = self.cloud.pages("appengine", path, "locations")
        except ApiError:
            rows = []
        return sorted(str(row["locationId"]) for row in rows if row.get("locationId")) or REGIONS

    def look(self) -> Look:
        """Compare region and default bucket, where the record of deliveries is kept."""
        region, app = self.google.options.region, self.google.app()
        if app is None:
            return self._look_before()
        place = app.get("locationId", "")
        if region and region != place:
            then = f"leave --region out, or take another Google Cloud project for {region}"
            return Look(State.BLOCKED, f"it is in {place}, which can never be changed", then)
        if app.get("servingStatus", "SERVING") != "SERVING":
            where = "https://console.cloud.google.com/appengine/settings"
            then = f"an owner: {where}?project={self.google.project}"
            return Look(State.BLOCKED, f"it is {app['servingStatus']}", then)
        if not app.get("defaultBucket"):
            return Look(State.DIFFERS, "it lacks its default bucket")
        return Look(State.THERE, f"in {place}")

    def _look_before(self) -> Look:
        region, regions = self.google.options.region, self._regions()
        if region and region not in regions:
            then = f"take one of: {', '.join(regions)}"
            return Look(State.BLOCKED, f"there is no region {region}", then)
        question = "Where shall the application run? This is for good."
        choice = None if region else Choice("region", question, tuple(regions))
        look = Look(
            State.MISSING, f"in {region or 'a region to be chosen'}, for good", choice=choice
        )
        # Google makes the application's account with it.
        return unless_forbidden(self.google, "iam.disableServiceAccountCreation", look)

    def create(self) -> None:
        """Create it, or repair it; another run may be at that, so wait until it is there."""
        project, app = self.google.project, self.google.app
        if app() is None:
            body = {"id": project, "locationId": self.google.options.region}
            self.cloud.change("POST", "appengine", "v1/apps", "creating the application", body=body)
        else:
            path = f"v1/apps/{project}:repair"
            self.cloud.change("POST", "appengine", path, "repairing the application", body={})
        start = self.cloud.clock()
        app.forget()
        while not (app() or {}).get("defaultBucket"):
            if self.cloud.clock() - start > PATIENCE:
                raise CommandError(f"the application is not there after {PATIENCE:.0f} s")
            self.cloud.sleep(1)
            app.forget()

    def commands(self) -> list[str]:
        project, region = self.google.project, self.google.options.region or "REGION"
        if self.google.app() is not None:
            return [f"gcloud beta app repair --project={project}"]
        return [f"gcloud app create --region={region} --project={project}"]
