"""The App Engine Admin API v1: the application, its services and versions.

Modelled after:

- https://cloud.google.com/appengine/docs/admin-api/reference/rest and the discovery document:
  resources, methods, pages, `view`, and the rules of a traffic split. A service has no etag;
- googlecloudsdk.api_lib.app.appengine_api_client for what gcloud sends and reads;
- https://cloud.google.com/appengine/docs/standard/reference/app-yaml for reserved version ids.

docs/reality.md has what no source tells: the words of most refusals, for one.
"""

import re
import threading
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from .builder import RUNTIMES
from .frontend import Service, Version
from .operations import Operations, page
from .wire import Answer, ApiError, Request

VERSION_ID = re.compile(r"[a-z\d]([a-z\d-]{0,61}[a-z\d])?")
RESERVED_IDS = re.compile(r"default|latest|ah-.*")
TYPE = "type.googleapis.com/google.appengine.v1"
REGION = "europe-west"
SHARD_DIGITS = {"UNSPECIFIED": 3, "COOKIE": 3, "IP": 2, "RANDOM": 3}
BASIC_VIEW_OMITS = ("handlers", "envVariables", "deployment", "entrypoint", "errorHandlers")


class Host(Protocol):
    """What the Admin API needs from the machine room: files, processes, addresses."""

    hostname: str

    def start(self, service: str, resource: dict[str, Any], created_by: str) -> Version:
        """Build a version and give it an address; BuildError when it cannot be built."""

    def end(self, version: Version) -> None:
        """Close its address and end its processes."""


