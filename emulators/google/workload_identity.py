"""IAM: workload identity pools, and the providers in them.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools
(resources, paths, 30 days of deletion) and
https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers (issuer,
mapping, condition, limits). The recorded calls of gcloud 528 gave the words of refusals.
"""

import json
import time
from itertools import pairwise
from typing import Any

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .iam import Resource
from .project import Project

PATH = "/v1/projects/[^/:]+/locations/global/workloadIdentityPools"
POOL = f"{PATH}/(?P<pool>[^/:]+)"
PROVIDER = f"{POOL}/providers/(?P<provider>[^/:]+)"
POOLS = "iam.workloadIdentityPools"
PROVIDERS = "iam.workloadIdentityPoolProviders"
OUTPUT_ONLY = ("name", "state", "expireTime", "ready")


class WorkloadIdentity:
    """Creates, changes, deletes and undeletes the pools and providers of one project."""

    def __init__(self, project: Project):
        self._project = project
        self._pools = project.iam.pools
        self._providers = project.iam.providers
        self._ready: dict[str, float] = {}  # when a new pool can have providers

    def routes(self) -> list[Route]:
        """Return the methods of pools and providers."""
        return [
            route("POST", PATH, f"{POOLS}.create", self.create_pool, "request"),
            route("GET", PATH, f"{POOLS}.list", self.list_pools, "request"),
            route("GET", POOL, f"{POOLS}.get", self.get_pool),
            route("PATCH", POOL, f"{POOLS}.update", self.patch_pool, "request"),
            route("DELETE", POOL, f"{POOLS}.delete", self.delete_pool),
            route("POST", f"{POOL}:undelete", f"{POOLS}.undelete", self.undelete_pool),
            route(
                "POST", f"{POOL}/providers", f"{PROVIDERS}.create", self.create_provider, "request"
            ),
            route("GET", f"{POOL}/providers", f"{PROVIDERS}.list", self.list_providers, "request"),
            route("GET", PROVIDER, f"{PROVIDERS}.get", self.get_provider),
            route("PATCH", PROVIDER, f"{PROVIDERS}.update", self.patch_provider, "request"),
            route("DELETE", PROVIDER, f"{PROVIDERS}.delete", self.delete_provider),
            route("POST", f"{PROVIDER}:undelete", f"{PROVIDERS}.undelete", self.undelete_provider),
        ]

    def _operate(self, resource: Resource) -> Answer:
        return self._project.operations.begin(f"{resource['name']}/operations/", resource)

    # Pools

    def create_pool(self, request: Request) -> Answer:
        """Make a pool, which can have providers once its operation has ended."""
        pool = request.query["workloadIdentityPoolId"]
        if pool in self._pools:
            raise _exists()
        name = f"projects/{self._project.number}/locations/global/workloadIdentityPools/{pool}"
        self._pools[pool] = _resource(request.json(), name)
        self._ready[pool] = time.monotonic() + self._project.operations.latency
        return self._operate(self._pools[pool])

    def get_pool(self, pool: str) -> Answer:
        """Return a pool, also a deleted one."""
        return Answer.of(_found(self._pools, pool))

    def list_pools(self, request: Request) -> Answer:
        """List the pools."""
        return Answer.of({"workloadIdentityPools": _seen(request, list(self._pools.values()))})

    def patch_pool(self, request: Request, pool: str) -> Answer:
        """Change a pool."""
        found = _found(self._pools, pool, active=True)
        _patch(found, request)
        return self._operate(found)

    def delete_pool(self, pool: str) -> Answer:
        """Delete a pool; its name stays taken."""
        found = _found(self._pools, pool, active=True)
        _delete(found)
        return self._operate(found)

    def undelete_pool(self, pool: str) -> Answer:
        """Bring a pool back."""
        found = _found(self._pools, pool)
        _undelete(found)
        return self._operate(found)

    # Providers

    def create_provider(self, request: Request, pool: str) -> Answer:
        """Make a provider."""
        if time.monotonic() < self._ready.get(pool, 0):
            raise ApiError(404, "Requested entity was not found.")
        parent = _found(self._pools, pool, active=True)
        provider = request.query["workloadIdentityPoolProviderId"]
        if (pool, provider) in self._providers:
            raise _exists()
        resource = _resource(request.json(), f"{parent['name']}/providers/{provider}")
        _check(resource)
        self._providers[pool, provider] = resource
        return self._operate(resource)

    def get_provider(self, pool: str, provider: str) -> Answer:
        """Return a provider, also a deleted one."""
        return Answer.of(_found(self._providers, (pool, provider)))

    def list_providers(self, request: Request, pool: str) -> Answer:
        """List the providers of a pool."""
        rows = [value for (where, _), value in self._providers.items() if where == pool]
        return Answer.of({"workloadIdentityPoolProviders": _seen(request, rows)})

    def patch_provider(self, request: Request, pool: str, provider: str) -> Answer:
        """Change a provider, unless the outcome could not be."""
        found = _found(self._providers, (pool, provider), active=True)
        patched = json.loads(json.dumps(found))
        _patch(patched, request)
        _check(patched)
        found.clear()
        found.update(patched)
        return self._operate(found)

    def delete_provider(self, pool: str, provider: str) -> Answer:
        """Delete a provider; its name stays taken."""
        found = _found(self._providers, (pool, provider), active=True)
        _delete(found)
        return self._operate(found)

    def undelete_provider(self, pool: str, provider: str) -> Answer:
        """Bring a provider back."""
        found = _found(self._providers, (pool, provider))
        _undelete(found)
        return self._operate(found)


