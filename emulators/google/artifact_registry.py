"""Artifact Registry: repositories, without the images in them.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories
"""

from typing import Any

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy
from .policy_routes import policy_routes
from .project import Project

PATH = "/v1/projects/[^/:]+/locations/(?P<place>[^/]+)/repositories"
REPOSITORY = f"{PATH}/(?P<repository>[^/:]+)"
KIND = "artifactregistry.repositories"


class ArtifactRegistry:
    """Creates and changes the repositories of one project."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its methods."""
        packages = "artifactregistry.packages.list"
        return [
            route("POST", PATH, f"{KIND}.create", self.create, "request"),
            route("GET", REPOSITORY, f"{KIND}.get", self.get),
            route("PATCH", REPOSITORY, f"{KIND}.update", self.patch, "request"),
            route("DELETE", REPOSITORY, f"{KIND}.delete", self.delete),
            route("GET", f"{REPOSITORY}/packages", packages, self.list_packages),
            *policy_routes(self._project, REPOSITORY, KIND, self._policy, look="GET"),
        ]

    def _find(self, repository: str) -> dict[str, Any]:
        if repository not in self._project.repositories:
            raise ApiError(404, "Requested entity was not found.")
        return self._project.repositories[repository]

    def _policy(self, repository: str, **_: str) -> Policy:
        self._find(repository)
        return self._project.repository_policies.setdefault(repository, Policy())

    def create(self, request: Request, place: str) -> Answer:
        """Make a repository."""
        name = request.query["repositoryId"]
        if name in self._project.repositories:
            raise ApiError(409, "the repository already exists", status="ALREADY_EXISTS")
        path = f"projects/{self._project.project}/locations/{place}"
        new = _as_returned(request.json()) | {"name": f"{path}/repositories/{name}"}
        self._project.repositories[name] = new
        return self._project.operations.begin(f"{path}/operations/", new)

    def get(self, repository: str, **_: str) -> Answer:
        """Return a repository."""
        return Answer.of(self._find(repository))

    def patch(self, request: Request, repository: str, **_: str) -> Answer:
        """Change a repository."""
        self._find(repository).update(_as_returned(request.json()))
        return Answer.of(self._find(repository))

    def delete(self, repository: str, place: str) -> Answer:
        """Delete a repository."""
        self._find(repository)
        del self._project.repositories[repository]
        self._project.repository_policies.pop(repository, None)
        path = f"projects/{self._project.project}/locations/{place}"
        return self._project.operations.begin(f"{path}/operations/", {})

    def list_packages(self, repository: str, **_: str) -> Answer:
        """List nothing: here no image is ever pushed."""
        self._find(repository)
        return Answer.of({})


def _as_returned(sent: dict[str, Any]) -> dict[str, Any]:
    """Write durations as Google does: gcloud sends 2592000.0s.

    https://protobuf.dev/programming-guides/json/ (Duration)
    """
    for policy in sent.get("cleanupPolicies", {}).values():
        condition = policy.get("condition") or {}
        if "olderThan" in condition:
            condition["olderThan"] = f"{float(condition['olderThan'].removesuffix('s')):.0f}s"
    return sent
