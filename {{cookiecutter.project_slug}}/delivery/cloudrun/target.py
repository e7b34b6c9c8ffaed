"""The target Google Cloud Run: a version is a revision, under a traffic tag of the version's name.

gcloud makes the revision; all else is a request or two to the API (service.py), which answer
sooner, say more, and tell when somebody else was faster.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from delivery import names
from delivery.cloudrun import settings
from delivery.cloudrun.image import Image
from delivery.cloudrun.service import DEVELOPER, Service, Services, Traffic
from delivery.cloudrun.settings import NAMES, PLACEHOLDERS, TAG_AND_SERVICE, Place
from delivery.errors import CommandError, DeliveryError, MisuseError
from delivery.google import gcloud, login
from delivery.google.logging import last_lines
from delivery.google.rest import ApiError, Rest
from delivery.google.storage import Object
from delivery.process import Runner
from delivery.splits import Split
from delivery.target import Stored, Version

# Within the 20 minutes that .gitlab-ci.yml gives a job, so that we can say what happened. A probe
# gives a container up after four minutes at the latest.
DEPLOY_TIMEOUT = 10 * 60.0
NOT_FOUND = 404
UNCLAIMED = timedelta(hours=1)


class CloudRun:
    """One service of one project in one region."""

    STEP: ClassVar[float] = 1.0
    FIRST_SERVES: ClassVar[bool] = False

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._environ: dict[str, str] = {}
        self._place = Place("", "", "", "")
        self._account = login.Account(runner, {}, NAMES)
        self._api = Rest(str, runner.environ)
        self._services = Services(self._api, runner, "", "")
        self._seen: Service | None = None
        self._placeholders: dict[str, bool] = {}

    def login(self) -> None:
        """Check the settings; on a laptop, gcloud's project and region count, too."""
        runner = self._runner
        project = login.project(runner.environ, NAMES)
        self._environ = login.login(runner.environ, runner.private, runner.console, NAMES)
        self._account = login.Account(runner, self._environ, NAMES)
        region = runner.environ.get("RUN_REGION", "").strip()
        self._place = settings.place(
            runner.environ,
            runner.root,
            project or self._account.project(),
            region or self._account.property("run", "region"),
        )
        self._api = Rest(
            self._account.token, runner.environ, clock=runner.clock, sleep=runner.sleep
        )
        path = f"namespaces/{self._place.project}/services/{self._place.service}"
        self._services = Services(self._api, runner, self._place.region, path)

    def accept(self, version: str) -> None:
        """Refuse what cannot be a tag, or would make too long a host name with the service's."""
        if not settings.is_label(version):
            raise MisuseError(
                f"{version!r} cannot be the name of a version",
                why="it has a-z, 0-9 and '-', begins with a letter and ends with a letter or digit",
            )
        length = len(version) + len(self._place.service)
        if length > TAG_AND_SERVICE:
            raise MisuseError(
                f"{version} and {self._place.service} have {length} characters together, "
                f"not {TAG_AND_SERVICE}",
                why="they become one part of a host name",
                then="choose a shorter version, or another service (RUN_SERVICE)",
            )

    def deploy(self, version: str, source: Path) -> None:
        """Make a revision, and, once it runs, let the tag lead to it.

        No traffic target names a revision that may not start: one that does not would hold up every
        change of the traffic.
        """
        place, runner = self._place, self._runner
        if not (source / "cloudrun.yaml").is_file():
            raise MisuseError(
                "there is no cloudrun.yaml",
                why="it tells Cloud Run how to run the application",
                then="bring it back, and commit it",
            )
        if not runner.dry_run:
            self._existing()
            self._services.settle()
        image = Image(runner, self._environ, place.repository, self._account.token)
        by_digest = image.bring(version, source)
        # Chosen here, so that its log can be found, and new for each attempt: the same name with
        # other contents is refused.
        revision = f"{place.service}-{version}-{secrets.token_hex(2)}"
        try:
            gcloud.run(
                runner,
                *("run", "deploy", place.service, f"--image={by_digest}", "--no-traffic"),
                f"--revision-suffix={revision.removeprefix(f'{place.service}-')}",
                *("--flags-file=cloudrun.yaml", f"--update-env-vars=APP_REVISION={version}"),
                *(f"--region={place.region}", f"--project={place.project}", "--quiet"),
                environ=self._environ,
                doing=f"starting {version}",
                role=DEVELOPER,
                timeout=DEPLOY_TIMEOUT,
                changes_in=source,
            )
        except CommandError as error:
            error.log = error.log or self._words(revision)
            raise
        if runner.dry_run:
            return
        self._services.retag(
            lambda now: {**now.tags, version: revision}, f"giving {version} its address"
        )
        self._remove(self._leftovers(version))

    def versions(self) -> list[Version]:
        """List what has a tag, and what has traffic."""
        service = self._look()
        if service is None:
            return []
        serving = self._split(service)
        tags = service.traffic.tags
        made = {
            row["metadata"]["name"]: datetime.fromisoformat(row["metadata"]["creationTimestamp"])
            for row in self._services.revisions()
        }
        addresses = service.addresses
        return [
            Version(
                id=name,
                url=addresses.get(name, ""),
                created=made.get(tags.get(name, name), datetime.fromtimestamp(0, UTC)),
                share=serving.get(name, 0.0),
            )
            for name in sorted({*tags, *serving})
        ]

    def serving(self) -> Split:
        """Read how the traffic is split; Google's placeholder is nothing."""
        service = self._look()
        return {} if service is None else self._split(service)

    def set_traffic(self, split: Split) -> None:
        """Split the traffic, if the service is as it was when `serving` last looked."""
        place = self._place
        if self._runner.dry_run:
            tags = ",".join(f"{version}={share:g}" for version, share in sorted(split.items()))
            self._runner.console.result(
                f"gcloud run services update-traffic {place.service} --to-tags={tags}"
                f" --region={place.region} --project={place.project} --quiet"
            )
            return
        service, self._seen = self._seen or self._existing(), None
        tags_now = service.traffic.tags
        shares = {tags_now.get(version, version): share for version, share in split.items()}
        self._services.move(service, shares, "moving the traffic")

    def settle(self) -> None:
        """Wait until the traffic is as was asked, or what was asked is taken back."""
        if self._look() is not None:
            self._services.settle()

    def url(self) -> str:
        """Return the public address."""
        return self._existing().url

    def delete(self, versions: Sequence[str]) -> None:
        """Take the tags away, then delete the revisions that they led to."""
        place = self._place
        if self._runner.dry_run:
            self._runner.console.result(
                f"gcloud run services update-traffic {place.service}"
                f" --remove-tags={','.join(versions)}"
                f" --region={place.region} --project={place.project} --quiet"
            )
            return
        tags = self._existing().traffic.tags

        def without(now: Traffic) -> dict[str, str]:
            # Somebody may have moved the traffic to one of them a moment ago.
            busy = sorted(tag for tag in versions if now.tags.get(tag) in now.shares)
            if busy:
                raise CommandError(f"cannot delete what has traffic: {', '.join(busy)}")
            return {tag: name for tag, name in now.tags.items() if tag not in versions}

        self._services.retag(without, f"deleting {', '.join(versions)}")
        self._remove([tags[version] for version in versions if version in tags])

    def log(self, version: str) -> list[str]:
        """Return the last lines of the version's log, requests left out."""
        service = self._look()
        revision = service.traffic.tags.get(version, version) if service else version
        return self._log(revision)

    def read_record(self) -> Stored:
        """Read the record from the bucket."""
        try:
            return self._object.read()
        except ApiError as error:
            if error.status == NOT_FOUND:
                error.then = (
                    "as an owner, on a laptop: python -m delivery connect"
                    f" --project {self._place.project} --region {self._place.region}"
                )
            raise

    def write_record(self, text: str, tag: str) -> str:
        """Write the record unless it has changed."""
        return self._object.write(text, tag)

    @property
    def _object(self) -> Object:
        return Object(self._api, self._place.bucket, f"{self._place.service}.json")

    def _look(self) -> Service | None:
        """Read the service, and remember it for set_traffic; None before its owner has made it."""
        try:
            self._seen = self._services.get()
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._seen = None
        return self._seen

    def _existing(self) -> Service:
        try:
            return self._services.get()
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            place = self._place
            raise MisuseError(
                f"there is no service {place.service} in {place.region} of {place.project}",
                why="its owner makes it once, with a page of Google's: the delivering account\n"
                "need not be allowed to make a service, or to make one public",
                then="as an owner, on a laptop: python -m delivery connect"
                f" --project {place.project} --region {place.region} --service {place.service}",
            ) from error

    def _split(self, service: Service) -> Split:
        split: Split = {}
        traffic = service.traffic
        for revision, share in traffic.shares.items():
            tags = sorted(tag for tag, name in traffic.tags.items() if name == revision)
            # Somebody may have added a tag of another kind.
            name = next(filter(names.commit_of, tags), next(iter(tags), revision))
            if tags or not self._is_placeholder(revision):
                split[name] = share
        return split

    def _is_placeholder(self, revision: str) -> bool:
        if revision not in self._placeholders:
            containers: list[dict[str, Any]] = (
                self._services.revision(revision).get("spec") or {}
            )["containers"]
            image = str(containers[0].get("image", ""))
            self._placeholders[revision] = image.startswith(PLACEHOLDERS)
        return self._placeholders[revision]

    def _leftovers(self, version: str) -> list[str]:
        """List revisions that were made for a version, and whatever is left of others.

        Another deployment may be about to give one that is new its tag.
        """
        old = datetime.now(UTC) - UNCLAIMED
        found = []
        for row in self._services.revisions():
            name, made = row["metadata"]["name"], row["metadata"]["creationTimestamp"]
            of, _, _ = name.removeprefix(f"{self._place.service}-").rpartition("-")
            ours = names.commit_of(of) or names.is_review(of)
            if of == version or (ours and datetime.fromisoformat(made) < old):
                found.append(name)
        return found

    def _remove(self, revisions: Sequence[str]) -> None:
        """Delete revisions that nothing leads to; without traffic, one that is left costs nothing.

        The latest one cannot be deleted: the service is made of it.
        """
        service = self._existing()
        used = {service.latest, *service.asked.shares, *service.asked.tags.values()}
        used |= {*service.traffic.shares, *service.traffic.tags.values()}
        for revision in revisions:
            if revision not in used:
                self._services.delete_revision(revision)

    def _words(self, revision: str) -> str:
        try:
            return "\n".join(self._log(revision))
        except DeliveryError as error:
            return f"it could not be read: {error.what}\n{error.then}".rstrip()

    def _log(self, revision: str) -> list[str]:
        return last_lines(
            self._api,
            self._place.project,
            'resource.type="cloud_run_revision"'
            f' AND resource.labels.service_name="{self._place.service}"'
            f' AND resource.labels.revision_name="{revision}"'
            ' AND (logName:"stdout" OR logName:"stderr" OR logName:"varlog")',
        )
