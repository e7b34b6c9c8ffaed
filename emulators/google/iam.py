"""What IAM holds of a project: accounts and keys, pools and providers, and who is logged in.

Sources: https://cloud.google.com/iam/docs/reference/rest for the resources, and
https://cloud.google.com/iam/docs/service-accounts-create for an account that is not known at once.
"""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any

from .policies import Policy

Resource = dict[str, Any]


@dataclass
class Iam:
    """The resources by name; service_accounts.py, workload_identity.py and sts.py change them."""

    project: str
    accounts: dict[str, Resource] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)  # of accounts
    keys: dict[str, dict[str, str]] = field(default_factory=dict)  # by id, as downloaded
    pools: dict[str, Resource] = field(default_factory=dict)
    providers: dict[tuple[str, str], Resource] = field(default_factory=dict)
    principals: dict[str, set[str]] = field(default_factory=dict)  # of jobs: the sets they are in
    late: int = 0  # how often a new account is not known yet
    unknown: dict[str, int] = field(default_factory=dict)  # ... and how often still, by account

    def add(self, email: str, **about: Any) -> Resource:
        """Make an account without a request: those that Google makes."""
        account = {
            "name": f"projects/{self.project}/serviceAccounts/{email}",
            "projectId": self.project,
            "uniqueId": str(10**20 + secrets.randbelow(10**20)),
            "email": email,
            "etag": base64.b64encode(secrets.token_bytes(8)).decode(),
            **about,
        }
        self.accounts[email] = account
        self.policies[email] = Policy()
        return account

    def knows(self, member: str) -> bool:
        """Whether a policy may name this member."""
        kind, _, name = member.partition(":")
        if kind != "serviceAccount":
            return True
        if self.unknown.get(name, 0) > 0:
            self.unknown[name] -= 1
            return False
        return name in self.accounts or not name.endswith(
            f"@{self.project}.iam.gserviceaccount.com"
        )
