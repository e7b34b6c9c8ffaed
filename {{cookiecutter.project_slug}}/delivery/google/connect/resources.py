"""Kinds of resources on Google Cloud, each compared with what is wanted, made, and removed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from delivery.connect.resource import MARK, MISSING, THERE, Look, Resource, State
from delivery.errors import CommandError
from delivery.google.connect import policies
from delivery.google.connect.cloud import FORBIDDEN, NOT_FOUND, Cloud
from delivery.google.connect.google import Google
from delivery.google.connect.policies import Grant, Policy, account
from delivery.google.rest import ApiError


@dataclass(kw_only=True)
class OnGoogle(Resource):
    """A resource on Google Cloud."""

    google: Google

    @property
    def cloud(self) -> Cloud:
        """Google's APIs."""
        return self.google.cloud


@dataclass(kw_only=True)
class Billing(OnGoogle):
    """A billing account, which only a person can link; its purpose says what needs one."""

    def look(self) -> Look:
        """Ask whether billing is enabled; who may not know, will see when the APIs are enabled."""
        project = self.google.project
        try:
            found = self.cloud.request("GET", "cloudbilling", f"v1/projects/{project}/billingInfo")
        except ApiError as error:
            return Look(State.UNKNOWN, error.message)
        if found.get("billingEnabled"):
            return THERE
        return Look(
            State.BLOCKED,
            f"no billing account is linked, and {self.purpose}",
            "an administrator of a billing account:\n"
            f"https://console.cloud.google.com/billing/linkedaccount?project={project}",
        )


@dataclass(kw_only=True)
class Apis(OnGoogle):
    """The APIs that a delivery calls."""

    permissions: tuple[str, ...] = ("serviceusage.services.list", "serviceusage.services.enable")
    role: str = "roles/serviceusage.serviceUsageAdmin"
    stays: str = "the application may need them"
    apis: Sequence[str]

    def _missing(self) -> list[str]:
        path, query = f"{self.google.path}/services", {"filter": "state:ENABLED", "pageSize": "200"}
        rows = self.cloud.pages("serviceusage", path, "services", **query)
        enabled = {str(row.get("name", "")).rpartition("/")[2] for row in rows}
        return [api for api in self.apis if f"{api}.googleapis.com" not in enabled]

    def look(self) -> Look:
        missing = self._missing()
        return Look(State.MISSING, ", ".join(missing)) if missing else THERE

    def create(self) -> None:
        """Switch them on, all at once."""
        if missing := self._missing():
            body = {"serviceIds": [f"{api}.googleapis.com" for api in missing]}
            path = f"{self.google.path}/services:batchEnable"
            self.cloud.change("POST", "serviceusage", path, "enabling APIs", body=body)

    def commands(self) -> list[str]:
        apis = " ".join(f"{api}.googleapis.com" for api in self._missing())
        return [f"gcloud services enable {apis} --project={self.google.project}"]


