"""The project in GitLab: which it is, what it must be like, and the variables of its pipelines."""

import argparse
import fnmatch
import getpass
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from delivery.connect.gitlab import NOT_FOUND, GitLab, GitLabError, Place, place, project_path
from delivery.connect.once import Once
from delivery.connect.resource import MARK, MISSING, THERE, Look, Resource, State
from delivery.errors import CommandError, DeliveryError, MisuseError
from delivery.process import Runner

URL = "https://gitlab.com"
MAINTAINER = 40


class Project:
    """A project in GitLab, asked with the token of a person."""

    def __init__(self, api: GitLab, project: str) -> None:
        self.api = api
        self.url = api.url
        self.path = project_path(project)
        self._project = project
        self.about = Once(self._about)
        self.version = Once(lambda: str(api.get("version", "asking its version")["version"]))
        self.variables = Once(self.list_variables)

    def _about(self) -> dict[str, Any]:
        try:
            return dict(self.api.get(self.path, f"looking at {self._project}"))
        except GitLabError as error:
            if error.status != NOT_FOUND:
                raise
            raise MisuseError(
                f"there is no project {self._project} on {self.url}, or the token may not see it",
                then="its address has its path, GROUP/NAME; the token's owner must be a member",
            ) from error

    def list_variables(self) -> list[dict[str, Any]]:
        """Return the project's variables, as they are now."""
        return self.api.list(f"{self.path}/variables", "looking at the variables")

    def is_at_least(self, *version: int) -> bool:
        """Whether this GitLab has a version, such as 18, 4, or a newer one."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version())[:2]) >= version


def find(runner: Runner, options: argparse.Namespace, *, ask: bool) -> Project | None:
    """Return the project of the options, the git remote or a person; without `ask`, maybe none."""
    where = _place(runner, options, ask=ask)
    if where is None:
        return None
    options.gitlab_project = where.project
    options.gitlab_url = "" if where.url == URL else where.url
    token = _token(runner, where.url, ask=ask)
    if not token:
        return None
    api = GitLab(where.url, token, clock=runner.clock, sleep=runner.sleep)
    return Project(api, where.project)


def _place(runner: Runner, options: argparse.Namespace, *, ask: bool) -> Place | None:
    known = place(_printed(runner, "git", "remote", "get-url", "origin"))
    url = (options.gitlab_url or (known.url if known else URL)).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise MisuseError("--gitlab-url is no address", then="its form is https://HOST")
    project = options.gitlab_project or (known.project if known else "")
    if not project and ask and sys.stdin.isatty():
        project = runner.console.ask(f"Project on {url}, as GROUP/NAME")
    project = project.strip().removeprefix(f"{url}/").strip("/").removesuffix(".git")
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+", project):
        return Place(url, project)
    if project or ask:
        raise MisuseError(
            f"{project!r} names no project in GitLab" if project else "no GitLab project is known",
            then="--gitlab-project GROUP/NAME, or: git remote add origin ADDRESS",
        )
    return None


def _token(runner: Runner, url: str, *, ask: bool) -> str:
    """Return a token: GITLAB_TOKEN, glab's, or what is typed, unseen."""
    host = urlsplit(url).netloc
    token = runner.environ.get("GITLAB_TOKEN", "").strip()
    token = token or _printed(runner, "glab", "config", "get", "token", "--host", host)
    if not token and ask and sys.stdin.isatty():
        token = getpass.getpass(f"Token for {host} (scope api; it is not shown): ").strip()
    if not token and ask:
        raise MisuseError(
            "there is no GitLab token",
            then="set GITLAB_TOKEN, or: glab auth login\nmake one with the scope api: "
            f"{url}/-/user_settings/personal_access_tokens?scopes=api",
        )
    return token


def _printed(runner: Runner, *argv: str) -> str:
    """Return what a program printed; nothing if it failed, or is not here."""
    try:
        return runner.read(argv, doing=f"asking {argv[0]}", timeout=10, quiet=True).strip()
    except (CommandError, MisuseError):
        return ""


