"""What every resource of the list in resources.py can do; and what looking at it tells."""

import re
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum
from typing import Any

from delivery.errors import MisuseError
from delivery.gitlab import GitLab, GitLabError, project_path
from delivery.google.connect.cloud import FORBIDDEN, NOT_FOUND, Cloud
from delivery.google.connect.wish import Wish
from delivery.google.rest import ApiError


class State(Enum):
    """How a resource stands to what is wanted, as the table says it."""

    THERE = "there"
    MISSING = "to create"
    DIFFERS = "differs"
    BLOCKED = "blocked"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Look:
    """What a look at a resource found."""

    state: State
    detail: str = ""  # what is lacking, what differs, or what blocks
    then: str = ""  # who can change that, and how
    foreign: bool = False  # it differs, and was not made here

    @property
    def to_do(self) -> bool:
        """Whether connect has something to do about it."""
        return self.state in {State.MISSING, State.DIFFERS}


THERE = Look(State.THERE)
MISSING = Look(State.MISSING)


class Context:
    """What several resources need to know of the two projects, each asked for once."""

    def __init__(self, wish: Wish, cloud: Cloud, gitlab: GitLab | None, pool: Executor) -> None:
        self.wish = wish
        self.cloud = cloud
        self.gitlab = gitlab
        self.path = f"v1/projects/{wish.project}"
        self._project = pool.submit(self._find_project)
        self._app = pool.submit(self._find_app)
        self._gitlab_project = pool.submit(self._find_gitlab_project)
        self._gitlab_version = pool.submit(self._ask_gitlab_version)
        self._variables = pool.submit(self._list_variables)
        self._account = pool.submit(self._find_deployer)

    @property
    def project(self) -> dict[str, Any]:
        """The Google Cloud project."""
        return self._project.result()

    @property
    def number(self) -> str:
        """The Google Cloud project's number."""
        return str(self.project["projectNumber"])

    @property
    def app(self) -> dict[str, Any] | None:
        """The App Engine application."""
        return self._app.result()

    @property
    def runtime(self) -> str:
        """The account that the application runs as, and its builds."""
        name = self.wish.project.rpartition(":")[2]
        return str((self.app or {}).get("serviceAccount", f"{name}@appspot.gserviceaccount.com"))

    @property
    def gitlab_project(self) -> dict[str, Any]:
        """The project in GitLab."""
        return self._gitlab_project.result()

    @property
    def gitlab_version(self) -> str:
        """The version of GitLab, such as 18.5.0-ee."""
        return self._gitlab_version.result()

    @property
    def variables(self) -> list[dict[str, Any]]:
        """The variables of the project in GitLab."""
        return self._variables.result()

    @property
    def deployer(self) -> dict[str, Any] | None:
        """The account that delivers, if there is one; its description has our mark."""
        return self._account.result()

    @property
    def principals(self) -> str:
        """The prefix of those whom the pool lets in."""
        return (
            f"principalSet://iam.googleapis.com/projects/{self.number}"
            "/locations/global/workloadIdentityPools/gitlab"
        )

    def refresh(self) -> None:
        """Look at the application again, after it was created."""
        self._app = Future()
        self._app.set_result(self._find_app())

    def forget(self) -> None:
        """Look at the account again, after it was created."""
        self._account = Future()
        self._account.set_result(self._find_deployer())

    def _find_project(self) -> dict[str, Any]:
        project = self.wish.project
        try:
            found = dict(self.cloud.request("GET", "cloudresourcemanager", self.path))
        except ApiError as error:
            if error.status not in {FORBIDDEN, NOT_FOUND}:
                raise
            raise MisuseError(
                f"there is no Google Cloud project {project}, or this account may not see it",
                why=error.message,
                then=f"look: gcloud projects list; or make one: gcloud projects create {project}",
            ) from error
        if found.get("lifecycleState", "ACTIVE") != "ACTIVE":
            raise MisuseError(
                f"the Google Cloud project {project} is being deleted",
                then=f"gcloud projects undelete {project}, or take another one",
            )
        return found

    def _find_app(self) -> dict[str, Any] | None:
        return self.cloud.find("appengine", f"v1/apps/{self.wish.project}")

    def _find_deployer(self) -> dict[str, Any] | None:
        return self.cloud.find("iam", f"{self.path}/serviceAccounts/{self.wish.deployer}")

    def _find_gitlab_project(self) -> dict[str, Any]:
        if self.gitlab is None:
            return {}
        path = self.wish.gitlab_project
        try:
            return dict(self.gitlab.get(project_path(path), f"looking at {path}"))
        except GitLabError as error:
            if error.status == NOT_FOUND:
                raise MisuseError(
                    f"there is no project {path} on {self.gitlab.url}, or the token may not see it",
                    then="its address has its path, GROUP/NAME; the token's owner must be a member",
                ) from error
            raise explained(error) from error

    def _ask_gitlab_version(self) -> str:
        if self.gitlab is None:
            return ""
        return str(self.gitlab.get("version", "asking its version")["version"])

    def _list_variables(self) -> list[dict[str, Any]]:
        if self.gitlab is None:
            return []
        path = f"{project_path(self.wish.gitlab_project)}/variables"
        return self.gitlab.list(path, "looking at the variables")


def numbers(version: str) -> tuple[int, ...]:
    """Return major and minor version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def explained(error: GitLabError) -> GitLabError:
    """Say what to do about a GitLab error that a token causes."""
    if error.status == 401:
        error.then = (
            "it is wrong, or has expired: make one with the scope api, and set GITLAB_TOKEN"
        )
    elif "insufficient_scope" in error.message:
        error.then = "the token lacks the scope api: make one that has it, and set GITLAB_TOKEN"
    elif error.status == FORBIDDEN:
        error.then = (
            "the token's owner must be Maintainer of the project: its owner can change that"
        )
    return error


@dataclass
class Resource:
    """One thing that must be there; a subclass per kind."""

    name: str
    purpose: str
    context: Context
    permissions: tuple[str, ...] = ()  # that making it needs, on the Google Cloud project
    role: str = ""  # one that has them
    stays: str = ""  # why undo leaves it

    @property
    def asks_gitlab(self) -> bool:
        """Whether it cannot be looked at without GitLab."""
        return False

    def look(self) -> Look:
        """Compare what there is with what is wanted."""
        raise NotImplementedError

    def create(self) -> None:
        """Make it, or make it right; again after a failure, too."""
        raise NotImplementedError

    def made(self) -> bool:
        """Whether it was made here, so that undo may remove it."""
        return False

    def remove(self) -> None:
        """Undo what was made here."""

    def commands(self) -> list[str]:
        """Return what a person would type instead."""
        return []

    @property
    def wish(self) -> Wish:
        """What was asked for."""
        return self.context.wish

    @property
    def cloud(self) -> Cloud:
        """Google's APIs."""
        return self.context.cloud
