"""Resources of the Google Cloud project: billing, APIs, application, accounts, image repository."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from delivery.errors import CommandError
from delivery.google.connect.cloud import PATIENCE
from delivery.google.connect.resource import MISSING, THERE, Look, Resource, State
from delivery.google.connect.wish import MARK, REPOSITORY
from delivery.google.rest import ApiError

APIS = (
    "appengine",
    "artifactregistry",
    "cloudbuild",
    "cloudresourcemanager",
    "iam",
    "iamcredentials",
    "logging",
    "storage",
    "sts",
)
# https://cloud.google.com/appengine/docs/standard/locations; asked for only while the API, which
# knows better, is not switched on.
REGIONS = [
    "asia-east1",
    "asia-east2",
    "asia-northeast1",
    "asia-northeast2",
    "asia-northeast3",
    "asia-south1",
    "asia-southeast1",
    "asia-southeast2",
    "australia-southeast1",
    "europe-central2",
    "europe-west",
    "europe-west2",
    "europe-west3",
    "europe-west6",
    "northamerica-northeast1",
    "southamerica-east1",
    "us-central",
    "us-east1",
    "us-east4",
    "us-west1",
    "us-west2",
    "us-west3",
    "us-west4",
]


class Billing(Resource):
    """A billing account, which only a person can link."""

    def look(self) -> Look:
        """Ask whether billing is enabled; who may not know, will see when the APIs are enabled."""
        project = self.wish.project
        try:
            found = self.cloud.request("GET", "cloudbilling", f"v1/projects/{project}/billingInfo")
        except ApiError as error:
            return Look(State.UNKNOWN, error.message)
        if found.get("billingEnabled"):
            return THERE
        return Look(
            State.BLOCKED,
            "no billing account is linked, and App Engine builds with Cloud Build, which needs one",
            "an administrator of a billing account:\n"
            f"https://console.cloud.google.com/billing/linkedaccount?project={project}",
        )


class Apis(Resource):
    """The APIs that a delivery calls."""

    def _missing(self) -> list[str]:
        query = {"filter": "state:ENABLED", "pageSize": "200"}
        rows = self.cloud.pages(
            "serviceusage", f"{self.context.path}/services", "services", **query
        )
        enabled = {str(row.get("name", "")).rpartition("/")[2] for row in rows}
        return [api for name in APIS if (api := f"{name}.googleapis.com") not in enabled]

    def look(self) -> Look:
        """List those that are off."""
        missing = self._missing()
        names = [api.removesuffix(".googleapis.com") for api in missing]
        return Look(State.MISSING, ", ".join(names)) if missing else THERE

    def create(self) -> None:
        """Switch them on, all at once."""
        path = f"{self.context.path}/services:batchEnable"
        if missing := self._missing():
            body = {"serviceIds": missing}
            self.cloud.change("POST", "serviceusage", path, "enabling APIs", body=body)

    def commands(self) -> list[str]:
        """Return gcloud's command."""
        return [f"gcloud services enable {' '.join(self._missing())} --project={self.wish.project}"]


