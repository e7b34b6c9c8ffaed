"""IAM policies: etags, versions, conditions, and members that must exist.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/Policy (etag, version, conditions),
https://cloud.google.com/iam/docs/allow-policies#etag and googlecloudsdk.command_lib.iam.iam_util
for read-modify-write; the words of the 409 are those that gcloud's own tests expect.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulators.appengine.wire import ApiError

STALE = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with "
    "exponential backoff."
)


@dataclass
class Policy:
    """The policy of one resource."""

    bindings: list[dict[str, Any]] = field(default_factory=list)
    changes: int = 0

    @property
    def etag(self) -> str:
        """A fingerprint that each change changes."""
        return base64.b64encode(
            hashlib.sha256(f"{id(self)}{self.changes}".encode()).digest()[:8]
        ).decode()

    @property
    def conditional(self) -> bool:
        """Whether a binding has a condition."""
        return any(binding.get("condition") for binding in self.bindings)

    def read(self, version: int) -> dict[str, Any]:
        """Return it as asked for: a version below 3 hides conditions behind a changed role."""
        bindings = json.loads(json.dumps(self.bindings))
        if version < 3:
            for binding in bindings:
                if binding.pop("condition", None):
                    binding["role"] += (
                        "_withcond_" + hashlib.sha256(binding["role"].encode()).hexdigest()[:20]
                    )
        shown = 3 if self.conditional and version >= 3 else 1
        return {"version": shown, "etag": self.etag} | ({"bindings": bindings} if bindings else {})

    def write(self, wanted: dict[str, Any], exists: Callable[[str], bool]) -> dict[str, Any]:
        """Replace it; 409 for a stale etag, 400 for a member that does not exist."""
        # An etag is bytes: gcloud sends it back in the other alphabet of base64.
        if wanted.get("etag", self.etag).translate(str.maketrans("-_", "+/")) != self.etag:
            raise ApiError(409, STALE)
        bindings = [b for b in wanted.get("bindings", []) if b.get("members")]
        has_condition = self.conditional or any(b.get("condition") for b in bindings)
        if has_condition and wanted.get("version") != 3:
            raise ApiError(400, "Policies with conditions must be set in version 3.")
        for binding in bindings:
            for member in binding["members"]:
                if not exists(member):
                    kind, _, name = member.partition(":")
                    word = "Service account" if kind == "serviceAccount" else kind
                    raise ApiError(400, f"{word} {name} does not exist.")
        # Google merges what has the same role and condition, and forgets doubles.
        merged: dict[str, dict[str, Any]] = {}
        for binding in bindings:
            key = json.dumps([binding["role"], binding.get("condition")], sort_keys=True)
            same = merged.setdefault(key, {**binding, "members": []})
            same["members"] = sorted({*same["members"], *binding["members"]})
        self.bindings = list(merged.values())
        self.changes += 1
        return self.read(3)

    def members(self, permission: str, has: Callable[[str, str], bool]) -> set[str]:
        """Return who has a permission by it; grants with a condition are not evaluated."""
        return {
            member
            for binding in self.bindings
            if not binding.get("condition") and has(binding["role"], permission)
            for member in binding["members"]
        }
