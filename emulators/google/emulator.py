"""One Google Cloud project on this machine: what the tests hold in their hands."""

import copy
import re
from typing import Any, Self
from urllib.parse import urlsplit

from emulators.appengine import AppEngine
from emulators.appengine.api import Call
from emulators.appengine.googleapi import Route
from emulators.appengine.wire import ApiError, Request

from .application import Application
from .artifact_registry import ArtifactRegistry
from .billing import Billing
from .bucket_policies import BucketPolicies
from .cloud_build import CloudBuild
from .cloud_run import CloudRun
from .policies import Policy
from .project import Project
from .resource_manager import ResourceManager
from .service_accounts import ServiceAccounts
from .service_usage import CHECKED_APIS, ServiceUsage
from .sts import SecurityTokens
from .workload_identity import WorkloadIdentity

IN_PROJECT = re.compile(r"/v\d/(?:projects|apps)/(?P<project>[^/:]+)")
OVERRIDES = (
    "CLOUDRESOURCEMANAGER",
    "CLOUDBILLING",
    "ARTIFACTREGISTRY",
    "ORGPOLICY",
    "CLOUDBUILD",
)


class Google(Project):
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
        super().__init__(project, billing=billing, latency=latency)
        if not fresh:
            self.enabled = {f"{api}.googleapis.com" for api in CHECKED_APIS if api != "orgpolicy"}
        self.iam.late = late
        self.gae = AppEngine(project, created=not fresh, latency=latency, port=port)
        self.run = CloudRun(self, self.gae)
        self._service_usage = ServiceUsage(self)
        tokens = self.gae.tokens
        products = (
            ResourceManager(self),
            Billing(self),
            self._service_usage,
            ServiceAccounts(self, tokens, f"{self.gae.api_url}token"),
            WorkloadIdentity(self),
            SecurityTokens(self.iam, tokens),
            Application(self, self.gae),
            BucketPolicies(self),
            ArtifactRegistry(self),
            CloudBuild(self),
            self.run,
            self.operations,
        )
        api = self.gae.api
        api.routes = [*(route for each in products for route in each.routes()), *api.routes]
        api.check = self._check
        api.authorize = self._authorize

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gae.close()

    # What a test looks at, and arranges

    @property
    def requests(self) -> list[Call]:
        """Every request, in order."""
        return self.gae.requests

    @property
    def latency(self) -> float:
        """How long operations take, in seconds."""
        return self.operations.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self.operations.latency = self.gae.admin.latency = seconds

    def state(self) -> dict[str, Any]:
        """Return all that requests can change, without what each change brings with it."""
        iam = self.iam
        about = ("displayName", "description", "disabled")
        policies = {"project": self.policy, **iam.policies, **self.buckets}
        providers = {"/".join(names): each for names, each in iam.providers.items()}
        now = {
            "enabled": sorted(self.enabled),
            "region": self.gae.admin.region,
            "accounts": {
                email: {k: account[k] for k in about if k in account}
                for email, account in iam.accounts.items()
            },
            "policies": {name: _bindings(policy) for name, policy in policies.items()},
            "keys": sorted(key["client_email"] for key in iam.keys.values()),
            "pools": {k: v for k, v in iam.pools.items() if v["state"] == "ACTIVE"},
            "providers": {k: v for k, v in providers.items() if v["state"] == "ACTIVE"},
            "repositories": self.repositories,
        }
        return copy.deepcopy(now)

    def secrets(self) -> list[str]:
        """Every string that no output may hold."""
        return self.gae.secrets()

    def environment(self, account: str = "owner") -> dict[str, str]:
        """The variables that turn gcloud here, signed in as `account`, or as nobody for ''."""
        variables = self.gae.environment()
        for api in OVERRIDES:
            variables[f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"] = self.gae.api_url
        if account:
            token = self.gae.access_token_file(self.owner if account == "owner" else account)
            variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] = str(token)
        return variables

    # The door

    def _check(self, request: Request, route: Route) -> None:
        """Refuse what asks for another project, or an API that is off."""
        named = IN_PROJECT.match(urlsplit(request.target).path)
        if named and named["project"] not in (self.project, self.number, "-"):
            raise ApiError(403, "The caller does not have permission")
        self._service_usage.require(route.api)

    def _authorize(self, account: str, permission: str, resource: str) -> None:
        """Refuse what the caller's roles do not allow, on App Engine and Storage too."""
        self.required.add(permission)
        if not self.permits(account, permission, self.policy_of(resource)):
            raise self.gae.api.denial(permission, account)


def _bindings(policy: Policy) -> list[Any]:
    return sorted(
        (b["role"], str(b.get("condition", "")), sorted(b["members"])) for b in policy.bindings
    )
