"""Buckets that requests make, which those of an App Engine application are not.

Sources: https://cloud.google.com/storage/docs/json_api/v1/buckets (`insert`, `get`, `patch`,
`delete`) with the permissions of https://cloud.google.com/storage/docs/access-control/iam-json, and
gcloud 528's `storage buckets create`.
"""

from typing import Any

from emulators.appengine.googleapi import BUCKET, Route, route
from emulators.appengine.storage import Storage, StorageError
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy
from .project import Project

SETTABLE = ("location", "iamConfiguration", "labels")
MINE = "Your previous request to create the named bucket succeeded and you already own it."


class Buckets:
    """A project's buckets; their objects and policies are where those of App Engine's are."""

    def __init__(self, project: Project, storage: Storage):
        self.made: dict[str, dict[str, Any]] = {}
        self._project = project
        self._storage = storage

    def routes(self) -> list[Route]:
        """Return its methods."""
        return [
            route("POST", "/storage/v1/b", "storage.buckets.create", self.create, "request"),
            route("GET", BUCKET, "storage.buckets.get", self.get),
            route("PATCH", BUCKET, "storage.buckets.update", self.patch, "request"),
            route("DELETE", BUCKET, "storage.buckets.delete", self.delete),
        ]

    def state(self) -> dict[str, Any]:
        """Return what was chosen about each."""
        return {
            name: {key: value for key, value in bucket.items() if key in SETTABLE}
            for name, bucket in self.made.items()
        }

    def _find(self, bucket: str) -> dict[str, Any]:
        if bucket not in self.made:
            raise ApiError(501, f"To change the bucket {bucket} is not modelled.")
        return self.made[bucket]

    def create(self, request: Request) -> Answer:
        """Make a bucket."""
        body = request.json()
        name = body["name"]
        if name in self.made:
            raise StorageError(409, MINE)
        about = {"kind": "storage#bucket", "id": name, "projectNumber": self._project.number}
        self.made[name] = about | {"metageneration": "1"} | body
        self._project.buckets[name] = Policy()
        self._storage.empty(name)
        return Answer.of(self.made[name])

    def get(self, bucket: str) -> Answer:
        """Return a bucket, App Engine's own too."""
        made = self.made.get(bucket)
        return Answer.of(made) if made else self._storage.get_bucket(bucket)

    def patch(self, request: Request, bucket: str) -> Answer:
        """Change a bucket."""
        self._find(bucket).update(request.json())
        return Answer.of(self.made[bucket])

    def delete(self, bucket: str) -> Answer:
        """Delete a bucket that is empty."""
        self._find(bucket)
        if self._storage.contents(bucket):
            raise StorageError(409, "The bucket you tried to delete is not empty.")
        del self.made[bucket], self._project.buckets[bucket], self._storage.buckets[bucket]
        return Answer(204)
