"""A Google Cloud project that GitLab delivers to: who it is, and what its resources share."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from delivery.connect.connection import Connection, Finding, Options
from delivery.connect.once import Once
from delivery.connect.project import values_of
from delivery.errors import CommandError, MisuseError
from delivery.google import login
from delivery.google.connect import policies
from delivery.google.connect.cloud import FORBIDDEN, NOT_FOUND, Cloud
from delivery.google.connect.policies import Grant, Policy, account
from delivery.google.rest import ApiError, Rest
from delivery.process import Runner

# A person connects, with the rights of a person: not with those of the account that delivers.
_DELIVERS = ("GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT", "GITLAB_OIDC_TOKEN", "CI")
LATE = """\
after a fresh connect: not yet, IAM takes minutes, sometimes over seven; otherwise, on a laptop:
python -m delivery connect"""


@dataclass(frozen=True)
class Role:
    """A role that deliveries need: on what, which accounts have it, and what shows that they do.

    connect grants what a table of these says, and doctor asks for it in a job.
    """

    on: str
    who: Sequence[str]
    role: str
    shows: str = ""  # a permission; https://cloud.google.com/iam/docs/roles-permissions


class Google(Connection):
    """A Google Cloud project; a subclass per product of Google adds its list."""

    WHERE = "Google Cloud"
    PLACES: ClassVar[Options] = {"--project": {"metavar": "ID", "help": "the Google Cloud project"}}
    CHOICES: ClassVar[Options] = {
        "--with-key": {"action": "store_true", "help": "a service account's key, not keyless"},
        "--reviews": {"action": "store_true", "help": "review apps, too; keyless only"},
    }
    NEXT = """\
Google's permissions take some minutes to be known everywhere, sometimes seven or more.
next: git push --set-upstream origin main
      python -m delivery doctor, if a job fails"""
    REMOVED = """\