class App(Resource):
    """The App Engine application, which is for good, and so is its region."""

    def regions(self) -> list[str]:
        """List where applications can be."""
        path = f"v1/apps/{self.wish.project}/locations"
        try:
            rows = self.cloud.pages("appengine", path, "locations")
        except ApiError:
            rows = []
        named = [str(row.get("locationId", "")) for row in rows]
        return sorted(name for name in named if name) or REGIONS

    def look(self) -> Look:
        """Compare region and default bucket, where the record of deliveries is kept."""
        region = self.wish.region
        app = self.context.app
        if app is None:
            return self._look_before()
        place = app.get("locationId", "")
        if region and region != place:
            then = f"leave --region out, or take another Google Cloud project for {region}"
            return Look(State.BLOCKED, f"it is in {place}, which can never be changed", then)
        if app.get("servingStatus", "SERVING") != "SERVING":
            then = f"an owner: https://console.cloud.google.com/appengine/settings?project={self.wish.project}"
            return Look(State.BLOCKED, f"it is {app['servingStatus']}", then)
        if not app.get("defaultBucket"):
            return Look(State.DIFFERS, "it lacks its default bucket")
        return Look(State.THERE, f"in {place}")

    def _look_before(self) -> Look:
        region = self.wish.region
        if region and region not in self.regions():
            where = ", ".join(self.regions())
            return Look(State.BLOCKED, f"there is no region {region}", f"take one of: {where}")
        # Google makes the application's account with it.
        if blocked := forbidden_by(self, "iam.disableServiceAccountCreation"):
            return blocked
        return Look(State.MISSING, f"in {region or 'a region to be chosen'}, for good")

    def create(self) -> None:
        """Create it, or repair it; another run may be at that, so wait until it is there."""
        project = self.wish.project
        if self.context.app is None:
            body = {"id": project, "locationId": self.wish.region}
            self.cloud.change("POST", "appengine", "v1/apps", "creating the application", body=body)
        else:
            path = f"v1/apps/{project}:repair"
            self.cloud.change("POST", "appengine", path, "repairing the application", body={})
        start = self.cloud.clock()
        self.context.refresh()
        while not (self.context.app or {}).get("defaultBucket"):
            if self.cloud.clock() - start > PATIENCE:
                raise CommandError(f"the application is not there after {PATIENCE:.0f} s")
            self.cloud.sleep(1)
            self.context.refresh()

    def commands(self) -> list[str]:
        """Return gcloud's command."""
        project, region = self.wish.project, self.wish.region or "REGION"
        if self.context.app is not None:
            return [f"gcloud beta app repair --project={project}"]
        return [f"gcloud app create --region={region} --project={project}"]


@dataclass
class Account(Resource):
    """A service account."""

    email: str = ""
    note: Callable[[], str] = str  # for its description, after the mark

    @property
    def _path(self) -> str:
        return f"{self.context.path}/serviceAccounts/{self.email}"

    def _find(self) -> dict[str, Any] | None:
        return self.cloud.find("iam", self._path)

    def look(self) -> Look:
        """See whether it exists, and is not disabled."""
        found = self._find()
        if found is None:
            return forbidden_by(self, "iam.disableServiceAccountCreation") or MISSING
        if found.get("disabled"):
            return Look(State.DIFFERS, "it is disabled", foreign=not _marked(found))
        return THERE

    def create(self) -> None:
        """Create or enable it."""
        if self._find() is not None:
            self.cloud.change(
                "POST", "iam", f"{self._path}:enable", f"enabling {self.email}", body={}
            )
            return
        about = {"displayName": "GitLab delivers with it", "description": f"{MARK}{self.note()}"}
        body = {"accountId": self.email.partition("@")[0], "serviceAccount": about}
        path = f"{self.context.path}/serviceAccounts"
        self.cloud.change("POST", "iam", path, f"creating {self.email}", body=body)
        self.context.forget()

    def made(self) -> bool:
        """Look for the mark."""
        return _marked(self._find())

    def remove(self) -> None:
        """Delete it, and with it its keys."""
        self.cloud.change("DELETE", "iam", self._path, f"deleting {self.email}")

    def commands(self) -> list[str]:
        """Return gcloud's command."""
        name = self.email.partition("@")[0]
        return [f"gcloud iam service-accounts create {name} --project={self.wish.project}"]


KEEP, DELETE = "delivery-keep-newest", "delivery-delete-old"
CLEANUP = {
    KEEP: {"id": KEEP, "action": "KEEP", "mostRecentVersions": {"keepCount": 10}},
    DELETE: {
        "id": DELETE,
        "action": "DELETE",
        "condition": {"tagState": "ANY", "olderThan": "2592000s"},
    },
}


