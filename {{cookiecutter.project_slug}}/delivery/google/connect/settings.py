"""Resources in GitLab: what the project must be like, and the variables of its pipelines."""

import base64
import fnmatch
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from delivery.gitlab import GitLab, GitLabError, project_path
from delivery.google.connect.project import forbidden_by
from delivery.google.connect.resource import (
    MISSING,
    THERE,
    Look,
    Resource,
    State,
    explained,
    numbers,
)
from delivery.google.connect.wish import MARK, POOL, PROVIDER

# Before, a fork's merge request had the project_id of its target: see Provider.condition.
OLDEST = (18, 2)
MAINTAINER = 40


@dataclass
class Setting(Resource):
    """A resource in GitLab."""

    @property
    def asks_gitlab(self) -> bool:
        """It is in GitLab."""
        return True

    @property
    def gitlab(self) -> GitLab:
        """The client; doctor leaves GitLab's resources out where there is no token."""
        assert self.context.gitlab is not None  # noqa: S101
        return self.context.gitlab

    @property
    def path(self) -> str:
        """The project's path in the API."""
        return project_path(self.wish.gitlab_project)


class Project(Setting):
    """GitLab's version, the token's scope, and its owner's role."""

    def look(self) -> Look:
        """Name what stands in the way."""
        try:
            version = self.context.gitlab_version
            project = self.context.gitlab_project
            scopes = self._scopes()
        except GitLabError as error:
            explained(error)
            return Look(State.BLOCKED, error.why, error.then or "look at the address and the token")
        if not self.wish.with_key and numbers(version) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            return Look(
                State.BLOCKED,
                f"this GitLab is {version}; its tokens tell forks apart only from {oldest} on",
                "its administrator can update it; or use a key: connect --with-key",
            )
        if scopes is not None and "api" not in scopes:
            return Look(
                State.BLOCKED,
                f"the token has the scope {' '.join(scopes) or 'none'}, not api",
                f"make one: {self.gitlab.url}/-/user_settings/personal_access_tokens?scopes=api",
            )
        access = [
            (each or {}).get("access_level", 0) for each in project.get("permissions", {}).values()
        ]
        if any(access) and max(access) < MAINTAINER:
            return Look(
                State.BLOCKED,
                "the token's owner is not Maintainer of the project",
                f"an owner of the project: {project.get('web_url', '')}/-/project_members",
            )
        if project.get("archived"):
            return Look(State.BLOCKED, "the project is archived", "an owner can unarchive it")
        return Look(State.THERE, f"number {project['id']}, GitLab {version}")

    def _scopes(self) -> list[str] | None:
        """Return the token's scopes; None for a token that cannot be asked, such as OAuth's."""
        try:
            return list(
                self.gitlab.get("personal_access_tokens/self", "asking its scope")["scopes"]
            )
        except GitLabError as error:
            if "insufficient_scope" in error.message:
                raise
            return None


class Branch(Setting):
    """The default branch, protected: only then do its jobs get protected variables."""

    def look(self) -> Look:
        """Look for a rule that covers it; GitLab itself protects the first branch of a project."""
        branch = self.context.gitlab_project.get("default_branch")
        if not branch:
            return Look(State.THERE, "GitLab protects it at the first push")
        rules = self.gitlab.list(f"{self.path}/protected_branches", "looking at its branches")
        if any(fnmatch.fnmatchcase(branch, rule["name"]) for rule in rules):
            return Look(State.THERE, branch)
        return Look(State.MISSING, branch)

    def create(self) -> None:
        """Protect it: maintainers push and merge."""
        body = {
            "name": self.context.gitlab_project["default_branch"],
            "push_access_level": MAINTAINER,
            "merge_access_level": MAINTAINER,
        }
        self.gitlab.send("POST", f"{self.path}/protected_branches", "protecting the branch", body)

    def commands(self) -> list[str]:
        """Return a call of the API."""
        return [f"glab api --method POST {self.path}/protected_branches --field name=BRANCH"]