@dataclass(kw_only=True)
class Named(OnGoogle):
    """What has a name in a collection of an API, a description with our mark, and fields.

    One that was deleted a while ago may still have its name; then it is brought back.
    """

    service: str = "iam"
    collection: Callable[[], str]  # the path that it is created in
    id: str
    id_is: str = ""  # the query's parameter for the name
    fields: Callable[[], dict[str, Any]] = dict  # compared, and made right
    about: dict[str, Any] = field(default_factory=dict)  # what else it is created with
    command: Callable[[str], list[str]]  # gcloud's: to create, undelete or update it
    parent: str = ""  # what it is created in, if that may be too new

    @property
    def path(self) -> str:
        """The resource's path."""
        return f"{self.collection()}/{self.id}"

    def find(self) -> dict[str, Any] | None:
        """Return it as it is; None where it is not."""
        return self.cloud.find(self.service, self.path)

    def differences(self, found: dict[str, Any]) -> list[str]:
        """Return how its fields differ, each as it is and as it should be."""
        return [
            f"{name}: is {found.get(name)}\n{' ' * len(name)}  not {value}"
            for name, value in self.fields().items()
            if found.get(name) != value
        ]

    def look(self) -> Look:
        found = self.find()
        if found is None:
            return MISSING
        if found.get("state") == "DELETED":
            return Look(State.MISSING, "it was deleted, and is brought back")
        lines = self.differences(found) + ["it is disabled"] * bool(found.get("disabled"))
        foreign = not self.marked(found)
        return Look(State.DIFFERS, "\n".join(lines), foreign=foreign) if lines else THERE

    def create(self) -> None:
        """Create it, or bring it back, and make it right."""
        found, fields = self.find(), self.fields()
        if found is None:
            self.cloud.later(
                lambda: self.make({"description": MARK, **self.about, **fields}),
                self.too_early,
                f"{self.parent} is new",
            )
            return
        if found.get("state") == "DELETED":
            self.send("POST", f"{self.path}:undelete", {})
        if self.differences(found):
            self.update(fields)
        if found.get("disabled"):
            self.enable()

    def make(self, body: dict[str, Any]) -> None:
        """Create it."""
        self.send("POST", self.collection(), body, **{self.id_is: self.id})

    def too_early(self, error: ApiError) -> bool:
        """Whether it could not be created because its parent was, a moment ago."""
        return error.status == NOT_FOUND and bool(self.parent)

    def update(self, fields: dict[str, Any]) -> None:
        """Make fields right."""
        self.send("PATCH", self.path, fields, updateMask=",".join(fields))

    def enable(self) -> None:
        """Enable it again."""
        self.update({"disabled": False})

    def send(self, method: str, path: str, body: Any = None, **query: str) -> None:
        """Send a change, and wait for what it began."""
        doing = f"setting up {self.id}" if method != "DELETE" else f"deleting {self.id}"
        self.cloud.change(method, self.service, path, doing, body=body, query=query)

    def marked(self, found: dict[str, Any]) -> bool:
        """Whether it was made here."""
        return MARK in found.get("description", "")

    def made(self) -> bool:
        found = self.find() or {}
        return self.marked(found) and found.get("state") != "DELETED"

    def remove(self) -> None:
        self.send("DELETE", self.path)

    def commands(self) -> list[str]:
        found = self.find()
        deleted = found is not None and found.get("state") == "DELETED"
        return self.command("create" if found is None else "undelete" if deleted else "update")


@dataclass(kw_only=True)
class Account(Named):
    """A service account; its id is its address."""

    permissions: tuple[str, ...] = ("iam.serviceAccounts.get", "iam.serviceAccounts.create")
    role: str = "roles/iam.serviceAccountCreator"
    note: Callable[[], str] = str  # for its description, after the mark
    in_use: Callable[[], bool] = bool  # by what stays: undo leaves it, too

    def made(self) -> bool:
        return super().made() and not self.in_use()

    def look(self) -> Look:
        look = super().look()
        constraint = "iam.disableServiceAccountCreation"
        return unless_forbidden(self.google, constraint, look) if look == MISSING else look

    def make(self, body: dict[str, Any]) -> None:
        body["description"] += self.note()
        body = {"accountId": self.id.partition("@")[0], "serviceAccount": body}
        self.send("POST", self.collection(), body)
        self.google.deployer_account.forget()

    def enable(self) -> None:
        self.send("POST", f"{self.path}:enable", {})


@dataclass(kw_only=True)
class Repository(Named):
    """A repository of Docker images, and what keeps it from growing; policies of others stay."""

    permissions: tuple[str, ...] = (
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.create",
        "artifactregistry.repositories.update",
    )
    role: str = "roles/artifactregistry.admin"
    service: str = "artifactregistry"
    id_is: str = "repositoryId"

    def differences(self, found: dict[str, Any]) -> list[str]:
        wanted, now = self.fields()["cleanupPolicies"], found.get("cleanupPolicies", {})
        lacking = [name for name, policy in wanted.items() if now.get(name) != policy]
        return [f"it lacks the clean-up policies {', '.join(lacking)}"] * bool(lacking)

    def look(self) -> Look:
        """Compare; a policy of ours only adds to what there is, so nothing is overwritten."""
        look = super().look()
        return Look(look.state, look.detail)

    def update(self, fields: dict[str, Any]) -> None:
        now = (self.find() or {}).get("cleanupPolicies", {})
        super().update({"cleanupPolicies": now | fields["cleanupPolicies"]})

    def made(self) -> bool:
        now = (self.find() or {}).get("cleanupPolicies", {})
        return bool(now.keys() & self.fields()["cleanupPolicies"].keys())

    def remove(self) -> None:
        """Remove our policies; the repository, too, if it is ours and no image is in it."""
        found = self.find() or {}
        images = self.cloud.pages(self.service, f"{self.path}/packages", "packages")
        if self.marked(found) and not images:
            super().remove()
            return
        ours, now = self.fields()["cleanupPolicies"], found.get("cleanupPolicies", {})
        left = {name: policy for name, policy in now.items() if name not in ours}
        super().update({"cleanupPolicies": left})


