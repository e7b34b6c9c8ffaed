"""The target Google App Engine (standard environment), through gcloud; cli.py creates it."""

import re
from datetime import datetime
from typing import Any

from delivery import google_login
from delivery.errors import CommandError, MisuseError
from delivery.gcloud import Gcloud
from delivery.process import Runner
from delivery.target import Split, Version

SETTINGS = google_login.SETTINGS

DEPLOYER = "roles/appengine.deployer"
SERVICE_ADMIN = "roles/appengine.serviceAdmin"
BUILD_TIMEOUT = 30 * 60.0  # Google itself gives a build ten minutes unless told otherwise
DNS_LABEL = 63


class AppEngine:
    """One service of one project; app.yaml says which service."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._project = ""
        self._service = ""
        self._gcloud = Gcloud(runner, {}, "")

    def login(self) -> None:
        """Check the settings; a laptop without GAE_PROJECT uses the project that gcloud has."""
        runner = self._runner
        self._service = _service(runner)
        self._project = google_login.project(runner.environ)
        environ = google_login.login(runner.environ, runner.vault, runner.console)
        if not self._project:
            answer = Gcloud(runner, environ, "").read(
                "config", "get", "core/project", doing="looking up the project", role=DEPLOYER
            )
            if not isinstance(answer, str):
                raise MisuseError(
                    "no Google Cloud project is chosen",
                    then="set GAE_PROJECT, or: gcloud config set project PROJECT",
                )
            self._project = answer
        self._gcloud = Gcloud(runner, environ, self._project)

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

    def deploy(self, version: str) -> None:
        """Upload, build and start a version; a service's very first one gets all traffic."""
        self._gcloud.change(
            *("app", "deploy", "app.yaml", f"--version={version}", "--no-promote"),
            doing=f"uploading and building {version}",
            role=DEPLOYER,
            timeout=BUILD_TIMEOUT,
        )

    def versions(self) -> list[Version]:
        """List the service's versions."""
        try:
            rows = self._gcloud.read(
                *("app", "versions", "list", f"--service={self._service}"),
                doing="looking at the versions",
                role=DEPLOYER,
            )
        except CommandError as error:
            if self._absent(error):
                return []
            raise
        return [_version(row) for row in rows or []]

    def serving(self) -> Split:
        """Read the traffic split."""
        try:
            row = self._gcloud.read(
                *("app", "services", "describe", self._service),
                doing="looking at the traffic",
                role=DEPLOYER,
            )
        except CommandError as error:
            if self._absent(error):
                return {}
            raise
        allocations = row.get("split", {}).get("allocations", {})
        return {version: _per_cent(share) for version, share in allocations.items() if share}

    def set_traffic(self, split: Split) -> None:
        """Set the traffic split; it takes effect at once."""
        splits = ",".join(f"{version}={share:g}" for version, share in sorted(split.items()))
        self._gcloud.change(
            # Random: by address (the default), one office would see one version only.
            *(
                "app",
                "services",
                "set-traffic",
                self._service,
                f"--splits={splits}",
                "--split-by=random",
            ),
            doing="moving the traffic",
            role=SERVICE_ADMIN,
            repeat=False,  # first, someone must see whether traffic has moved in the meantime
        )

    def url(self) -> str:
        """Ask gcloud for the public address, which differs between old and new projects."""
        row = self._gcloud.read(
            *("app", "browse", f"--service={self._service}", "--no-launch-browser"),
            doing="looking up the address",
            role=DEPLOYER,
        )
        return str(row["url"])

    def delete(self, version: str) -> None:
        """Delete a version; gcloud and App Engine both refuse while it has traffic."""
        try:
            self._gcloud.change(
                *("app", "versions", "delete", version, f"--service={self._service}"),
                doing=f"deleting {version}",
                role=SERVICE_ADMIN,
            )
        except CommandError as error:
            if not self._absent(error):
                raise

    def _absent(self, error: CommandError) -> bool:
        """Tell whether gcloud says that the service does not exist: before the first delivery."""
        return f"Service [{self._service}] not found" in error.why or (
            "NOT_FOUND" in error.why and "services.describe" in error.why
        )


def _service(runner: Runner) -> str:
    try:
        text = (runner.root / "app.yaml").read_text(encoding="utf-8")
    except OSError as error:
        raise MisuseError("app.yaml cannot be read", why=str(error)) from error
    match = re.search(r"""^service:\s*["']?([a-z0-9-]+)""", text, re.MULTILINE)
    return match[1] if match else "default"


def _version(row: dict[str, Any]) -> Version:
    resource = row["version"]
    return Version(
        id=row["id"],
        url=resource.get("versionUrl", ""),
        created=datetime.fromisoformat(resource["createTime"]),
        share=_per_cent(row.get("traffic_split") or 0),
    )


def _per_cent(share: float) -> float:
    return round(float(share) * 100, 1)  # App Engine keeps thousandths
