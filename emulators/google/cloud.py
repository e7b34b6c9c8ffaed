"""One Google Cloud project: who may call what, and the smaller of its APIs.

Sources: the reference of each API (Resource Manager v1 `projects`, Service Usage v1 `services`,
Cloud Billing v1 `projects.getBillingInfo`, Organization Policy v2 `getEffectivePolicy`, Artifact
Registry v1 `repositories`, Cloud Build v1 `builds.list`, Storage v1 `buckets.getIamPolicy`), and
recorded calls of gcloud 528 for the paths, the operations and the words of refusals.
"""

import copy
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from emulators.appengine import AppEngine
from emulators.appengine.api import Call
from emulators.appengine.tokens import PROJECT_NUMBER
from emulators.appengine.wire import Answer, ApiError, Request

from . import roles
from .iam import ExistsError, Iam
from .policies import Policy

REGIONS = ("europe-west", "europe-west3", "us-central", "us-east1", "asia-northeast1")
# Other APIs answer whether they are on or off: gcloud's own project has them.
CHECKED_APIS = ("appengine", "artifactregistry", "cloudbuild", "iam", "orgpolicy")
MANY = 100


class Google:
    """A project's APIs, alive inside a `with` block; the application is `self.gae`.

    `fresh` is a project in which nothing was ever done; otherwise APIs are on and the application
    is there. `latency` is how long operations take, `late` how many requests a new account is
    unknown to.
    """

    def __init__(  # noqa: PLR0913 - each is a thing that tests vary
        self,
        project: str = "demo-project",
        *,
        fresh: bool = True,
        billing: bool = True,
        latency: float = 0.0,
        late: int = 0,
        port: int = 0,
    ):
        self.project = project
        self.number = PROJECT_NUMBER
        self.owner = f"owner@{project}.example"
        self.runtime = f"{project}@appspot.gserviceaccount.com"
        self.gae = AppEngine(project, created=not fresh, latency=latency, port=port)
        self.latency = latency
        self.billing = billing
        self.enabled = set() if fresh else {f"{api}.googleapis.com" for api in CHECKED_APIS[:-1]}
        self.region = "" if fresh else "europe-west"
        self.org_policies: set[str] = set()
        self.denied: dict[str, set[str]] = {}
        self.policy = Policy([{"role": "roles/owner", "members": [f"user:{self.owner}"]}])
        self.buckets: dict[str, Policy] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.builds: list[dict[str, Any]] = []
        self._operations: dict[str, tuple[float, dict[str, Any]]] = {}
        self.iam = Iam(project, self.number, self.gae.tokens, self._operate)
        self.iam.late, self.iam.latency = late, latency
        self.iam.token_uri = f"{self.gae.api_url}token"
        self.iam.forbidden = self.org_policies.__contains__
        if not fresh:
            self._settle_app()
        self._routes = [
            (m, re.compile(path), api, permission, act)
            for m, path, api, permission, act in self._table()
        ]
        self.gae.api.neighbours.append(self._respond)
        self.gae.api.authorize = self._authorize

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gae.close()

    # What a test looks at, and arranges

    @property
    def requests(self) -> list[Call]:
        """Every request, in order."""
        return self.gae.requests

    def state(self) -> dict[str, Any]:
        """Return all that requests can change, without what each change brings with it."""
        accounts = {
            email: {k: a[k] for k in ("displayName", "description", "disabled") if k in a}
            for email, a in self.iam.accounts.items()
        }
        policies = {"project": self.policy, **self.iam.policies, **self.buckets}
        now = {
            "enabled": sorted(self.enabled),
            "region": self.region,
            "accounts": accounts,
            "policies": {name: _bindings(policy) for name, policy in policies.items()},
            "keys": sorted(key["client_email"] for key in self.iam.keys.values()),
            "pools": {k: v for k, v in self.iam.pools.items() if v["state"] == "ACTIVE"},
            "providers": {
                "/".join(k): v for k, v in self.iam.providers.items() if v["state"] == "ACTIVE"
            },
            "repositories": self.repositories,
        }
        return copy.deepcopy(now)

    @contextmanager
    def deny(self, *permissions: str, account: str = "") -> Iterator[None]:
        """Take permissions from a caller, the owner by default, for a while."""
        account = account or self.owner
        self.denied[account] = self.denied.get(account, set()) | set(permissions)
        try:
            yield
        finally:
            self.denied[account] -= set(permissions)

    def secrets(self) -> list[str]:
        """Every string that no output may hold."""
        return self.gae.secrets()

    def environment(self, account: str = "owner") -> dict[str, str]:
        """The variables that turn gcloud here, signed in as `account`, or as nobody for ''."""
        variables = self.gae.environment()
        base = self.gae.api_url
        for api in (
            "CLOUDRESOURCEMANAGER",
            "CLOUDBILLING",
            "ARTIFACTREGISTRY",
            "ORGPOLICY",
            "CLOUDBUILD",
        ):
            variables[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"] = base
        if account:
            who = self.owner if account == "owner" else account
            token = Path(tempfile.mkdtemp(prefix="gcloud-", dir=self.gae._root)) / "access-token"
            token.touch(0o600)
            token.write_text(self.gae.tokens.issue(who))
            variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] = str(token)
        return variables

    # Who may do what

    def permits(self, account: str, permission: str, resource: Policy | None = None) -> bool:
        """Whether an account has a permission, by the project's policy or the resource's own."""
        if permission in self.denied.get(account, ()):
            return False
        kind = "serviceAccount" if account.endswith("gserviceaccount.com") else "user"
        who = self.iam.principals.get(account, {f"{kind}:{account}"})
        policies = [self.policy, *([resource] if resource else [])]
        return any(who & policy.members(permission, roles.has) for policy in policies)

    def _authorize(self, account: str, permission: str, bucket: str) -> None:
        """Refuse a request to App Engine or Storage that the caller's roles do not allow."""
        resource = self.buckets.get(bucket)
        if not self.permits(account, permission, resource):
            raise self.gae.api._denial(permission, account)
        act_as = "iam.serviceAccounts.actAs"
        if permission == "appengine.versions.create":
            if not self.permits(account, act_as, self.iam.policies[self.runtime]):
                raise self.gae.api._denial(act_as, account)
            if not self.permits(account, "cloudbuild.builds.create"):
                raise self.gae.api._denial("cloudbuild.builds.create", account)

    def _require(self, account: str, permission: str, names: dict[str, str]) -> None:
        resource: Policy | None = None
        if "email" in names:
            resource = self.iam.policies.get(names["email"])
        if "bucket" in names:
            resource = self._bucket(names["bucket"])
        if self.permits(account, permission, resource):
            return
        where = f"//{permission.partition('.')[0]}.googleapis.com/projects/{self.project}"
        raise ApiError(
            403,
            f"Permission '{permission}' denied on resource '{where}' (or it may not exist).",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "iam.googleapis.com",
                    "metadata": {"permission": permission},
                }
            ],
        )

    # The door

    def _respond(self, request: Request, call: Call) -> Answer | None:
        path = urlsplit(request.target).path
        if path.startswith("/v1/apps"):
            self._require_api("appengine")
        for method, pattern, api, permission, act in self._routes:
            match = pattern.fullmatch(path)
            if not match or method != request.method:
                continue
            names = {k: unquote(v) for k, v in match.groupdict().items()}
            if names.get("project", self.project) not in (self.project, self.number, "-"):
                raise ApiError(403, "The caller does not have permission")
            account = call.account = self.gae.tokens.account(request) if permission else ""
            if api in CHECKED_APIS:
                self._require_api(api)
            if permission not in ("", "any"):
                self._require(account, permission, names)
            return act(request=request, account=account, **names)
        return self._build(request) if path.endswith("/versions") else None

    def _require_api(self, api: str) -> None:
        if f"{api}.googleapis.com" in self.enabled:
            return
        url = f"https://console.developers.google.com/apis/api/{api}.googleapis.com/overview?project={self.number}"
        raise ApiError(
            403,
            f"{api} API has not been used in project {self.number} before or it is disabled. "
            f"Enable it by visiting {url} then retry. If you enabled this API recently, wait a few "
            "minutes for the action to propagate to our systems and retry.",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "SERVICE_DISABLED",
                    "domain": "googleapis.com",
                }
            ],
        )

    def _build(self, request: Request) -> Answer | None:
        """Fail a version whose build could not be made: it runs as the application's account."""
        if request.method != "POST":
            return None
        account = self.gae.tokens.account(request)
        self._authorize(account, "appengine.versions.create", "")
        staging = self._bucket(self.gae.staging_bucket)
        needed = {
            "storage.buckets.get": staging,
            "storage.objects.create": staging,
            "storage.objects.get": staging,
            "artifactregistry.repositories.uploadArtifacts": None,
            "logging.logEntries.create": None,
        }
        for permission, policy in needed.items():
            if not self.permits(self.runtime, permission, policy):
                bucket = self.gae.staging_bucket
                message = (
                    f'Failed to create cloud build: invalid bucket "{bucket}"; {permission} denied.'
                )
                name = f"apps/{self.project}/operations/{secrets.token_hex(8)}"
                return Answer.of(
                    {"name": name, "done": True, "error": {"code": 13, "message": message}}
                )
        return None

    def _table(self) -> list[tuple[str, str, str, str, Callable[..., Answer]]]:
        project = "/v1/projects/(?P<project>[^/:]+)"
        account = f"{project}/serviceAccounts/(?P<email>[^/:]+)"
        pools = f"{project}/locations/global/workloadIdentityPools"
        pool = f"{pools}/(?P<pool>[^/:]+)"
        provider = f"{pool}/providers/(?P<provider>[^/:]+)"
        bucket = "/storage/v1/b/(?P<bucket>[^/]+)/iam"
        places = f"{project}/locations/(?P<place>[^/]+)/repositories"
        repository = f"{places}/(?P<repository>[^/]+)"
        orgs = "/v2/projects/(?P<project>[^/]+)/policies/(?P<constraint>[^/:]+)"
        iam, any_, sa, wip = self.iam, "any", "iam.serviceAccounts", "iam.workloadIdentityPool"
        rm, ar = "resourcemanager.projects", "artifactregistry.repositories"
        return [
            ("POST", "/v1/token", "", "", iam.exchange),
            ("POST", "/token", "", "", iam.exchange_key),
            ("GET", project, "", f"{rm}.get", self._get_project),
            (
                "POST",
                f"{project}:getIamPolicy",
                "",
                f"{rm}.getIamPolicy",
                partial(self._get_policy, self._own),
            ),
            (
                "POST",
                f"{project}:setIamPolicy",
                "",
                f"{rm}.setIamPolicy",
                partial(self._set_policy, self._own),
            ),
            ("POST", f"{project}:testIamPermissions", "", any_, partial(self._test, self._own)),
            (
                "POST",
                f"{project}:getEffectiveOrgPolicy",
                "",
                "orgpolicy.policy.get",
                self._org_policy_v1,
            ),
            (
                "GET",
                f"{orgs}:getEffectivePolicy",
                "orgpolicy",
                "orgpolicy.policy.get",
                self._org_policy,
            ),
            ("GET", f"{project}/billingInfo", "", "resourcemanager.projects.get", self._billing),
            ("GET", f"{project}/services", "", "serviceusage.services.list", self._services),
            (
                "POST",
                f"{project}/services:batchEnable",
                "",
                "serviceusage.services.enable",
                self._enable,
            ),
            (
                "POST",
                f"{project}/services/(?P<name>[^/:]+):enable",
                "",
                "serviceusage.services.enable",
                self._enable,
            ),
            ("GET", "/v1/(?P<name>(?:projects/.+/)?operations/[^/]+)", "", any_, self._operation),
            ("POST", "/v1/apps", "appengine", "appengine.applications.create", self._create_app),
            (
                "GET",
                "/v1/apps/(?P<project>[^/]+)",
                "appengine",
                "appengine.applications.get",
                self._get_app,
            ),
            (
                "GET",
                "/v1/apps/(?P<project>[^/]+)/operations/(?P<name>[^/]+)",
                "appengine",
                "appengine.operations.get",
                self._app_operation,
            ),
            ("GET", "/v1/apps/(?P<project>[^/]+)/locations", "appengine", any_, self._locations),
            ("POST", f"{project}/serviceAccounts", "iam", f"{sa}.create", iam.create_account),
            ("GET", f"{project}/serviceAccounts", "iam", f"{sa}.list", iam.list_accounts),
            ("GET", account, "iam", f"{sa}.get", iam.get_account),
            ("DELETE", account, "iam", f"{sa}.delete", iam.delete_account),
            ("POST", f"{account}:enable", "iam", f"{sa}.enable", iam.enable_account),
            ("POST", f"{account}:generateAccessToken", "", f"{sa}.getAccessToken", iam.impersonate),
            (
                "POST",
                f"{account}:getIamPolicy",
                "iam",
                f"{sa}.getIamPolicy",
                partial(self._get_policy, self._accounts),
            ),
            (
                "POST",
                f"{account}:setIamPolicy",
                "iam",
                f"{sa}.setIamPolicy",
                partial(self._set_policy, self._accounts),
            ),
            (
                "POST",
                f"{account}:testIamPermissions",
                "iam",
                any_,
                partial(self._test, self._accounts),
            ),
            ("POST", f"{account}/keys", "iam", "iam.serviceAccountKeys.create", iam.create_key),
            ("GET", f"{account}/keys", "iam", "iam.serviceAccountKeys.list", iam.list_keys),
            (
                "DELETE",
                f"{account}/keys/(?P<key>[^/]+)",
                "iam",
                "iam.serviceAccountKeys.delete",
                iam.delete_key,
            ),
            ("POST", pools, "iam", f"{wip}s.create", iam.create_pool),
            ("GET", pools, "iam", f"{wip}s.list", iam.list_pools),
            ("GET", pool, "iam", f"{wip}s.get", iam.get_pool),
            ("PATCH", pool, "iam", f"{wip}s.update", iam.patch_pool),
            ("DELETE", pool, "iam", f"{wip}s.delete", iam.delete_pool),
            ("POST", f"{pool}:undelete", "iam", f"{wip}s.undelete", iam.undelete_pool),
            ("POST", f"{pool}/providers", "iam", f"{wip}Providers.create", iam.create_provider),
            ("GET", f"{pool}/providers", "iam", f"{wip}Providers.list", iam.list_providers),
            ("GET", provider, "iam", f"{wip}Providers.get", iam.get_provider),
            ("PATCH", provider, "iam", f"{wip}Providers.update", iam.patch_provider),
            ("DELETE", provider, "iam", f"{wip}Providers.delete", iam.delete_provider),
            (
                "POST",
                f"{provider}:undelete",
                "iam",
                f"{wip}Providers.undelete",
                iam.undelete_provider,
            ),
            ("GET", bucket, "", "storage.buckets.getIamPolicy", self._get_bucket_policy),
            ("PUT", bucket, "", "storage.buckets.setIamPolicy", self._set_bucket_policy),
            ("GET", f"{bucket}/testPermissions", "", any_, self._test_bucket),
            ("POST", places, "artifactregistry", f"{ar}.create", self._create_repository),
            ("GET", repository, "artifactregistry", f"{ar}.get", self._get_repository),
            ("PATCH", repository, "artifactregistry", f"{ar}.update", self._patch_repository),
            ("DELETE", repository, "artifactregistry", f"{ar}.delete", self._delete_repository),
            (
                "GET",
                f"{repository}/packages",
                "artifactregistry",
                "artifactregistry.packages.list",
                self._packages,
            ),
            ("GET", f"{project}/builds", "cloudbuild", "cloudbuild.builds.list", self._list_builds),
        ]

    # Resource Manager, billing, organisation policies

    def _get_project(self, **_: Any) -> Answer:
        return Answer.of(
            {
                "projectNumber": self.number,
                "projectId": self.project,
                "lifecycleState": "ACTIVE",
                "name": self.project,
                "createTime": "2025-01-01T00:00:00Z",
            }
        )

    def _own(self, _: dict[str, Any]) -> Policy:
        return self.policy

    def _accounts(self, names: dict[str, Any]) -> Policy:
        if names["email"] not in self.iam.policies:
            raise ApiError(404, "Unknown service account")
        return self.iam.policies[names["email"]]

    def _get_policy(self, find: Callable[..., Policy], *, request: Request, **names: Any) -> Answer:
        body = request.json() if request.body else {}
        version = body.get("options", {}).get("requestedPolicyVersion")
        version = version or request.query.get("options.requestedPolicyVersion", 1)
        return Answer.of(find(names).read(int(version)))

    def _set_policy(self, find: Callable[..., Policy], *, request: Request, **names: Any) -> Answer:
        return Answer.of(find(names).write(request.json()["policy"], self.iam.knows))

    def _test(
        self, find: Callable[..., Policy], *, request: Request, account: str, **names: Any
    ) -> Answer:
        asked = request.json().get("permissions", [])
        if len(asked) > MANY:
            raise ApiError(400, "Too many permissions.")
        policy = find(names)
        held = [each for each in asked if self.permits(account, each, policy)]
        return Answer.of({"permissions": held} if held else {})

    def _billing(self, **_: Any) -> Answer:
        linked = {
            "billingAccountName": "billingAccounts/0X0X0X-0X0X0X-0X0X0X",
            "billingEnabled": True,
        }
        name = {"name": f"projects/{self.project}/billingInfo", "projectId": self.project}
        return Answer.of(name | (linked if self.billing else {}))

    def _org_policy(self, *, constraint: str, **_: Any) -> Answer:
        rule = {"enforce": constraint in self.org_policies}
        name = f"projects/{self.number}/policies/{constraint}"
        return Answer.of({"name": name, "spec": {"rules": [rule]}})

    def _org_policy_v1(self, *, request: Request, **_: Any) -> Answer:
        constraint = request.json()["constraint"]
        enforced = constraint.removeprefix("constraints/") in self.org_policies
        return Answer.of(
            {"constraint": constraint, "booleanPolicy": {"enforced": True} if enforced else {}}
        )

    # Service Usage

    def _services(self, **_: Any) -> Answer:
        rows = [
            {
                "name": f"projects/{self.number}/services/{name}",
                "state": "ENABLED",
                "config": {"name": name},
            }
            for name in sorted(self.enabled)
        ]
        return Answer.of({"services": rows} if rows else {})

    def _enable(self, *, request: Request, name: str = "", **_: Any) -> Answer:
        names = [name] if name else request.json()["serviceIds"]
        if not self.billing:
            raise ApiError(
                400,
                f"Billing account for project '{self.number}' is not found. Billing must be "
                f"enabled for activation of service(s) '{','.join(names)}' to proceed.",
            )
        self.enabled.update(names)
        return self._operate(f"operations/acat.p2-{self.number}-", {})

    def _operate(self, prefix: str, response: dict[str, Any]) -> Answer:
        """Begin an operation; `prefix` is its name but for the number."""
        name = f"{prefix}{'' if prefix.endswith(('/', '-')) else '/'}{len(self._operations) + 50}"
        self._operations[name] = (time.monotonic() + self.latency, dict(response))
        return Answer.of({"name": name, "metadata": {}} | self._outcome(name))

    def _outcome(self, name: str) -> dict[str, Any]:
        ends, response = self._operations[name]
        return {"done": True, "response": response} if time.monotonic() >= ends else {}

    def _operation(self, *, name: str, **_: Any) -> Answer:
        if name not in self._operations:
            raise ApiError(404, f"Operation not found: {name}")
        return Answer.of({"name": name, "metadata": {}} | self._outcome(name))

    # The application

    def _create_app(self, *, request: Request, account: str, **_: Any) -> Answer:
        region = request.json().get("locationId", "")
        if region not in REGIONS:
            raise ApiError(400, f"Invalid location: {region}")
        answer = self.gae.admin.create_app(request, account)
        self.region = region
        self._settle_app()
        return answer

    def _settle_app(self) -> None:
        """Make what Google makes with an application: its account and its two buckets."""
        if self.runtime not in self.iam.accounts:
            self.iam.add(self.runtime, displayName="App Engine default service account")
        for name in (self.gae.staging_bucket, self.gae.default_bucket):
            self.buckets.setdefault(name, Policy())

    def _get_app(self, *, project: str, **_: Any) -> Answer:
        answer = self.gae.admin.get_app(project)
        body = answer.body.replace(b'"europe-west"', f'"{self.region}"'.encode())
        return Answer(answer.status, body, answer.headers)

    def _app_operation(self, *, name: str, **_: Any) -> Answer:
        """Return an operation also while it creates the application."""
        return self.gae.admin._operations.get(name)

    def _locations(self, *, project: str, **_: Any) -> Answer:
        rows = [{"name": f"apps/{project}/locations/{r}", "locationId": r} for r in REGIONS]
        return Answer.of({"locations": rows})

    # Buckets

    def _bucket(self, name: str) -> Policy:
        if name not in self.buckets:
            raise ApiError(404, "The specified bucket does not exist.")
        return self.buckets[name]

    def _get_bucket_policy(self, *, request: Request, bucket: str, **_: Any) -> Answer:
        version = int(request.query.get("optionsRequestedPolicyVersion", 1))
        kind = {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{bucket}"}
        return Answer.of(kind | self._bucket(bucket).read(version))

    def _set_bucket_policy(self, *, request: Request, bucket: str, **_: Any) -> Answer:
        return Answer.of(self._bucket(bucket).write(request.json(), self.iam.knows))

    def _test_bucket(self, *, request: Request, account: str, bucket: str, **_: Any) -> Answer:
        policy = self._bucket(bucket)
        asked = parse_qs(urlsplit(request.target).query).get("permissions", [])
        held = [each for each in asked if self.permits(account, each, policy)]
        kind = {"kind": "storage#testIamPermissionsResponse"}
        return Answer.of(kind | ({"permissions": held} if held else {}))

    # Artifact Registry, Cloud Build

    def _create_repository(self, *, request: Request, place: str, **_: Any) -> Answer:
        name = request.query["repositoryId"]
        if name in self.repositories:
            raise ExistsError(409, "the repository already exists")
        path = f"projects/{self.project}/locations/{place}"
        self.repositories[name] = request.json() | {"name": f"{path}/repositories/{name}"}
        return self._operate(f"{path}/operations/", self.repositories[name])

    def _repository(self, name: str) -> dict[str, Any]:
        if name not in self.repositories:
            raise ApiError(404, "Requested entity was not found.")
        return self.repositories[name]

    def _get_repository(self, *, repository: str, **_: Any) -> Answer:
        return Answer.of(self._repository(repository))

    def _patch_repository(self, *, request: Request, repository: str, **_: Any) -> Answer:
        self._repository(repository).update(request.json())
        return Answer.of(self._repository(repository))

    def _delete_repository(self, *, repository: str, place: str, **_: Any) -> Answer:
        self._repository(repository)
        del self.repositories[repository]
        return self._operate(f"projects/{self.project}/locations/{place}/operations/", {})

    def _packages(self, *, repository: str, **_: Any) -> Answer:
        self._repository(repository)
        return Answer.of({})

    def _list_builds(self, **_: Any) -> Answer:
        return Answer.of({"builds": self.builds} if self.builds else {})


def _bindings(policy: Policy) -> list[Any]:
    return sorted(
        (b["role"], str(b.get("condition", "")), sorted(b["members"])) for b in policy.bindings
    )