class Admin:
    """The state of one project's application, changed only through API calls."""

    def __init__(
        self, project: str, host: Host, *, buckets: tuple[str, str], created: bool, latency: float
    ):
        self.project = project
        self.services: dict[str, Service] = {}
        self.region = REGION if created else ""  # where the application is, if there is one
        self._host = host
        self._code_bucket, self._default_bucket = buckets
        self._operations = Operations(project, latency)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Wait for operations that still run, then end every version."""
        self.settle()
        for service in self.services.values():
            for version in service.versions.values():
                self._host.end(version)

    def settle(self) -> None:
        """Wait for operations that still run."""
        self._operations.join()

    @property
    def latency(self) -> float:
        """Seconds until an operation has ended; 0 answers with ended ones."""
        return self._operations.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._operations.latency = seconds

    # The application

    def get_app(self, project: str) -> Answer:
        self._check(project)
        return Answer.of(
            {
                "name": f"apps/{project}",
                "id": project,
                "locationId": self.region,
                "codeBucket": self._code_bucket,
                "defaultBucket": self._default_bucket,
                "defaultHostname": self._host.hostname,
                "gcrDomain": "eu.gcr.io",
                "servingStatus": "SERVING",
                "serviceAccount": f"{project}@appspot.gserviceaccount.com",
                "featureSettings": {"splitHealthChecks": True, "useContainerOptimizedOs": True},
            }
        )

    def create_app(self, request: Request, account: str) -> Answer:
        if request.json().get("id") != self.project:
            raise ApiError(403, "The caller does not have permission")
        if self.region:
            raise ApiError(409, f"This application already exists: apps/{self.project}")

        def create() -> dict[str, Any]:
            self.region = request.json().get("locationId") or REGION
            return {"@type": f"{TYPE}.Application", "id": self.project}

        name = f"apps/{self.project}"
        return self._operations.start(name, "Applications.CreateApplication", create, account)

    # Services

    def list_services(self, request: Request, project: str) -> Answer:
        self._check(project)
        with self._lock:
            found = [self._service(service) for service in self.services.values()]
        return Answer.of(page(request, "services", found))

    def get_service(self, project: str, service: str) -> Answer:
        self._check(project)
        return Answer.of(self._service(self._find(service)))

    def set_split(self, request: Request, account: str, project: str, service: str) -> Answer:
        self._check(project)
        found = self._find(service)
        if request.query.get("updateMask") != "split":
            raise ApiError(501, "Only updateMask=split is modelled.")
        if request.query.get("migrateTraffic", "false").lower() != "false":
            raise ApiError(501, "migrateTraffic=true is not modelled.")
        allocations, shard_by = _split(request.json())
        for name in allocations:
            if name not in found.versions:
                raise ApiError(404, f"Version '{service}:{name}' not found.")

        def move() -> dict[str, Any]:
            with self._lock:
                if gone := allocations.keys() - found.versions.keys():
                    raise ApiError(404, f"Version '{service}:{min(gone)}' not found.")
                found.move(allocations, shard_by)
                return {"@type": f"{TYPE}.Service", **self._service(found)}

        name = f"apps/{project}/services/{service}"
        return self._operations.start(name, "Services.UpdateService", move, account)

    def delete_service(self, account: str, project: str, service: str) -> Answer:
        self._check(project)
        found = self._find(service)
        if service == "default":
            raise ApiError(400, "The default service (module) may not be deleted.")

        def delete() -> dict[str, Any]:
            with self._lock:
                del self.services[service]
            for version in found.versions.values():
                self._host.end(version)
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}

        name = f"apps/{project}/services/{service}"
        return self._operations.start(name, "Services.DeleteService", delete, account)

    # Versions

    def list_versions(self, request: Request, project: str, service: str) -> Answer:
        self._check(project)
        with self._lock:
            found = [v.resource for v in self._find(service).versions.values()]
        seen = [_seen(request, resource) for resource in found]
        return Answer.of(page(request, "versions", seen))

    def get_version(self, request: Request, project: str, service: str, version: str) -> Answer:
        self._check(project)
        return Answer.of(_seen(request, self._find_version(service, version).resource))

    def create_version(self, request: Request, project: str, service: str, account: str) -> Answer:
        self._check(project)
        resource = request.json()
        self._validate(service, resource)
        name = f"apps/{project}/services/{service}/versions/{resource['id']}"

        def create() -> dict[str, Any]:
            return {"@type": f"{TYPE}.Version", **self.install(service, resource, account).resource}

        return self._operations.start(name, "Versions.CreateVersion", create, account)

    def install(self, service: str, resource: dict[str, Any], account: str) -> Version:
        """Build a version and put it among the service's; one of the same name is replaced."""
        built = self._host.start(service, resource, account)
        with self._lock:
            home = self.services.setdefault(service, Service(service))
            replaced = home.versions.get(built.id)
            home.versions[built.id] = built
            if not home.allocations:
                # The first version serves, whatever --no-promote said.
                home.allocations = {built.id: 1.0}
        if replaced is not None:
            self._host.end(replaced)
        return built

    def reset(self, allocations: Mapping[str, float], keep: Collection[str]) -> None:
        """Set the default service's traffic, and remove all versions but those in `keep`."""
        service = self._find("default")
        with self._lock:
            service.allocations, service.shard_by = dict(allocations), "UNSPECIFIED"
            gone = [service.versions.pop(name) for name in service.versions.keys() - set(keep)]
        for version in gone:
            self._host.end(version)

    def update_version(self, project: str, service: str, version: str) -> Answer:
        self._check(project)
        self._find_version(service, version)
        raise ApiError(400, "Cannot stop or start a version that uses automatic scaling.")

    def delete_version(self, account: str, project: str, service: str, version: str) -> Answer:
        self._check(project)
        found = self._find_version(service, version)
        home = self._find(service)
        self._check_deletable(home, version)

        def delete() -> dict[str, Any]:
            with self._lock:
                self._check_deletable(home, version)  # traffic may have moved since
                del home.versions[version]
            self._host.end(found)
            return {"@type": "type.googleapis.com/google.protobuf.Empty"}

        name = f"apps/{project}/services/{service}/versions/{version}"
        return self._operations.start(name, "Versions.DeleteVersion", delete, account)

    # Operations

    def get_operation(self, project: str, operation: str) -> Answer:
        self._check_name(project)  # the application may be what it creates
        return self._operations.get(operation)

    def list_operations(self, request: Request, project: str) -> Answer:
        self._check(project)
        return self._operations.list(request)

    # Rules

    def _check_name(self, project: str) -> None:
        if project != self.project:
            raise ApiError(403, "The caller does not have permission")

    def _check(self, project: str) -> None:
        self._check_name(project)
        if not self.region:
            raise ApiError(404, f'Could not find Application "{project}".')

    def _validate(self, service: str, resource: Mapping[str, Any]) -> None:
        identity = str(resource.get("id", ""))
        if VERSION_ID.fullmatch(identity) is None or RESERVED_IDS.fullmatch(identity):
            raise ApiError(400, f"Invalid or reserved version id: '{identity}'.")
        if service != "default" and "default" not in self.services:
            raise ApiError(
                400,
                "The first service (module) you upload to a new application must be the 'default' "
                "service (module). Please upload a version of the 'default' service (module) "
                f"before uploading a version for the '{service}' service (module).",
            )
        if (runtime := resource.get("runtime")) not in RUNTIMES:
            raise ApiError(400, f"Error(s) encountered validating runtime. Unknown: {runtime}.")
        if not resource.get("deployment", {}).get("files"):
            raise ApiError(400, "The deployment has no files.")

    def _check_deletable(self, service: Service, version: str) -> None:
        if version in service.allocations:
            raise ApiError(
                400,
                f"Unable to delete version '{version}' of service '{service.id}': it is currently "
                "receiving traffic.",
            )
        if len(service.versions) == 1:
            raise ApiError(400, "Cannot delete the last version of a service (module).")

    def _find(self, service: str) -> Service:
        with self._lock:
            if found := self.services.get(service):
                return found
        raise ApiError(404, f"Service '{service}' not found.")

    def _find_version(self, service: str, version: str) -> Version:
        if found := self._find(service).versions.get(version):
            return found
        raise ApiError(404, f"Version '{service}:{version}' not found.")

    def _service(self, service: Service) -> dict[str, Any]:
        return {
            "name": f"apps/{self.project}/services/{service.id}",
            "id": service.id,
            "split": {"allocations": service.allocations, "shardBy": service.shard_by},
        }