Removed. The names of the pool and its provider stay reserved for 30 days;
connect brings them back."""
    NAMES: ClassVar[login.Names]
    ROLES: ClassVar[Sequence[Role]] = ()
    """What the accounts need; those of `who` are deployer, reviewer, and what `emails` adds."""
    ACCESS: ClassVar[Mapping[str, tuple[str, Mapping[str, Any]]]] = {}
    """The places of ROLES: what for, and what granting there needs."""

    def __init__(self, runner: Runner, options: argparse.Namespace, *, ask: bool) -> None:
        super().__init__(runner, options, ask=ask)
        if options.with_key and options.reviews:
            raise MisuseError(
                "--with-key and --reviews do not go together",
                why="the key is protected, and merge requests must not get it",
            )
        environ = dict(runner.environ)
        if not self.in_job:
            delivers = {self.NAMES.key, *_DELIVERS}
            environ = {k: v for k, v in environ.items() if k not in delivers}
        self.me = login.Account(
            runner, login.login(environ, runner.private, runner.console, self.NAMES), self.NAMES
        )
        self.project = options.project = self._project(ask=ask)
        if not self.in_job:
            self.me.token()  # one start of gcloud, before many threads ask for it
        api = Rest(self.me.token, runner.environ, clock=runner.clock, sleep=runner.sleep)
        self.cloud = Cloud(api, runner.console, self.project, runner.clock, runner.sleep)
        self.path = f"v1/projects/{self.project}"
        self.keyless, self.keyed = True, False
        self.about = Once(self._about)
        self.deployer_account = Once(
            lambda: self.cloud.find("iam", f"{self.path}/serviceAccounts/{self.deployer}")
        )

    def _project(self, *, ask: bool) -> str:
        """Return the Google Cloud project: the option, the variable, gcloud's, or what is typed."""
        given = self.options.project or self.runner.environ.get(self.NAMES.project, "")
        try:
            return login.project({self.NAMES.project: given}, self.NAMES) or self.me.project()
        except MisuseError:
            if given or not ask or not sys.stdin.isatty():
                raise
        typed = self.runner.console.ask("Id of the Google Cloud project")
        if found := login.project({self.NAMES.project: typed}, self.NAMES):
            return found
        raise MisuseError("no Google Cloud project is chosen", then="--project ID")

    def begin(self) -> None:
        self.cloud.patient = True

    def held(self, permissions: Sequence[str]) -> set[str] | None:
        try:
            return policies.of_project(self.project).held(self.cloud, permissions)
        except ApiError:
            return None

    def choose_login(self, *, undo: bool) -> None:
        """Settle whether the list has what a keyless login needs, and whether it has a key.

        For undo it has all; doctor finds in GitLab's variables what was chosen.
        """
        options = self.options
        if undo:
            options.reviews = True
        elif self.looks_only:
            there = values_of(self.gitlab)
            keyless = ("GCP_SERVICE_ACCOUNT", "*") in there
            options.with_key = (self.NAMES.key, "*") in there and not keyless
            options.reviews = ("GCP_SERVICE_ACCOUNT", "review/*") in there
        self.keyless, self.keyed = undo or not options.with_key, undo or options.with_key

    def settings(self) -> dict[str, tuple[str, Callable[[], str]]]:
        """Return the variables that say where to deliver: what for, and the value."""
        return {self.NAMES.project: ("which Google Cloud project", lambda: self.project)}

    def policy(self, on: str) -> Policy:
        """Return where the policy of a place of ROLES is."""
        raise NotImplementedError

    def findings_in_job(self) -> Iterator[Finding]:
        """Sign in as a delivery does; then `check`."""
        yield Finding(True, "variables", "those of the login are set")
        try:
            self.me.token()
        except CommandError as error:
            yield Finding(False, "login", error.why or error.what, LATE)
            return
        yield Finding(True, "login")
        reviews = self.runner.environ.get("GCP_SERVICE_ACCOUNT", "").startswith("gitlab-reviewer@")
        yield from self.check("reviewer" if reviews else "deployer")

    def check(self, who: str) -> Iterator[Finding]:
        """Ask as an account, which may not read policies, but can ask for itself."""
        raise NotImplementedError

    def check_roles(self, who: str, *places: str) -> Iterator[Finding]:
        """Return whether the caller, who is this account of the table, has its roles there."""
        for on in places:
            rows = [row for row in self.ROLES if row.on == on and who in row.who]
            shown = [row.shows for row in rows]
            try:
                held = self.policy(on).held(self.cloud, shown) if rows else set()
            except CommandError as error:
                yield Finding(False, f"roles on the {on}", error.why, LATE)
                continue
            for row in rows:
                fine = row.shows in held
                yield Finding(fine, f"roles/{row.role} on the {on}", "", LATE * (not fine))

    def grants(self, on: str) -> list[Grant]:
        """Return what the table says for one place."""
        emails = self.emails()
        return [
            Grant(f"roles/{row.role}", account(emails[who]))
            for row in self.ROLES
            if row.on == on
            for who in row.who
            if who != "reviewer" or self.options.reviews
        ]

    def emails(self) -> dict[str, str]:
        """Return the addresses of the accounts in the table."""
        return {"deployer": self.deployer, "reviewer": self.reviewer}

    @property
    def pool(self) -> str:
        """The identity pool's name among all of Google's."""
        number = self.about()["projectNumber"]
        return f"projects/{number}/locations/global/workloadIdentityPools/gitlab"

    @property
    def deployer(self) -> str:
        """The account that delivers."""
        return self._account("gitlab-deployer")

    @property
    def reviewer(self) -> str:
        """The account of review apps, for merge requests: jobs of any branch may use it."""
        return self._account("gitlab-reviewer")

    def _account(self, name: str) -> str:
        domain, _, project = self.project.rpartition(":")  # example.com:project
        return f"{name}@{project}{f'.{domain}' * bool(domain)}.iam.gserviceaccount.com"

    def _about(self) -> dict[str, Any]:
        project = self.project
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
