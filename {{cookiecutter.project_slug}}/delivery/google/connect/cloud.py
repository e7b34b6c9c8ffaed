"""Google's APIs as connect needs them: things that may be absent, operations, policies, delays."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from delivery.backoff import pauses
from delivery.console import Console
from delivery.errors import CommandError
from delivery.google.connect import bindings
from delivery.google.connect.bindings import Grant
from delivery.google.rest import ApiError, Rest

BAD, FORBIDDEN, NOT_FOUND, CONFLICT, CHANGED = 400, 403, 404, 409, 412
PATIENCE = 300.0  # seconds; App Engine takes a minute or two to create an application
LATE = 180.0  # seconds until what was just made, or switched on, is known everywhere


@dataclass(frozen=True)
class Policy:
    """Where an IAM policy is read and written; a bucket's has a form of its own."""

    service: str
    path: str
    options: bool = False  # as gcloud does, the project's version is asked for in the body

    def read(self, cloud: "Cloud") -> dict[str, Any]:
        """Read it in version 3, which has the conditions that others have set."""
        if self.service == "storage":
            query = {"optionsRequestedPolicyVersion": "3"}
            return dict(cloud.request("GET", "storage", f"{self.path}/iam", query=query))
        version = {"options": {"requestedPolicyVersion": 3}}
        return dict(
            cloud.request("POST", self.service, f"{self.path}:getIamPolicy", body=version)
            if self.options
            else cloud.request(
                "POST",
                self.service,
                f"{self.path}:getIamPolicy",
                query={"options.requestedPolicyVersion": "3"},
            )
        )

    def command(self, project: str) -> str:
        """Return gcloud's command that adds to it, without member and role."""
        name = self.path.rpartition("/")[2]
        if self.service == "storage":
            return f"gcloud storage buckets add-iam-policy-binding gs://{name}"
        if self.options:
            return f"gcloud projects add-iam-policy-binding {project} --condition=None"
        return f"gcloud iam service-accounts add-iam-policy-binding {name} --project={project}"

    def write(self, cloud: "Cloud", policy: Mapping[str, Any]) -> None:
        """Write it, if it still is what was read: its etag goes along. Raise ApiError 409."""
        method, path, body = "POST", f"{self.path}:setIamPolicy", {"policy": policy}
        if self.service == "storage":
            method, path, body = "PUT", f"{self.path}/iam", dict(policy)
        cloud.request(method, self.service, path, body=body, final={CONFLICT})


def project_policy(project: str) -> Policy:
    """Return where a project's policy is."""
    return Policy("cloudresourcemanager", f"v1/projects/{quote(project, safe='')}", options=True)


def account_policy(project: str, account: str) -> Policy:
    """Return where a service account's policy is: who may be it."""
    return Policy("iam", f"v1/projects/{quote(project, safe='')}/serviceAccounts/{account}")


def bucket_policy(bucket: str) -> Policy:
    """Return where a bucket's policy is."""
    return Policy("storage", f"b/{bucket}")


@dataclass
class Cloud:
    """The client of one run. `patient` once something was made: it may not be known at once."""

    api: Rest
    console: Console
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patient: bool = False
    changes: int = 0  # requests that may have changed something
    headers: dict[str, str] = field(default_factory=dict)

    def request(self, method: str, service: str, path: str, **request: Any) -> Any:
        """Send a request and return its answer, parsed; raise ApiError.

        An API that was just switched on answers SERVICE_DISABLED for a while.
        """
        looks = method == "GET" or path.endswith(("getIamPolicy", "testIamPermissions"))
        self.changes += not looks
        return self.later(
            lambda: self.api.request(method, service, path, **request).json,
            lambda error: error.reason == "SERVICE_DISABLED",
            f"{service}.googleapis.com was switched on a moment ago",
        )

    def find(self, service: str, path: str, **request: Any) -> dict[str, Any] | None:
        """Return a resource, or None where there is none, or its API is not switched on."""
        try:
            return dict(self.request("GET", service, path, **request))
        except ApiError as error:
            if error.status == NOT_FOUND or error.reason == "SERVICE_DISABLED":
                return None
            raise

    def pages(self, service: str, path: str, name: str, **query: str) -> list[Any]:
        """Return a list, however many pages it has; an API that is switched off has nothing."""
        found: list[Any] = []
        while True:
            answer = self.find(service, path, query=query) or {}
            found += answer.get(name, [])
            if not answer.get("nextPageToken"):
                return found
            query["pageToken"] = answer["nextPageToken"]

    def change(self, method: str, service: str, path: str, doing: str, **request: Any) -> None:
        """Send a change and wait for what it began; that it is made, or gone, is no error."""
        settled = {"POST": CONFLICT, "DELETE": NOT_FOUND}.get(method)
        try:
            answer = self.request(method, service, path, final={settled}, **request)
        except ApiError as error:
            if error.status != settled:
                raise
            return
        if answer.get("name", "").find("operations/") >= 0:
            self._finish(service, answer, doing)

    def edit(self, policy: Policy, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Read a policy, change it, write it; from the start when somebody else was quicker."""
        start = self.clock()
        for pause in pauses(0.5, longest=10):
            now = policy.read(self)
            wanted = change(now)
            if wanted == now:
                return
            try:
                policy.write(self, wanted)
            except ApiError as error:
                late = error.status == BAD and "does not exist" in error.message
                # A bucket's policy that has changed can be a 412, another one's is a 409.
                passing = late or error.transient or error.status == CHANGED
                if not passing or self.clock() + pause - start > LATE:
                    raise
                self.console.waiting("an account is not known everywhere yet", self.clock() - start)
            else:
                return
            self.sleep(pause)

    def grant(self, policy: Policy, grants: Sequence[Grant]) -> None:
        """Add what is lacking to a policy."""
        self.edit(policy, lambda now: bindings.with_grants(now, grants))

    def revoke(self, policy: Policy, grants: Sequence[Grant]) -> None:
        """Take away what is there of a policy; one whose resource is gone has nothing."""
        try:
            self.edit(policy, lambda now: bindings.without_grants(now, grants))
        except ApiError as error:
            if error.status != NOT_FOUND and error.reason != "SERVICE_DISABLED":
                raise

    def later(
        self, attempt: Callable[[], Any], is_late: Callable[[ApiError], bool], waiting_for: str
    ) -> Any:
        """Try until what was made a moment ago is known; at once, if nothing was made."""
        start = self.clock()
        waits = pauses(1, longest=10)
        while True:
            try:
                return attempt()
            except ApiError as error:
                if not (self.patient and is_late(error)) or self.clock() - start > LATE:
                    raise
            self.console.waiting(waiting_for, self.clock() - start)
            self.sleep(next(waits))

    def _finish(self, service: str, operation: dict[str, Any], doing: str) -> None:
        start = self.clock()
        waits = pauses(0.2, longest=5)
        while not operation.get("done"):
            if self.clock() - start > PATIENCE:
                raise CommandError(f"{doing}: still under way after {PATIENCE:.0f} s")
            self.console.waiting(doing, self.clock() - start)
            self.sleep(next(waits))
            operation = self.request("GET", service, f"v1/{operation['name']}")
        if failure := operation.get("error"):
            raise CommandError(doing, why=str(failure.get("message", "it failed")))
