"""App Engine, as far as its set-up and its builds depend on the project around it.

Sources: https://cloud.google.com/appengine/docs/admin-api/reference/rest/v1/apps (`create`,
`locations`), https://cloud.google.com/appengine/docs/standard/service-account for the account and
the buckets that come with an application, and
https://cloud.google.com/appengine/docs/standard/roles#predefined_roles with
https://cloud.google.com/appengine/docs/standard/configure-service-accounts for what a deployment
and its build need.
"""

import secrets

from emulators.appengine import AppEngine
from emulators.appengine.api import SERVICE
from emulators.appengine.googleapi import SIGNED_IN, Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy
from .project import Project

REGIONS = ("europe-west", "europe-west3", "us-central", "us-east1", "asia-northeast1")


class Application:
    """Stands before the App Engine emulator, which has the rest."""

    def __init__(self, project: Project, gae: AppEngine):
        self._project = project
        self._gae = gae
        if gae.admin.region:
            self._settle()

    def routes(self) -> list[Route]:
        """Return the methods that differ from the emulator's own."""
        return [
            route(
                "POST",
                "/v1/apps",
                "appengine.applications.create",
                self.create,
                *("request", "account"),
            ),
            route(
                "GET",
                "/v1/apps/(?P<project>[^/]+)/locations",
                SIGNED_IN,
                self.list_locations,
                api="appengine",
            ),
            route(
                "POST",
                f"{SERVICE}/versions",
                "appengine.versions.create",
                self.create_version,
                *("request", "account"),
            ),
        ]

    def create(self, request: Request, account: str) -> Answer:
        """Create the application, with all that Google makes beside it."""
        region = request.json().get("locationId", "")
        if region not in REGIONS:
            raise ApiError(400, f"Invalid location: {region}")
        answer = self._gae.admin.create_app(request, account)
        self._settle()
        return answer

    def _settle(self) -> None:
        """Make what Google makes with an application: its account and its two buckets."""
        iam = self._project.iam
        if self._project.runtime not in iam.accounts:
            iam.add(self._project.runtime, displayName="App Engine default service account")
        for name in (self._gae.staging_bucket, self._gae.default_bucket):
            self._project.buckets.setdefault(name, Policy())

    def list_locations(self, project: str) -> Answer:
        """List some regions."""
        rows = [{"name": f"apps/{project}/locations/{r}", "locationId": r} for r in REGIONS]
        return Answer.of({"locations": rows})

    def create_version(self, request: Request, account: str, project: str, service: str) -> Answer:
        """Create a version, unless its caller or its build lacks a permission."""
        runtime, bucket = self._project.runtime, self._gae.staging_bucket
        self._gae.api.allow(account, runtime, "iam.serviceAccounts.actAs")
        self._gae.api.allow(account, "", "cloudbuild.builds.create")
        # The build runs as the application's account.
        staging = self._project.buckets[bucket]
        needed = {
            "storage.buckets.get": staging,
            "storage.objects.create": staging,
            "storage.objects.get": staging,
            "artifactregistry.repositories.uploadArtifacts": None,
            "logging.logEntries.create": None,
        }
        for permission, policy in needed.items():
            if not self._project.permits(runtime, permission, policy):
                name = f"apps/{project}/operations/{secrets.token_hex(8)}"
                message = (
                    f'Failed to create cloud build: invalid bucket "{bucket}"; {permission} denied.'
                )
                return Answer.of(
                    {"name": name, "done": True, "error": {"code": 13, "message": message}}
                )
        return self._gae.admin.create_version(request, project, service, account)