def _split(service: dict[str, Any]) -> tuple[dict[str, float], str]:
    """Return the shares by version, and by what visitors are told apart; 400 for a wrong split."""
    split = service.get("split") or {}
    shard_by = str(split.get("shardBy", "UNSPECIFIED"))
    if shard_by not in SHARD_DIGITS:
        raise ApiError(400, f"Invalid value at 'service.split.shard_by': {shard_by}")
    try:
        allocations = {str(name): float(share) for name, share in split["allocations"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ApiError(400, "Invalid value at 'service.split.allocations'.") from error
    if not allocations or min(allocations.values()) <= 0:
        raise ApiError(400, "Traffic allocations must be in the range (0.000, 1].")
    digits = SHARD_DIGITS[shard_by]
    if any(abs(share - round(share, digits)) > 1e-9 for share in allocations.values()):
        raise ApiError(400, f"Allocations by {shard_by} have at most {digits} decimal places.")
    if abs(sum(allocations.values()) - 1) > 1e-6:
        raise ApiError(400, "Traffic allocations must sum to 1.")
    return allocations, shard_by


def _seen(request: Request, version: dict[str, Any]) -> dict[str, Any]:
    """Return a version as `view` shows it: BASIC, the default, has nothing of the deployment."""
    view = request.query.get("view", "BASIC")
    if view not in ("BASIC", "FULL"):
        raise ApiError(400, f"Invalid value at 'view': {view}")
    omitted = BASIC_VIEW_OMITS if view == "BASIC" else ()
    return {name: value for name, value in version.items() if name not in omitted}
