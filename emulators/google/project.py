"""What the APIs of one project share: its state, and who may do what.

Sources: https://cloud.google.com/iam/docs/policies for the policies that count,
https://cloud.google.com/iam/docs/principal-identifiers for the names of callers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from emulators.appengine.tokens import PROJECT_NUMBER

from . import roles
from .iam import Iam
from .operations import Operations
from .policies import Policy


class Project:
    """Holds all that requests change, but for the application; tests look at it and arrange it."""

    def __init__(self, project: str, *, billing: bool, latency: float):
        self.project = project
        self.number = PROJECT_NUMBER
        self.owner = f"owner@{project}.example"
        self.runtime = f"{project}@appspot.gserviceaccount.com"
        self.billing = billing
        self.enabled: set[str] = set()  # the APIs
        self.org_policies: set[str] = set()  # those that are enforced
        self.policy = Policy([{"role": "roles/owner", "members": [f"user:{self.owner}"]}])
        self.iam = Iam(project)
        self.buckets: dict[str, Policy] = {}
        self.repositories: dict[str, dict[str, Any]] = {}
        self.repository_policies: dict[str, Policy] = {}
        self.builds: list[dict[str, Any]] = []
        self.operations = Operations(latency)
        self.denied: dict[str, set[str]] = {}
        self.required: set[str] = set()  # permissions that requests have needed so far
        self.asked: set[str] = set()  # ... that testIamPermissions was asked for

    @contextmanager
    def deny(self, *permissions: str, account: str = "") -> Iterator[None]:
        """Take permissions from a caller, the owner by default, for a while."""
        account = account or self.owner
        self.denied[account] = self.denied.get(account, set()) | set(permissions)
        try:
            yield
        finally:
            self.denied[account] -= set(permissions)

    def permits(self, account: str, permission: str, resource: Policy | None = None) -> bool:
        """Whether an account has a permission, by the project's policy or the resource's own."""
        if permission in self.denied.get(account, ()):
            return False
        kind = "serviceAccount" if account.endswith("gserviceaccount.com") else "user"
        who = self.iam.principals.get(account, {f"{kind}:{account}"})
        policies = [self.policy, *([resource] if resource else [])]
        return any(who & policy.members(permission, roles.has) for policy in policies)

    def policy_of(self, resource: str) -> Policy | None:
        """Return the policy of a bucket or an account."""
        return self.buckets.get(resource) or self.iam.policies.get(resource)