class Repository(Resource):
    """The repository of the images that App Engine builds, and what keeps it from growing."""

    @property
    def _parent(self) -> str:
        region = (self.context.app or {}).get("locationId", self.wish.region)
        # App Engine's two oldest regions lack the digit that all other services have there.
        place = {"us-central": "us-central1", "europe-west": "europe-west1"}.get(region, region)
        return f"{self.context.path}/locations/{place}/repositories"

    @property
    def _headers(self) -> dict[str, str]:
        return {"X-Goog-User-Project": self.wish.project}  # as gcloud does for this service

    def _find(self) -> dict[str, Any] | None:
        path = f"{self._parent}/{REPOSITORY}"
        return self.cloud.find("artifactregistry", path, headers=self._headers)

    def look(self) -> Look:
        """Compare our two clean-up policies; those of others stay."""
        if self.context.app is None and not self.wish.region:
            return MISSING
        found = self._find()
        if found is None:
            return MISSING
        policies = found.get("cleanupPolicies", {})
        if any(policies.get(name) != policy for name, policy in CLEANUP.items()):
            return Look(State.DIFFERS, f"it lacks the clean-up policies {', '.join(CLEANUP)}")
        return THERE

    def create(self) -> None:
        """Create it, or add the policies to those that it has."""
        if (found := self._find()) is None:
            body = {"format": "DOCKER", "description": MARK, "cleanupPolicies": CLEANUP}
            self._send("POST", self._parent, body, repositoryId=REPOSITORY)
        else:
            self._set(found.get("cleanupPolicies", {}) | CLEANUP)

    def made(self) -> bool:
        """Look for our policies."""
        return bool((self._find() or {}).get("cleanupPolicies", {}).keys() & CLEANUP.keys())

    def remove(self) -> None:
        """Remove our policies; the repository, too, if it is ours and no image is in it."""
        found = self._find() or {}
        path = f"{self._parent}/{REPOSITORY}"
        if MARK in found.get("description", "") and not self.cloud.pages(
            "artifactregistry", f"{path}/packages", "packages"
        ):
            self._send("DELETE", path, None)
            return
        policies = found.get("cleanupPolicies", {})
        self._set({name: each for name, each in policies.items() if name not in CLEANUP})

    def _set(self, policies: dict[str, Any]) -> None:
        path = f"{self._parent}/{REPOSITORY}"
        self._send("PATCH", path, {"cleanupPolicies": policies}, updateMask="cleanupPolicies")

    def _send(self, method: str, path: str, body: Any, **query: str) -> None:
        doing = f"setting up the repository {REPOSITORY}"
        self.cloud.change(
            method, "artifactregistry", path, doing, body=body, query=query, headers=self._headers
        )

    def commands(self) -> list[str]:
        """Return gcloud's commands, for a file with the policies in gcloud's form."""
        place = self._parent.split("/")[4]
        where = f"--location={place} --project={self.wish.project}"
        create = (
            f"gcloud artifacts repositories create {REPOSITORY} --repository-format=docker {where}"
        )
        policy = f"gcloud artifacts repositories set-cleanup-policies {REPOSITORY} {where}"
        return [*([create] if self._find() is None else []), f"{policy} --policy=cleanup.json"]


def _marked(found: dict[str, Any] | None) -> bool:
    return MARK in (found or {}).get("description", "")


def forbidden_by(resource: Resource, constraint: str) -> Look | None:
    """Return what blocks if an organisation policy is in force; None if not, or nobody can say."""
    cloud, project = resource.cloud, resource.wish.project
    path = f"v2/projects/{project}/policies/{constraint}:getEffectivePolicy"
    try:
        spec = (cloud.find("orgpolicy", path, headers={"X-Goog-User-Project": project}) or {}).get(
            "spec"
        )
        if spec is None:  # its API is off, as in most projects; the older one needs none
            body = {"constraint": f"constraints/{constraint}"}
            older = f"v1/projects/{project}:getEffectiveOrgPolicy"
            found = cloud.api.request("POST", "cloudresourcemanager", older, body=body).json
            enforced = bool(found.get("booleanPolicy", {}).get("enforced"))
        else:
            enforced = any(rule.get("enforce") for rule in spec.get("rules", []))
    except ApiError as error:
        if not error.status:
            raise
        return None
    if not enforced:
        return None
    return Look(
        State.BLOCKED,
        f"the organisation's policy {constraint} is in force",
        "an organisation policy administrator, for this project:\n"
        f"https://console.cloud.google.com/iam-admin/orgpolicies/{constraint.replace('.', '-')}"
        f"?project={project}",
    )
