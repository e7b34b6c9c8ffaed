"""Resources that say who may do what: IAM policies, and the way in for GitLab's jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from delivery.errors import CommandError
from delivery.google.connect import bindings
from delivery.google.connect.bindings import Grant
from delivery.google.connect.cloud import FORBIDDEN, Policy
from delivery.google.connect.resource import MISSING, THERE, Look, Resource, State, numbers
from delivery.google.connect.wish import MARK, POOL, PROVIDER
from delivery.google.rest import ApiError

JOB_PROJECT_ID = (18, 4)  # the first GitLab whose tokens have this claim


@dataclass
class Access(Resource):
    """All grants in one policy, which is read and written once."""

    policy: Callable[[], Policy] = field(kw_only=True)  # known once the application exists
    grants: Callable[[], Sequence[Grant]] = field(kw_only=True)
    kept: Callable[[Grant], bool] = field(kw_only=True, default=lambda _: False)  # by undo

    def _lacking(self) -> list[Grant]:
        try:
            now = self.policy().read(self.cloud)
        except ApiError as error:
            gone = error.status == 404 or error.reason == "SERVICE_DISABLED"
            if not gone:
                raise
            now = {}
        return bindings.lacking(now, self.grants())

    def look(self) -> Look:
        """List what is lacking."""
        if not (lacking := self._lacking()):
            return THERE
        what = _described(lacking)
        if self._refused():
            return Look(
                State.BLOCKED, what, "an administrator types:\n" + "\n".join(self.commands())
            )
        return Look(State.MISSING, what)

    def _refused(self) -> bool:
        """Whether a bucket's own policy keeps even an owner from changing it: that happens."""
        policy = self.policy()
        if policy.service != "storage" or self.context.app is None:
            return False
        needed = "storage.buckets.setIamPolicy"
        path = f"{policy.path}/iam/testPermissions"
        try:
            answer = self.cloud.request("GET", "storage", path, query={"permissions": needed})
        except ApiError:
            return False
        return needed not in answer.get("permissions", [])

    def create(self) -> None:
        """Add what is lacking; who may not, is told what an administrator would type."""
        try:
            self.cloud.grant(self.policy(), self.grants())
        except ApiError as error:
            if error.status == FORBIDDEN:
                commands = "\n".join(self.commands())
                raise CommandError(
                    f"{self.name}: refused",
                    why=error.message,
                    then=f"an administrator types:\n{commands}\nthen: {self.wish.again()}",
                ) from error
            raise

    def made(self) -> bool:
        """Whether grants are there that undo takes away."""
        grants = self._undone()
        if not grants:
            return False
        try:
            return len(bindings.lacking(self.policy().read(self.cloud), grants)) < len(grants)
        except ApiError:
            return False

    def remove(self) -> None:
        """Take away what was granted here."""
        self.cloud.revoke(self.policy(), self._undone())

    def _undone(self) -> list[Grant]:
        """Return the grants of accounts that were made here.

        Those of the application's own account may be older than us: the deployer's description
        has those that are not.
        """
        about = (self.context.deployer or {}).get("description", "")
        return [grant for grant in self.grants() if MARK in about and not self.kept(grant)]

    def commands(self) -> list[str]:
        """Return gcloud's command for each grant that is lacking."""
        command = self.policy().command(self.wish.project)
        return [
            f"{command} --member={grant.member} --role={grant.role}" for grant in self._lacking()
        ]


def _described(grants: Sequence[Grant]) -> str:
    """Return a line per member, with its roles."""
    roles: dict[str, list[str]] = {}
    for grant in grants:
        _, federated, attribute = grant.member.partition("/attribute.")
        name = attribute if federated else grant.member.partition(":")[2].partition("@")[0]
        roles.setdefault(name, []).append(grant.role.removeprefix("roles/"))
    return "\n".join(f"{name}: {', '.join(each)}" for name, each in roles.items())


class Pool(Resource):
    """The workload identity pool; a deleted one keeps its name for 30 days, and can come back."""

    @property
    def _parent(self) -> str:
        return f"{self.context.path}/locations/global/workloadIdentityPools"

    def look(self) -> Look:
        """See whether it is there and in use."""
        found = self.cloud.find("iam", f"{self._parent}/{POOL}")
        if found is None:
            return MISSING
        if found.get("state") == "DELETED":
            return Look(State.MISSING, "it was deleted, and is brought back")
        foreign = MARK not in found.get("description", "")
        if found.get("disabled"):
            return Look(State.DIFFERS, "it is disabled", foreign=foreign)
        return THERE

    def create(self) -> None:
        """Create it, or bring it back, or enable it."""
        found = self.cloud.find("iam", f"{self._parent}/{POOL}")
        about = {"displayName": "GitLab", "description": MARK, "disabled": False}
        path, doing = f"{self._parent}/{POOL}", "setting up the pool"
        if found is None:
            query = {"workloadIdentityPoolId": POOL}
            self.cloud.change("POST", "iam", self._parent, doing, body=about, query=query)
            return
        if found.get("state") == "DELETED":
            self.cloud.change("POST", "iam", f"{path}:undelete", doing, body={})
        if found.get("disabled"):
            query = {"updateMask": "disabled"}
            self.cloud.change("PATCH", "iam", path, doing, body={"disabled": False}, query=query)

    def made(self) -> bool:
        """Look for the mark."""
        found = self.cloud.find("iam", f"{self._parent}/{POOL}") or {}
        return MARK in found.get("description", "") and found.get("state") != "DELETED"

    def remove(self) -> None:
        """Delete it."""
        self.cloud.change("DELETE", "iam", f"{self._parent}/{POOL}", "deleting the pool")

    def commands(self) -> list[str]:
        """Return gcloud's command."""
        where = f"{POOL} --location=global --project={self.wish.project}"
        deleted = "brought back" in self.look().detail
        return [f"gcloud iam workload-identity-pools {'undelete' if deleted else 'create'} {where}"]


