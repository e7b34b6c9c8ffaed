"""Who has which role, in an IAM policy: plain data in, plain data out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Grant:
    """A role for a member, without a condition."""

    role: str
    member: str


def account(email: str) -> str:
    """Return a service account as a member."""
    return f"serviceAccount:{email}"


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
    """Return the policy with these grants; all else in it, conditions and etag too, as it was."""
    missing = lacking(policy, grants)
    if not missing:
        return policy
    bindings = _copied(policy, without={f"deleted:{grant.member}?uid=" for grant in grants})
    for grant in missing:
        for binding in bindings:
            if binding["role"] == grant.role and not binding.get("condition"):
                binding["members"].append(grant.member)
                break
        else:
            bindings.append({"role": grant.role, "members": [grant.member]})
    return {**policy, "version": 3, "bindings": [each for each in bindings if each["members"]]}


def without_grants(policy: dict[str, Any], grants: Sequence[Grant]) -> dict[str, Any]:
    """Return the policy without these grants."""
    if len(lacking(policy, grants)) == len(grants):
        return policy
    bindings = _copied(policy, without=set())
    for binding in bindings:
        if not binding.get("condition"):
            gone = {grant.member for grant in grants if grant.role == binding["role"]}
            binding["members"] = [each for each in binding["members"] if each not in gone]
    return {**policy, "version": 3, "bindings": [each for each in bindings if each["members"]]}


def _copied(policy: Mapping[str, Any], *, without: set[str]) -> list[dict[str, Any]]:
    """Copy bindings, except for what an account of the same name left when it was deleted."""
    return [
        binding
        | {
            "members": [
                member
                for member in binding.get("members", [])
                if not any(member.startswith(prefix) for prefix in without)
            ]
        }
        for binding in policy.get("bindings", [])
    ]