def known(project: Project | None) -> Project:
    """Return the project; where there is none, what needs it was left out (needs_gitlab)."""
    assert project is not None  # noqa: S101
    return project


@dataclass(kw_only=True)
class InGitLab(Resource):
    """A resource in GitLab."""

    project: Project | None
    needs_gitlab: bool = True

    @property
    def gitlab(self) -> Project:
        """The project."""
        return known(self.project)


@dataclass(kw_only=True)
class Rights(InGitLab):
    """GitLab's version, the token's scope, and its owner's role."""

    oldest: tuple[int, ...] = ()
    why_oldest: str = ""  # what an older GitLab lacks
    otherwise: str = ""  # what else to do about it

    def look(self) -> Look:
        """Name what stands in the way."""
        about, scopes = self.gitlab.about(), self._scopes()
        if not self.gitlab.is_at_least(*self.oldest):
            return Look(
                State.BLOCKED,
                f"this GitLab is {self.gitlab.version()}; {self.why_oldest}",
                f"its administrator can update it{self.otherwise}",
            )
        if scopes is not None and "api" not in scopes:
            return Look(
                State.BLOCKED,
                f"the token has the scope {' '.join(scopes) or 'none'}, not api",
                f"make one: {self.gitlab.url}/-/user_settings/personal_access_tokens?scopes=api",
            )
        roles = [(each or {}).get("access_level", 0) for each in about["permissions"].values()]
        if any(roles) and max(roles) < MAINTAINER:
            return Look(
                State.BLOCKED,
                "the token's owner is not Maintainer of the project",
                f"an owner of the project: {about.get('web_url', '')}/-/project_members",
            )
        if about.get("archived"):
            return Look(State.BLOCKED, "the project is archived", "an owner can unarchive it")
        return Look(State.THERE, f"number {about['id']}, GitLab {self.gitlab.version()}")

    def _scopes(self) -> list[str] | None:
        """Return the token's scopes; None for a token that cannot be asked, such as OAuth's."""
        try:
            token = self.gitlab.api.get("personal_access_tokens/self", "asking its scope")
        except GitLabError as error:
            if "insufficient_scope" in error.why:
                raise
            return None
        return list(token["scopes"])


@dataclass(kw_only=True)
class Branch(InGitLab):
    """The default branch, protected: only then do its jobs get protected variables."""

    def look(self) -> Look:
        """Look for a rule that covers it; GitLab itself protects the first branch of a project."""
        branch = self.gitlab.about().get("default_branch")
        if not branch:
            return Look(State.THERE, "GitLab protects it at the first push")
        rules = self.gitlab.api.list(self._path, "looking at its branches")
        protected = any(fnmatch.fnmatchcase(branch, rule["name"]) for rule in rules)
        return Look(State.THERE if protected else State.MISSING, branch)

    @property
    def _path(self) -> str:
        return f"{self.gitlab.path}/protected_branches"

    def _body(self) -> dict[str, Any]:
        return {
            "name": self.gitlab.about()["default_branch"],
            "push_access_level": MAINTAINER,
            "merge_access_level": MAINTAINER,
        }

    def create(self) -> None:
        """Protect it: maintainers push and merge."""
        self.gitlab.api.send("POST", self._path, "protecting the branch", self._body())

    def commands(self) -> list[str]:
        """Return a call of the API."""
        fields = " ".join(f"--field {name}={value}" for name, value in self._body().items())
        return [f"glab api --method POST {self._path} {fields}"]