@dataclass(kw_only=True)
class Access(OnGoogle):
    """All grants in one policy, which is read and written once."""

    policy: Callable[[], Policy]
    grants: Callable[[], Sequence[Grant]]
    permission_there: str = ""  # that it needs on the resource itself, not on the project

    def lacking(self) -> list[Grant]:
        """Return the grants that are not there."""
        return policies.lacking(self.policy().find(self.cloud), self.grants())

    def look(self) -> Look:
        if not (lacking := self.lacking()):
            return THERE
        roles: dict[str, list[str]] = {}
        for grant in lacking:
            _, federated, attribute = grant.member.partition("/attribute.")
            name = attribute if federated else grant.member.partition(":")[2].partition("@")[0]
            roles.setdefault(name, []).append(grant.role.removeprefix("roles/"))
        what = "\n".join(f"{name}: {', '.join(each)}" for name, each in roles.items())
        if self._refused():
            detail = f"{what}\nyou lack {self.permission_there} on it"
            return Look(State.BLOCKED, detail, self._for_an_administrator())
        return Look(State.MISSING, what)

    def _refused(self) -> bool:
        """Whether the resource is there, and its own policy refuses a change, even to an owner."""
        needed = self.permission_there
        try:
            return bool(needed) and needed not in self.policy().held(self.cloud, [needed])
        except ApiError:
            return False

    def _for_an_administrator(self) -> str:
        return "\n".join(["an administrator types:", *self.commands()])

    def create(self) -> None:
        """Add what is lacking; who may not, is told what an administrator would type."""
        try:
            self.policy().edit(self.cloud, lambda now: policies.with_grants(now, self.grants()))
        except ApiError as error:
            if error.status == FORBIDDEN:
                then = f"{self._for_an_administrator()}\nthen:"
                raise CommandError("refused", why=error.message, then=then) from error
            raise

    def made(self) -> bool:
        ours = self._ours()
        return bool(ours) and policies.lacking(self.policy().find(self.cloud), ours) != ours

    def remove(self) -> None:
        if self.policy().find(self.cloud):
            self.policy().edit(self.cloud, lambda now: policies.without_grants(now, self._ours()))

    def _ours(self) -> list[Grant]:
        """Return the grants that were made here: those of our accounts, if they carry our mark.

        An account of Google's own may have had its roles before: the deployer's description has
        those that it has from us (Account.note).
        """
        about = (self.google.deployer_account() or {}).get("description", "")
        ours = (account(self.google.deployer), account(self.google.reviewer), "principalSet:")
        return [
            grant
            for grant in self.grants()
            if MARK in about
            and (grant.member.startswith(ours) or grant.role.removeprefix("roles/") in about)
        ]

    def commands(self) -> list[str]:
        start = self.policy().command
        return [f'{start} --member="{each.member}" --role={each.role}' for each in self.lacking()]


def unless_forbidden(google: Google, constraint: str, look: Look) -> Look:
    """Return the look, or what blocks: an organisation policy that is in force."""
    path = f"{google.path}:getEffectiveOrgPolicy"  # the newer API is switched off in most projects
    body = {"constraint": f"constraints/{constraint}"}
    try:
        found = google.cloud.request("POST", "cloudresourcemanager", path, body=body)
    except ApiError as error:
        if not error.status:
            raise
        return look  # nobody can say
    if not found.get("booleanPolicy", {}).get("enforced"):
        return look
    where = f"{constraint.replace('.', '-')}?project={google.project}"
    return Look(
        State.BLOCKED,
        f"the organisation's policy {constraint} is in force",
        "an organisation policy administrator, for this project:\n"
        f"https://console.cloud.google.com/iam-admin/orgpolicies/{where}",
    )