@dataclass
class Variable(Setting):
    """A CI/CD variable, with its flags."""

    key: str = ""
    scope: str = "*"
    protected: bool = True
    masked: bool = False

    def value(self) -> str:
        """Return what it should be."""
        if self.key == "GCP_WORKLOAD_IDENTITY_PROVIDER":
            pool = f"projects/{self.context.number}/locations/global/workloadIdentityPools/{POOL}"
            return f"{pool}/providers/{PROVIDER}"
        if self.key == "GCP_SERVICE_ACCOUNT":
            return self.wish.deployer if self.scope == "*" else self.wish.reviewer
        return {"GAE_PROJECT": self.wish.project, "REVIEW_APPS": "true"}[self.key]

    def _wanted(self) -> dict[str, Any]:
        return {
            "value": self.value(),
            "protected": self.protected,
            "masked": self.masked,
            "raw": True,  # a $ in it is no other variable
            "variable_type": "env_var",
        }

    def _find(self, *, fresh: bool = False) -> dict[str, Any] | None:
        rows = self.context.variables
        if fresh:
            rows = self.gitlab.list(f"{self.path}/variables", "looking at the variables")
        for row in rows:
            if row["key"] == self.key and row.get("environment_scope", "*") == self.scope:
                return dict(row)
        return None

    def look(self) -> Look:
        """Compare value and flags."""
        found = self._find()
        if found is None:
            return MISSING
        secret = self.masked or found.get("masked") or found.get("hidden")
        lines = [
            f"{name}: is {'secret' if secret and name == 'value' else found.get(name)!r}"
            + ("" if self.masked else f", not {value!r}")
            for name, value in self._wanted().items()
            if found.get(name, value) != value
        ]
        if not lines:
            return THERE
        foreign = MARK not in (found.get("description") or "")
        return Look(State.DIFFERS, "\n".join(lines), foreign=foreign)

    def create(self) -> None:
        """Set it; an answer that was lost may have set it already."""
        body = self._wanted() | {"description": MARK}
        if self._find(fresh=True) is None:
            place = {"key": self.key, "environment_scope": self.scope}
            try:
                self.gitlab.send(
                    "POST", f"{self.path}/variables", f"setting {self.key}", body | place
                )
            except GitLabError as error:
                if "already been taken" not in error.message:
                    raise explained(error) from error
            else:
                return
        self.gitlab.send("PUT", self._address, f"setting {self.key}", body)

    @property
    def _address(self) -> str:
        # Without the scope, a key that has several is a 409.
        scope = urlencode({"filter[environment_scope]": self.scope})
        return f"{self.path}/variables/{self.key}?{scope}"

    def made(self) -> bool:
        """Look for the mark."""
        return MARK in ((self._find() or {}).get("description") or "")

    def remove(self) -> None:
        """Delete it; gone already is no error."""
        if self._find(fresh=True) is not None:
            self.gitlab.send("DELETE", self._address, f"deleting {self.key}")

    def commands(self) -> list[str]:
        """Return glab's command."""
        flags = " --protected" * self.protected + " --masked" * self.masked
        return [
            f"glab variable set {self.key} '{self.value()}' --raw --scope '{self.scope}'{flags}"
        ]


class KeyVariable(Variable):
    """A key of the deployer, straight from Google into GitLab: it never touches a disk."""

    def look(self) -> Look:
        """See whose key it is; a hidden one cannot be seen, and is trusted."""
        found = self._find()
        if found is None:
            return forbidden_by(self, "iam.disableServiceAccountKeyCreation") or MISSING
        if found.get("hidden") or (self._key(found).get("client_email") == self.wish.deployer):
            weak = [flag for flag in ("protected", "masked") if not found.get(flag)]
            if not weak:
                return THERE
            return Look(State.DIFFERS, f"it is not {' and not '.join(weak)}")
        foreign = MARK not in (found.get("description") or "")
        return Look(State.DIFFERS, "it is not a key of the deployer", foreign=foreign)

    def _key(self, found: dict[str, Any]) -> dict[str, Any]:
        try:
            key = json.loads(found.get("value") or "")
        except ValueError:
            return {}
        return key if isinstance(key, dict) else {}

    def value(self) -> str:
        """Make a key. GitLab masks only what has no space, so JSON writes it in another way."""
        found = self._find(fresh=True) or {}
        if self._key(found).get("client_email") == self.wish.deployer:
            return str(found["value"])  # only its flags were wrong
        path = f"{self.context.path}/serviceAccounts/{self.wish.deployer}/keys"
        made = self.cloud.later(
            lambda: self.cloud.request("POST", "iam", path, body={}, retry=False),
            lambda error: error.status == 404,
            "the account is new",
        )
        key = json.loads(base64.b64decode(made["privateKeyData"]))
        return json.dumps(key, separators=(",", ":")).replace(" ", "\\u0020")

    def remove(self) -> None:
        """Delete the key, then the variable."""
        number = self._key(self._find() or {}).get("private_key_id")
        if number and self.context.deployer is not None:
            path = f"{self.context.path}/serviceAccounts/{self.wish.deployer}/keys/{number}"
            self.cloud.change("DELETE", "iam", path, "deleting the key")
        super().remove()

    def commands(self) -> list[str]:
        """Return gcloud's command, and where its file goes."""
        create = (
            f"gcloud iam service-accounts keys create key.json --iam-account={self.wish.deployer}"
        )
        return [create, "glab variable set GAE_KEY --type file --protected < key.json; rm key.json"]