@dataclass(kw_only=True)
class Variable(InGitLab):
    """A CI/CD variable, with its flags. A masked one is a secret: its value is never shown."""

    key: str
    value: Callable[[], str]
    scope: str = "*"
    protected: bool = True
    masked: bool = False
    file: bool = False  # its jobs get the path of a file

    @classmethod
    def of(
        cls,
        project: Project | None,
        key: str,
        purpose: str,
        value: Callable[[], str],
        scope: str = "*",
        **more: Any,
    ) -> Self:
        """Return the variable of this name, and scope."""
        name = f"variable {key}{f' ({scope})' * (scope != '*')}"
        return cls(name, purpose, project=project, key=key, value=value, scope=scope, **more)

    def flags(self) -> dict[str, Any]:
        """Return what it should be like."""
        return {
            "protected": self.protected,
            "masked": self.masked,
            "raw": True,  # a $ in it is no other variable
            "variable_type": "file" if self.file else "env_var",
        }

    def difference(self, found: dict[str, Any]) -> str:
        """Return how a value differs from what is wanted; a hidden one reads as None."""
        wanted, now = self.value(), found.get("value")
        if now in {wanted, None}:
            return ""
        secret = self.masked or found.get("masked")
        return "another value" if secret else f"value: is {now!r}, not {wanted!r}"

    def look(self) -> Look:
        """Compare value and flags."""
        found = self.find()
        if found is None:
            return MISSING
        lines = [
            f"{name}: is {found[name]!r}, not {value!r}"
            for name, value in self.flags().items()
            if found.get(name, value) != value
        ]
        lines += filter(None, [self.difference(found)])
        foreign = MARK not in (found.get("description") or "")
        return Look(State.DIFFERS, "\n".join(lines), foreign=foreign) if lines else THERE

    def find(self, *, fresh: bool = False) -> dict[str, Any] | None:
        """Return the variable as GitLab has it."""
        rows = self.gitlab.list_variables() if fresh else self.gitlab.variables()
        for row in rows:
            if row["key"] == self.key and row.get("environment_scope", "*") == self.scope:
                return dict(row)
        return None

    def create(self) -> None:
        """Set it; an answer that was lost may have set it already."""
        doing = f"setting {self.key}"
        body = self.flags() | {"value": self.value(), "description": MARK}
        if self.find(fresh=True) is None:
            place = {"key": self.key, "environment_scope": self.scope}
            try:
                self.gitlab.api.send("POST", f"{self.gitlab.path}/variables", doing, body | place)
            except GitLabError as error:
                if "already been taken" not in error.why:
                    raise
            else:
                return
        self.gitlab.api.send("PUT", self._address, doing, body)

    @property
    def _address(self) -> str:
        # Without the scope, a key that has several is a 409.
        scope = urlencode({"filter[environment_scope]": self.scope})
        return f"{self.gitlab.path}/variables/{self.key}?{scope}"

    def made(self) -> bool:
        """Look for the mark."""
        return MARK in ((self.find() or {}).get("description") or "")

    def remove(self) -> None:
        """Delete it; gone already is no error."""
        if self.find(fresh=True) is not None:
            self.gitlab.api.send("DELETE", self._address, f"deleting {self.key}")

    def commands(self) -> list[str]:
        """Return glab's command; a secret comes from a file."""
        flags = " --protected" * self.protected + " --masked" * self.masked
        flags += " --type file" * self.file
        value = f"< {self.key}; rm {self.key}" if self.masked else f"'{self.value()}'"
        return [f"glab variable set {self.key} --raw --scope '{self.scope}'{flags} {value}"]


def runners(gitlab: Project) -> tuple[bool, str, str]:
    """Return whether a job can start, why not, and where that is set."""
    path = f"{gitlab.path}/runners?{urlencode({'status': 'online'})}"
    try:
        found = gitlab.api.get(path, "looking at its runners")
    except GitLabError as error:
        return False, error.why, error.then
    if any(not each.get("paused") for each in found):
        return True, f"{len(found)} online", ""
    then = f"{gitlab.about().get('web_url', '')}/-/settings/ci_cd#js-runners-settings"
    return False, "none is online, so no job can start", then


def values_of(project: Project | None) -> dict[tuple[str, str], Any]:
    """Return the variables by name and scope; none if they cannot be read, as a look will say."""
    try:
        rows = project.variables() if project else []
    except DeliveryError:
        return {}
    return {(row["key"], row.get("environment_scope", "*")): row.get("value") for row in rows}
