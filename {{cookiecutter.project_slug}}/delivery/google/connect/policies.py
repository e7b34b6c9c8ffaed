"""IAM policies: who has which role on what, and how that is read and written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from delivery.backoff import pauses
from delivery.google.connect.cloud import BAD, CHANGED, CONFLICT, LATE, Cloud, absent
from delivery.google.rest import ApiError


@dataclass(frozen=True, order=True)
class Grant:
    """A role for a member, without a condition."""

    role: str
    member: str


def account(email: str) -> str:
    """Return a service account as a member."""
    return f"serviceAccount:{email}"


@dataclass(frozen=True)
class Policy:
    """Where the policy of a project, an account, a bucket or anything else is."""

    service: str
    path: str
    command: str  # gcloud's, that adds to it, without member and role

    @property
    def _in_storage(self) -> bool:
        return self.service == "storage"

    def read(self, cloud: Cloud) -> dict[str, Any]:
        """Read it in version 3, which has the conditions that others have set; raise ApiError."""
        if self._in_storage:
            query = {"optionsRequestedPolicyVersion": "3"}
            return dict(cloud.request("GET", "storage", f"{self.path}/iam", query=query))
        if self.service == "cloudresourcemanager":
            more: dict[str, Any] = {"body": {"options": {"requestedPolicyVersion": 3}}}
        else:
            more = {"query": {"options.requestedPolicyVersion": "3"}}
        # Of the newer APIs it is a GET: https://cloud.google.com/apis/docs/overview
        method = "POST" if self.service in {"cloudresourcemanager", "iam"} else "GET"
        return dict(cloud.request(method, self.service, f"{self.path}:getIamPolicy", **more))

    def find(self, cloud: Cloud) -> dict[str, Any]:
        """Read it; what is not there yet grants nothing."""
        try:
            return self.read(cloud)
        except ApiError as error:
            if absent(error):
                return {}
            raise

    def edit(self, cloud: Cloud, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Read it, change it, write it; from the start when somebody else was quicker."""
        start = cloud.clock()
        for pause in pauses(0.5, longest=10):
            now = self.read(cloud)
            wanted = change(now)
            if wanted == now:
                return
            try:
                self._write(cloud, wanted)
            except ApiError as error:
                late = error.status == BAD and "does not exist" in error.message
                # A bucket's policy that has changed can be a 412, another one's is a 409.
                passing = late or error.transient or error.status == CHANGED
                if not passing or cloud.clock() + pause - start > LATE:
                    raise
                what = "an account is not known everywhere yet" if late else error.what
                cloud.console.waiting(what, cloud.clock() - start)
            else:
                return
            cloud.sleep(pause)

    def _write(self, cloud: Cloud, policy: dict[str, Any]) -> None:
        """Write it, if it still is what was read: its etag goes along."""
        method, path, body = "POST", f"{self.path}:setIamPolicy", {"policy": policy}
        if self._in_storage:
            method, path, body = "PUT", f"{self.path}/iam", policy
        cloud.request(method, self.service, path, body=body, final={CONFLICT})

    def held(self, cloud: Cloud, permissions: Sequence[str]) -> set[str]:
        """Return which of these permissions the caller has there; raise ApiError."""
        asked = {"permissions": list(permissions)}
        if self._in_storage:
            method, path, form = "GET", f"{self.path}/iam/testPermissions", "query"
        else:
            method, path, form = "POST", f"{self.path}:testIamPermissions", "body"
        answer = cloud.request(method, self.service, path, **{form: asked})
        return set(answer.get("permissions", []))


def of_project(project: str) -> Policy:
    """Return where a project's policy is."""
    path = f"v1/projects/{quote(project, safe='')}"  # example.com:project, before :getIamPolicy
    command = f"gcloud projects add-iam-policy-binding {project} --condition=None"
    return Policy("cloudresourcemanager", path, command)


def of_account(project: str, email: str) -> Policy:
    """Return where a service account's policy is: who may be it."""
    command = f"gcloud iam service-accounts add-iam-policy-binding {email} --project={project}"
    return Policy("iam", f"v1/projects/{project}/serviceAccounts/{email}", command)


def of_bucket(bucket: str) -> Policy:
    """Return where a bucket's policy is."""
    return Policy(
        "storage", f"b/{bucket}", f"gcloud storage buckets add-iam-policy-binding gs://{bucket}"
    )


def of_repository(project: str, region: str, name: str) -> Policy:
    """Return where the policy of a repository of images is."""
    command = f"gcloud artifacts repositories add-iam-policy-binding {name} --location={region}"
    path = f"v1/projects/{project}/locations/{region}/repositories/{name}"
    return Policy("artifactregistry", path, f"{command} --project={project}")


def lacking(policy: Mapping[str, Any], grants: Sequence[Grant]) -> list[Grant]:
    """Return the grants that a policy lacks; one that is tied to a condition does not count."""
    there = {
        Grant(binding["role"], member)
        for binding in policy.get("bindings", [])
        if not binding.get("condition")
        for member in binding.get("members", [])
    }
    return [grant for grant in grants if grant not in there]


def with_grants(policy: dict[str, Any], grants: Sequence[Grant]) -> dict[str, Any]:
    """Return the policy with these grants; all else in it, conditions and etag too, as it was.

    What a deleted account of the same name has left is cleared: setIamPolicy refuses it.
    """
    missing = lacking(policy, grants)
    ghosts = tuple(f"deleted:{grant.member}?uid=" for grant in grants)
    bindings = _without(policy, lambda _, member: member.startswith(ghosts))
    for grant in missing:
        for binding in bindings:
            if binding["role"] == grant.role and not binding.get("condition"):
                binding["members"].append(grant.member)
                break
        else:
            bindings.append({"role": grant.role, "members": [grant.member]})
    return {**policy, "version": 3, "bindings": bindings} if missing else policy


def without_grants(policy: dict[str, Any], grants: Sequence[Grant]) -> dict[str, Any]:
    """Return the policy without these grants."""

    def gone(binding: Mapping[str, Any], member: str) -> bool:
        return not binding.get("condition") and Grant(binding["role"], member) in grants

    there = len(lacking(policy, grants)) < len(grants)
    return {**policy, "version": 3, "bindings": _without(policy, gone)} if there else policy


def _without(
    policy: Mapping[str, Any], gone: Callable[[Mapping[str, Any], str], bool]
) -> list[dict[str, Any]]:
    """Copy the bindings, except for some members; one that is left without any goes, too."""
    copies = [
        {**binding, "members": [m for m in binding.get("members", []) if not gone(binding, m)]}
        for binding in policy.get("bindings", [])
    ]
    return [binding for binding in copies if binding["members"]]
