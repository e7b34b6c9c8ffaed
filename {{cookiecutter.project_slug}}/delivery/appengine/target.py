"""The target Google App Engine (standard environment).

The upload is gcloud's work; all else is a request or two to the Admin API, which answer sooner and
say more than one start of gcloud each: https://cloud.google.com/appengine/docs/admin-api/reference/rest
"""

import functools
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from delivery.appengine.operations import Operations
from delivery.errors import CommandError, MisuseError, UnsettledError
from delivery.google import gcloud, login
from delivery.google.logging import last_lines
from delivery.google.rest import ApiError, Rest, call
from delivery.google.storage import Object
from delivery.process import Runner
from delivery.splits import Split
from delivery.target import Stored, Version

NAMES = login.Names(project="GAE_PROJECT", key="GAE_KEY")
DEPLOYER = "roles/appengine.deployer"
SERVICE_ADMIN = "roles/appengine.serviceAdmin"

# Within the 20 minutes that .gitlab-ci.yml gives a job, so that we can say what happened. Google
# itself gives a build ten minutes unless told otherwise.
BUILD_TIMEOUT = 15 * 60.0
DNS_LABEL = 63
NOT_FOUND = 404


class AppEngine:
    """One service of one project; app.yaml says which service."""

    STEP: ClassVar[float] = 0.1  # what App Engine keeps when traffic is split at random
    FIRST_SERVES: ClassVar[bool] = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._project = ""
        self._service = ""
        self._environ: dict[str, str] = {}
        self._api = Rest(str, runner.environ)
        self._operations = Operations(self._api, runner, "", DEPLOYER)

    def login(self) -> None:
        """Check the settings, then have gcloud say who we are; a laptop's project counts, too."""
        runner = self._runner
        self._service = _service(runner.root)
        self._project = login.project(runner.environ, NAMES)
        self._environ = login.login(runner.environ, runner.private, runner.console, NAMES)
        account = login.Account(runner, self._environ, NAMES)
        if not self._project:
            self._project = account.project()
        self._api = Rest(account.token, runner.environ, clock=runner.clock, sleep=runner.sleep)
        self._operations = Operations(self._api, runner, f"v1/apps/{self._project}", DEPLOYER)

    def accept(self, version: str) -> None:
        """Refuse names that App Engine refuses, or whose address would have no certificate."""
        if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", version):
            raise MisuseError(
                f"{version!r} cannot be the name of a version",
                why="it has 1 to 63 of a-z, 0-9 and '-', and neither starts nor ends with '-'",
            )
        if version in {"default", "latest"} or version.startswith("ah-"):
            raise MisuseError(f"{version!r} cannot be the name of a version", why="it is reserved")
        # gcloud warns of nothing here: it prints a URL whose certificate does not match.
        service = "" if self._service == "default" else f"{self._service}-dot-"
        label = f"{version}-dot-{service}{self._project}"
        if len(label) > DNS_LABEL:
            raise MisuseError(
                f"{label} is too long for a host name: {len(label)} characters, not {DNS_LABEL}",
                then="choose a shorter version, service (app.yaml) or project",
            )

    def deploy(self, version: str, source: Path) -> None:
        """Upload, build and start a version; a service's very first one gets all traffic.

        `source` is no clone, so gcloud finds no remote address, with a token in it perhaps, to
        upload as source-context.json.
        """
        gcloud.run(
            self._runner,
            *("app", "deploy", "app.yaml", f"--version={version}", "--no-promote", "--quiet"),
            *(f"--project={self._project}", "--format=json"),
            environ=self._environ | {"GIT_CEILING_DIRECTORIES": str(source.parent)},
            doing=f"uploading and building {version}",
            role=DEPLOYER,
            timeout=BUILD_TIMEOUT,
            changes_in=source,
        )

    def versions(self) -> list[Version]:
        """List the service's versions."""
        if not self.serving():
            return []
        rows: list[dict[str, Any]] = []
        page = ""
        while True:
            query = {"view": "BASIC", "pageSize": "100"} | ({"pageToken": page} if page else {})
            answer = self._read(
                f"{self._path}/versions", query=query, doing="looking at the versions"
            )
            rows += answer.get("versions") or []
            page = answer.get("nextPageToken", "")
            if not page:
                break
        serving = self.serving()  # last: whoever moves traffic compares, and nothing else does
        return [_version(row, serving) for row in rows]

    def serving(self) -> Split:
        """Read the traffic split."""
        try:
            row = self._read(self._path, doing="looking at the traffic")
        except ApiError as error:
            if error.status == NOT_FOUND and "Application" not in error.message:
                return {}  # before the first delivery
            raise
        allocations = (row.get("split") or {}).get("allocations") or {}
        return {version: _per_cent(share) for version, share in allocations.items() if share}

    def set_traffic(self, split: Split) -> None:
        """Set the traffic split and wait until App Engine says that it is done."""
        splits = ",".join(f"{version}={share / 100:g}" for version, share in sorted(split.items()))
        if self._dry_run(
            f"gcloud app services set-traffic {self._service} --splits={splits} --split-by=random"
            f" --project={self._project} --quiet"
        ):
            return
        # Random: by address (the default), one office would see one version only.
        allocations = {version: round(share / 100, 3) for version, share in split.items()}
        body = {"split": {"shardBy": "RANDOM", "allocations": allocations}}
        doing = "moving the traffic"
        try:
            answer = self._change(
                "PATCH",
                self._path,
                query={"updateMask": "split"},
                body=body,
                doing=doing,
            )
        except CommandError as error:
            self._settle_lost(split, error)
            return
        self._operations.wait(answer, doing, happened=lambda: self._has_moved(split))

    def settle(self) -> None:
        """Wait until no operation on the service is under way."""
        self._operations.settle(self._path.removeprefix("v1/"))

    def url(self) -> str:
        """Return the public address, which differs between old and new projects."""
        host = str(self._app["defaultHostname"])
        service = "" if self._service == "default" else f"{self._service}-dot-"
        return f"https://{service}{host}"

    def delete(self, versions: Sequence[str]) -> None:
        """Delete versions: all requests first, then the waiting, so that many take no longer."""
        if self._dry_run(
            f"gcloud app versions delete {' '.join(versions)} --service={self._service}"
            f" --project={self._project} --quiet"
        ):
            return
        started: list[tuple[str, Any]] = []
        for version in versions:
            doing = f"deleting {version}"
            try:
                path = f"{self._path}/versions/{version}"
                answer = self._change("DELETE", path, doing=doing, repeat=True)
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
            else:
                started.append((doing, answer))
        for doing, answer in started:
            self._operations.wait(answer, doing)

    def log(self, version: str) -> list[str]:
        """Return the last lines of the version's log, requests left out."""
        return last_lines(
            self._api,
            self._project,
            'resource.type="gae_app"'
            f' AND resource.labels.module_id="{self._service}"'
            f' AND resource.labels.version_id="{version}"'
            ' AND (logName:"stdout" OR logName:"stderr" OR logName:"varlog")',
        )

    def read_record(self) -> Stored:
        """Read the record from the application's bucket."""
        return self._object.read()

    def write_record(self, text: str, tag: str) -> str:
        """Write the record unless it has changed."""
        return self._object.write(text, tag)

    @property
    def _path(self) -> str:
        return f"v1/apps/{self._project}/services/{self._service}"

    @functools.cached_property
    def _app(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._read(
            f"v1/apps/{self._project}", doing="looking at the application"
        )
        return answer

    @functools.cached_property
    def _object(self) -> Object:
        """Where the record is: in the application's own bucket.

        Where there is none, in the one for staging: what lies there for 15 days is deleted, after
        which a rollback asks for the name of a version.
        """
        bucket = self._app.get("defaultBucket") or self._app.get("codeBucket")
        if not bucket:
            raise MisuseError(
                f"the application of {self._project} has no bucket",
                why="the record of deliveries is kept there",
                then=f"gcloud beta app repair --project={self._project}",
            )
        return Object(self._api, str(bucket), f"delivery/{self._service}.json")

    def _read(self, path: str, *, query: dict[str, str] | None = None, doing: str) -> Any:
        return call(
            lambda: self._api.request("GET", "appengine", path, query=query).json, doing, DEPLOYER
        )

    def _change(
        self, method: str, path: str, *, doing: str, repeat: bool = False, **request: Any
    ) -> Any:
        """Ask for a change once, or, where that does no harm, again if need be."""

        def ask() -> Any:
            answer = self._api.request(method, "appengine", path, retry=repeat, **request).json
            if not answer.get("done") and "name" not in answer:  # a proxy's answer, perhaps
                raise ApiError(0, "the answer names no operation")
            return answer

        return call(ask, doing, SERVICE_ADMIN)

    def _dry_run(self, command: str) -> bool:
        if self._runner.dry_run:
            self._runner.console.result(command)
        return self._runner.dry_run

    def _settle_lost(self, split: Split, error: CommandError) -> None:
        """Find out what became of a request whose answer was an error, or did not come."""
        refused = isinstance(error, ApiError) and error.status and not error.transient
        if refused:  # 4xx: it did nothing
            raise error
        try:
            self.settle()
            now = self.serving()
        except CommandError as again:
            raise UnsettledError(error.what, why=f"{error.why}\n{again.why}".strip()) from error
        if dict(now) != dict(split):
            raise error
        self._runner.console.warn(
            f"It was reported as failed, but the traffic has moved: {error.why}"
        )

    def _has_moved(self, split: Split) -> bool:
        try:
            return dict(self.serving()) == dict(split)
        except CommandError:
            return False


def _service(root: Path) -> str:
    try:
        text = (root / "app.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MisuseError(
            "app.yaml cannot be read",
            why=str(error),
            then="it tells App Engine how to run the application: bring it back, and commit it",
        ) from error
    match = re.search(r"""^service:\s*["']?([a-z0-9-]+)""", text, re.MULTILINE)
    return match[1] if match else "default"


def _version(row: dict[str, Any], serving: Split) -> Version:
    return Version(
        id=row["id"],
        url=row.get("versionUrl", ""),
        created=datetime.fromisoformat(row["createTime"]),
        share=serving.get(row["id"], 0.0),
    )


def _per_cent(share: float) -> float:
    return round(float(share) * 100, 1)  # App Engine keeps thousandths
