"""Cloud Storage: the policies of buckets; the App Engine emulator has their objects.

Sources: https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy, `setIamPolicy` and
`testIamPermissions` beside it.
"""

from urllib.parse import parse_qs, urlsplit

from emulators.appengine.googleapi import BUCKET, SIGNED_IN, Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy
from .project import Project

PATH = f"{BUCKET}/iam"


class BucketPolicies:
    """Reads and replaces the policies of one project's buckets."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its methods."""
        return [
            route("GET", PATH, "storage.buckets.getIamPolicy", self.get, "request"),
            route("PUT", PATH, "storage.buckets.setIamPolicy", self.replace, "request"),
            route("GET", f"{PATH}/testPermissions", SIGNED_IN, self.ask, "request", "account"),
        ]

    def _find(self, bucket: str) -> Policy:
        if bucket not in self._project.buckets:
            raise ApiError(404, "The specified bucket does not exist.")
        return self._project.buckets[bucket]

    def get(self, request: Request, bucket: str) -> Answer:
        """Return a policy, in the version that is asked for."""
        version = int(request.query.get("optionsRequestedPolicyVersion", 1))
        kind = {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}"}
        return Answer.of(kind | self._find(bucket).read(version))

    def replace(self, request: Request, bucket: str) -> Answer:
        """Replace a policy."""
        return Answer.of(self._find(bucket).write(request.json(), self._project.iam.knows))

    def ask(self, request: Request, account: str, bucket: str) -> Answer:
        """Say which of some permissions the caller has."""
        policy = self._find(bucket)
        asked = parse_qs(urlsplit(request.target).query).get("permissions", [])
        held = [each for each in asked if self._project.permits(account, each, policy)]
        kind = {"kind": "storage#testIamPermissionsResponse"}
        return Answer.of(kind | ({"permissions": held} if held else {}))
