"""The verb doctor: says of each thing that deliveries need whether it is there, and what to type.

On a laptop it looks at the same list as connect, with the eyes of the person. In a job it sees what
the deploying account sees: whether it has what a delivery needs.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from delivery.errors import CommandError, DeliveryError
from delivery.gitlab import GitLabError, project_path
from delivery.google import login
from delivery.google.connect.cloud import Cloud
from delivery.google.connect.plan import plan
from delivery.google.connect.resource import Context, State, explained
from delivery.google.connect.resources import everything
from delivery.google.connect.start import begin
from delivery.google.rest import ApiError, Rest
from delivery.process import Runner

LATE = """\
after a fresh connect: not yet, IAM takes up to seven minutes; otherwise, on a laptop:
python -m delivery connect"""
# What shows that a role is held: https://cloud.google.com/iam/docs/roles-permissions
ON_PROJECT = {
    "appengine.versions.create": "roles/appengine.deployer",
    "appengine.services.update": "roles/appengine.serviceAdmin",
    "cloudbuild.builds.create": "roles/cloudbuild.builds.editor",
    "artifactregistry.repositories.get": "roles/artifactregistry.reader",
    "logging.logEntries.list": "roles/logging.viewer",
}
ON_STAGING = {
    "storage.objects.create": "roles/storage.objectAdmin",
    "storage.buckets.get": "roles/storage.legacyBucketReader",
}
ON_RECORD = {"storage.objects.create": "roles/storage.objectAdmin"}
ACT_AS = {"iam.serviceAccounts.actAs": "roles/iam.serviceAccountUser"}


@dataclass(frozen=True)
class Finding:
    """A line of the report."""

    fine: bool
    name: str
    detail: str = ""
    then: str = ""

    def __str__(self) -> str:
        """Return the line, and below it what to type."""
        lines = [f"{'ok' if self.fine else 'NO':<4}{self.name}{': ' * bool(self.detail)}"]
        first, *rest = self.detail.splitlines() or [""]
        lines[0] += first
        lines += [f"      {line}" for line in rest]
        lines += [f"    > {line}" for line in self.then.splitlines()]
        return "\n".join(lines)


def doctor(runner: Runner, options: argparse.Namespace) -> str:
    """Report, and fail if something is wrong."""
    looks = _in_a_job if runner.environ.get("CI") else _on_a_laptop
    wrong = 0
    for finding in looks(runner, options):
        runner.console.result(str(finding))
        wrong += not finding.fine
    if wrong:
        raise DeliveryError(
            f"{wrong} not as it should be", then="see above, then: python -m delivery doctor"
        )
    return "All is well."


def _on_a_laptop(runner: Runner, options: argparse.Namespace) -> Iterator[Finding]:
    with begin(runner, options, ask=False) as (context, pool):
        if context.gitlab is not None:
            try:
                keys = {
                    (row["key"], row.get("environment_scope", "*")) for row in context.variables
                }
            except GitLabError:
                keys = set()  # said below, as what is in the way of looking at them
            names = {key for key, _ in keys}
            context.wish = replace(
                context.wish,
                with_key="GAE_KEY" in names and "GCP_SERVICE_ACCOUNT" not in names,
                reviews=("GCP_SERVICE_ACCOUNT", "review/*") in keys,
            )
        resources = [
            each
            for each in everything(context)
            if context.gitlab is not None or not each.asks_gitlab
        ]
        for row in plan(context, resources, pool):
            fine = row.look.state in {State.THERE, State.UNKNOWN}
            then = row.look.then or context.wish.again()
            detail = row.look.detail if fine else f"{row.look.state.value}: {row.look.detail}"
            yield Finding(fine, row.resource.name, detail.rstrip(": "), "" if fine else then)
        if context.gitlab is None:
            yield Finding(True, "GitLab", "not looked at: set GITLAB_TOKEN, or: glab auth login")
        else:
            yield _runner_online(context)
        yield from _newest_failed_build(context)


def _runner_online(context: Context) -> Finding:
    name = "GitLab runner"
    assert context.gitlab is not None  # noqa: S101
    path = f"{project_path(context.wish.gitlab_project)}/runners?{urlencode({'status': 'online'})}"
    try:
        runners = context.gitlab.get(path, "looking at its runners")
    except GitLabError as error:
        explained(error)
        return Finding(False, name, error.why, error.then)
    if any(not each.get("paused") for each in runners):
        return Finding(True, name, f"{len(runners)} online")
    then = f"{context.gitlab_project.get('web_url', '')}/-/settings/ci_cd#js-runners-settings"
    return Finding(False, name, "none is online, so no job can start", then)


def _newest_failed_build(context: Context) -> Iterator[Finding]:
    """Which account builds varies between projects: a failed build names it."""
    query = {"pageSize": "1", "filter": 'status="FAILURE" OR status="INTERNAL_ERROR"'}
    try:
        found = context.cloud.find("cloudbuild", f"{context.path}/builds", query=query) or {}
    except ApiError as error:
        yield Finding(True, "newest failed build", f"not looked at: {error.message}")
        return
    for build in found.get("builds", []):
        account = str(build.get("serviceAccount", "")).rpartition("/")[2]
        why = build.get("failureInfo", {}).get("detail") or build.get("statusDetail", "")
        detail = (
            f"{build.get('createTime', '')} as {account or 'an account it does not name'} {why}"
        )
        other = account not in {"", context.runtime}
        then = (
            f"it builds as {account}, which needs the roles of {context.runtime}:\n"
            "see the table of python -m delivery connect --print"
        )
        yield Finding(not other, "newest failed build", detail.strip(), then if other else "")


def _in_a_job(runner: Runner, _: argparse.Namespace) -> Iterator[Finding]:
    """See what the deploying account may do; it may not read policies, but can ask for itself."""
    environ = login.login(runner.environ, runner.private, runner.console)
    yield Finding(True, "variables", "those of the login are set")
    project = login.project(runner.environ)
    account = login.Account(runner, environ)
    try:
        token = account.token()
    except CommandError as error:
        yield Finding(False, "login", error.why or error.what, LATE)
        return
    yield Finding(True, "login")
    api = Rest(lambda: token, runner.environ, clock=runner.clock, sleep=runner.sleep)
    cloud = Cloud(api, runner.console, runner.clock, runner.sleep)

    def held_on(path: str, service: str) -> Callable[[Sequence[str]], Any]:
        def ask(permissions: Sequence[str]) -> Any:
            body = {"permissions": list(permissions)}
            return cloud.request("POST", service, f"{path}:testIamPermissions", body=body)

        return ask

    def held_in(bucket: str) -> Callable[[Sequence[str]], Any]:
        def ask(permissions: Sequence[str]) -> Any:
            query = urlencode([("permissions", each) for each in permissions])
            return cloud.request("GET", "storage", f"b/{bucket}/iam/testPermissions?{query}")

        return ask

    path = f"v1/projects/{project}"
    yield from _held("the project", held_on(path, "cloudresourcemanager"), ON_PROJECT)
    try:
        app = cloud.request("GET", "appengine", f"v1/apps/{project}")
    except ApiError as error:
        yield Finding(False, "App Engine application", error.message, LATE)
        return
    yield Finding(True, "App Engine application", f"in {app.get('locationId', '')}")
    runtime = app.get("serviceAccount", f"{project}@appspot.gserviceaccount.com")
    yield from _held(runtime, held_on(f"{path}/serviceAccounts/{runtime}", "iam"), ACT_AS)
    yield from _held("the staging bucket", held_in(app.get("codeBucket", "")), ON_STAGING)
    yield from _held("the default bucket", held_in(app.get("defaultBucket", "")), ON_RECORD)


def _held(
    where: str, ask: Callable[[Sequence[str]], Any], wanted: dict[str, str]
) -> Iterable[Finding]:
    try:
        held = set(ask(list(wanted)).get("permissions", []))
    except ApiError as error:
        return [Finding(False, f"roles on {where}", error.message, LATE)]
    return [
        Finding(permission in held, f"{role} on {where}", "", "" if permission in held else LATE)
        for permission, role in wanted.items()
    ]