def _check(provider: Resource) -> None:
    """Refuse what the reference of the provider's resource says cannot be."""
    oidc = provider.get("oidc", {})
    local = "127.0.0.1" in oidc.get("issuerUri", "")  # a GitLab emulator has no certificate
    if not oidc.get("issuerUri", "").startswith("https://") and not local:
        raise ApiError(400, "The issuer URI must use HTTPS.")
    if "google.subject" not in provider.get("attributeMapping", {}):
        raise ApiError(400, "google.subject must be mapped.")
    if len(provider.get("attributeCondition", "")) > 4096:
        raise ApiError(400, "The attribute condition is longer than 4096 characters.")
    public = "https://gitlab.com"
    if oidc["issuerUri"] == public and "assertion." not in provider.get("attributeCondition", ""):
        raise ApiError(400, "The attribute condition must reference one of the provider's claims.")


def _resource(body: Resource, name: str) -> Resource:
    kept = {k: v for k, v in body.items() if k not in OUTPUT_ONLY and v not in (False, "")}
    return kept | {"name": name, "state": "ACTIVE"}


def _patch(resource: Resource, request: Request) -> None:
    body = request.json()
    for path in request.query.get("updateMask", ",".join(body)).split(","):
        name = path.split(".")[0]
        head = name[0] + "".join(
            c.upper() if p == "_" else c for p, c in pairwise(name) if c != "_"
        )
        if head in OUTPUT_ONLY:
            continue
        if body.get(head) in (None, False, ""):
            resource.pop(head, None)
        elif "." in path:
            resource[head] = resource.get(head, {}) | body[head]
        else:
            resource[head] = body[head]


def _found(store: dict[Any, Resource], key: Any, *, active: bool = False) -> Resource:
    found = store.get(key)
    if found is None or (active and found["state"] != "ACTIVE"):
        raise ApiError(404, "Requested entity was not found.")
    return found


def _delete(resource: Resource) -> None:
    in_a_month = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86400))
    resource.update(state="DELETED", expireTime=in_a_month)


def _undelete(resource: Resource) -> None:
    if resource["state"] != "DELETED":
        raise ApiError(400, "Requested entity is not deleted.")
    resource["state"] = "ACTIVE"
    resource.pop("expireTime", None)


def _seen(request: Request, rows: list[Resource]) -> list[Resource]:
    deleted = request.query.get("showDeleted", "false").lower() == "true"
    return [row for row in rows if deleted or row["state"] == "ACTIVE"]


def _exists() -> ApiError:
    return ApiError(409, "Requested entity already exists", status="ALREADY_EXISTS")
