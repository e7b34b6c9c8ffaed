"""A service account's key in GitLab, for those who cannot log in without one."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from delivery.connect.project import Variable
from delivery.connect.resource import MISSING, Look
from delivery.google.connect.google import Google
from delivery.google.connect.resources import unless_forbidden


@dataclass(kw_only=True)
class Key(Variable):
    """A key of the deployer, straight from Google into GitLab: it never touches a disk."""

    permissions: tuple[str, ...] = ("iam.serviceAccountKeys.create",)
    role: str = "roles/iam.serviceAccountKeyAdmin"
    google: Google

    def __post_init__(self) -> None:
        self.value = self.make

    @property
    def _path(self) -> str:
        return f"{self.google.path}/serviceAccounts/{self.google.deployer}/keys"

    def look(self) -> Look:
        look = super().look()
        constraint = "iam.disableServiceAccountKeyCreation"
        return unless_forbidden(self.google, constraint, look) if look == MISSING else look

    def difference(self, found: dict[str, Any]) -> str:
        """Any key of the deployer will do; a hidden one cannot be seen, and is trusted."""
        ours = found.get("hidden") or _key(found).get("client_email") == self.google.deployer
        return "" if ours else "it is not a key of the deployer"

    def make(self) -> str:
        """Make a key. GitLab masks only what has no space, so JSON writes it in another way."""
        found = self.find(fresh=True)
        if found and not self.difference(found):
            return str(found["value"])  # only its flags were wrong
        cloud = self.google.cloud
        made = cloud.later(
            lambda: cloud.request("POST", "iam", self._path, body={}, retry=False),
            lambda error: error.status == 404,
            "the account is new",
        )
        key = json.loads(base64.b64decode(made["privateKeyData"]))
        return json.dumps(key, separators=(",", ":")).replace(" ", "\\u0020")

    def remove(self) -> None:
        """Delete the key, then the variable."""
        number = _key(self.find() or {}).get("private_key_id")
        if number and self.google.deployer_account() is not None:
            self.google.cloud.change("DELETE", "iam", f"{self._path}/{number}", "deleting the key")
        super().remove()

    def commands(self) -> list[str]:
        who = f"--iam-account={self.google.deployer}"
        return [f"gcloud iam service-accounts keys create {self.key} {who}", *super().commands()]


def _key(found: dict[str, Any]) -> dict[str, Any]:
    try:
        key = json.loads(found.get("value") or "")
    except ValueError:
        return {}
    return key if isinstance(key, dict) else {}