class Provider(Resource):
    """What the pool believes: tokens of this GitLab, for jobs of this project."""

    @property
    def _parent(self) -> str:
        return f"{self.context.path}/locations/global/workloadIdentityPools/{POOL}/providers"

    @property
    def _path(self) -> str:
        return f"{self._parent}/{PROVIDER}"

    @property
    def asks_gitlab(self) -> bool:
        """Its condition has the number of the project."""
        return True

    @property
    def condition(self) -> str:
        """Who is let in.

        All projects of a GitLab share an issuer, and numbers survive a rename. `project_id` is the
        source of a fork's merge request since 18.2.2, `job_project_id` (18.4) is where the job
        runs. A protected branch, as nobody but its maintainers can push to it.
        https://docs.gitlab.com/ci/secrets/id_token_authentication
        """
        number = self.context.gitlab_project["id"]
        claims = {"project_id": number}
        if numbers(self.context.gitlab_version) >= JOB_PROJECT_ID:
            claims["job_project_id"] = number
        if not self.wish.reviews:
            claims["ref_protected"] = "true"
        return " && ".join(f"assertion.{claim} == '{value}'" for claim, value in claims.items())

    @property
    def wanted(self) -> dict[str, Any]:
        """The provider as it should be. A subject has 127 bytes, too few for a branch's name."""
        url = self.wish.gitlab_url
        return {
            "attributeCondition": self.condition,
            "attributeMapping": {
                "google.subject": '"project:" + assertion.project_id + ":job:" + assertion.job_id',
                "attribute.project_id": "assertion.project_id",
                "attribute.ref_protected": "assertion.ref_protected",
            },
            "oidc": {"issuerUri": url, "allowedAudiences": [url]},
        }

    def _find(self) -> dict[str, Any] | None:
        return self.cloud.find("iam", self._path)

    def _different(self, found: dict[str, Any]) -> list[str]:
        seen = found | {"oidc": {k: found.get("oidc", {}).get(k) for k in self.wanted["oidc"]}}
        return [name for name, value in self.wanted.items() if seen.get(name) != value]

    def look(self) -> Look:
        """Compare field by field, and show both where they differ."""
        found = self._find()
        if found is None or found.get("state") == "DELETED":
            return MISSING
        lines = [
            f"{name}: is {found.get(name)}\n{' ' * len(name)}  not {self.wanted[name]}"
            for name in self._different(found)
        ]
        if found.get("disabled"):
            lines.append("it is disabled")
        if not lines:
            return THERE
        return Look(
            State.DIFFERS, "\n".join(lines), foreign=MARK not in found.get("description", "")
        )

    def create(self) -> None:
        """Create it, or bring it back, and make it as wanted. The pool may be too new for it."""
        doing = "setting up the provider"
        body = {"displayName": "GitLab", "description": MARK, "disabled": False, **self.wanted}
        found = self._find()
        if found is None:
            query = {"workloadIdentityPoolProviderId": PROVIDER}

            def make() -> None:
                self.cloud.change("POST", "iam", self._parent, doing, body=body, query=query)

            self.cloud.later(make, lambda error: error.status == 404, "the pool is new")
            return
        if found.get("state") == "DELETED":
            self.cloud.change("POST", "iam", f"{self._path}:undelete", doing, body={})
        if self._different(found) or found.get("disabled"):
            query = {"updateMask": ",".join(body)}
            self.cloud.change("PATCH", "iam", self._path, doing, body=body, query=query)

    def made(self) -> bool:
        """Look for the mark."""
        found = self._find() or {}
        return MARK in found.get("description", "") and found.get("state") != "DELETED"

    def remove(self) -> None:
        """Delete it."""
        self.cloud.change("DELETE", "iam", self._path, "deleting the provider")

    def commands(self) -> list[str]:
        """Return gcloud's command."""
        verb = "create-oidc" if self._find() is None else "update-oidc"
        mapping = ",".join(f"{k}={v}" for k, v in self.wanted["attributeMapping"].items())
        where = f"--location=global --workload-identity-pool={POOL} --project={self.wish.project}"
        url = self.wish.gitlab_url
        command = (
            f"gcloud iam workload-identity-pools providers {verb} {PROVIDER} {where}"
            f" --issuer-uri={url} --allowed-audiences={url}"
            f" --attribute-mapping='{mapping}' --attribute-condition=\"{self.condition}\""
        )
        return [command]
