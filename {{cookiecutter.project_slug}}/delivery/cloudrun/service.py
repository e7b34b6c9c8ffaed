"""One service as Cloud Run's API has it: how its traffic is split, and a change of that.

`spec` is what was asked for, and `status` what is so: a split that cannot be made stays in the
spec, and the status as it was. A replacement names the resourceVersion that it was made from, and
is refused (409) where there is a newer one: no change is made over somebody else's.
https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from delivery.backoff import pauses
from delivery.errors import CommandError, UnsettledError
from delivery.google.rest import ApiError, Rest, call
from delivery.process import Runner

PATIENCE = 90.0  # seconds; a change of traffic usually takes a few
ATTEMPTS = 6
CONFLICT, NOT_FOUND = 409, 404
DEVELOPER = "roles/run.developer"


@dataclass(frozen=True)
class Traffic:
    """What gets which share of the visitors, and what has an address of its own."""

    shares: Mapping[str, float]  # per cent by revision
    tags: Mapping[str, str]  # revision by tag

    @classmethod
    def of(cls, targets: Any, latest: str) -> "Traffic":
        """Read the API's list; `latest` is the revision for what names none."""
        shares: dict[str, float] = {}
        tags: dict[str, str] = {}
        for target in targets or []:
            revision = target.get("revisionName") or latest
            if target.get("percent"):
                shares[revision] = shares.get(revision, 0.0) + target["percent"]
            if target.get("tag"):
                tags[target["tag"]] = revision
        return cls(shares, tags)

    def targets(self) -> list[dict[str, Any]]:
        """Return the API's list."""
        return [
            *({"revisionName": each, "percent": round(self.shares[each])} for each in self.shares),
            *({"revisionName": self.tags[tag], "tag": tag} for tag in self.tags),
        ]


@dataclass(frozen=True)
class Service:
    """The service at one moment."""

    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def _status(self) -> Mapping[str, Any]:
        return self.body.get("status") or {}

    @property
    def _latest_ready(self) -> str:
        return str(self._status.get("latestReadyRevisionName", ""))

    @property
    def latest(self) -> str:
        """The revision that was made last, which cannot be deleted."""
        return str(self._status.get("latestCreatedRevisionName", ""))

    @property
    def url(self) -> str:
        """The public address."""
        return str(self._status.get("url", ""))

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each tag."""
        targets = self._status.get("traffic") or []
        return {each["tag"]: each.get("url", "") for each in targets if each.get("tag")}

    @property
    def asked(self) -> Traffic:
        """The traffic as the spec has it."""
        return Traffic.of((self.body.get("spec") or {}).get("traffic"), self._latest_ready)

    @property
    def traffic(self) -> Traffic:
        """The traffic as it is."""
        return Traffic.of(self._status.get("traffic"), self._latest_ready)

    @property
    def failure(self) -> str:
        """Why the traffic that was asked for is not, and will not be; empty while it may be."""
        seen = self._status.get("observedGeneration", 0)
        if self.asked == self.traffic or seen < self.body["metadata"].get("generation", 0):
            return ""
        for condition in self._status.get("conditions") or []:
            if condition.get("type") == "RoutesReady" and condition.get("status") == "False":
                return condition.get("message") or condition.get("reason") or "it failed"
        return ""

    @property
    def base(self) -> Traffic:
        """The traffic to begin a change with: never one that was asked for in vain."""
        return self.traffic if self.failure else self.asked


@dataclass(frozen=True)
class Services:
    """Reads and changes one service, which its owner has made."""

    api: Rest
    runner: Runner
    region: str
    path: str  # as in namespaces/PROJECT/services/NAME

    def get(self, doing: str = "looking at the service") -> Service:
        """Read it."""
        return Service(self._request("GET", self.path, doing=doing))

    def revision(self, name: str) -> dict[str, Any]:
        """Read a revision."""
        namespace = self.path.partition("/services/")[0]
        return self._request("GET", f"{namespace}/revisions/{name}", doing=f"looking at {name}")

    def revisions(self) -> list[dict[str, Any]]:
        """List the service's revisions."""
        namespace, _, name = self.path.partition("/services/")
        query = {"labelSelector": f"serving.knative.dev/service={name}", "limit": "200"}
        found: list[dict[str, Any]] = []
        while True:
            answer = self._request(
                "GET", f"{namespace}/revisions", query=query, doing="looking at the revisions"
            )
            found += answer.get("items") or []
            more = (answer.get("metadata") or {}).get("continue")
            if not more:
                return found
            query["continue"] = more

    def delete_revision(self, name: str) -> None:
        """Delete a revision; gone already is no error."""
        namespace = self.path.partition("/services/")[0]
        try:
            self._request("DELETE", f"{namespace}/revisions/{name}", doing=f"deleting {name}")
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def replace(self, service: Service, traffic: Traffic, doing: str) -> None:
        """Ask once for another traffic, unless the service was changed since it was read."""
        body = {name: service.body[name] for name in ("apiVersion", "kind", "metadata", "spec")}
        body["spec"] = body["spec"] | {"traffic": traffic.targets()}
        self._request("PUT", self.path, doing=doing, body=body, retry=False)

    def move(self, service: Service, shares: Mapping[str, float], doing: str) -> None:
        """Split the traffic like this; return when it is so.

        Raise UnsettledError when it may still happen; after any other error it did not.
        """
        try:
            self.replace(service, Traffic(shares, service.base.tags), doing)
        except ApiError as error:
            if error.status == CONFLICT or not error.transient:  # it did nothing
                raise
            if self._look(doing).asked.shares != shares:
                raise
        self._wait(
            lambda now: now.traffic.shares == shares, lambda now: now.asked.shares == shares, doing
        )

    def retag(self, change: Callable[[Traffic], Mapping[str, str]], doing: str) -> None:
        """Change tags, and no share of the traffic; return when it is so.

        `change` returns the tags that there shall be. It is asked again when others changed
        something meanwhile: two such changes do not harm each other.
        """
        waits = pauses(0.5, longest=8)
        for attempt in range(ATTEMPTS):
            service = self.get(doing)
            tags = change(service.base)
            if tags == service.traffic.tags == service.asked.tags:
                return
            try:
                self.replace(service, Traffic(service.base.shares, tags), doing)
                self._wait(
                    lambda now, tags=tags: now.traffic.tags == tags,  # type: ignore[misc]
                    lambda now, tags=tags: now.asked.tags == tags,  # type: ignore[misc]
                    doing,
                )
            except CommandError as error:
                if not error.transient or attempt == ATTEMPTS - 1:
                    raise
                self.runner.sleep(next(waits))
            else:
                return

    def settle(self, doing: str = "waiting for the traffic") -> None:
        """Wait until what is asked for is so; take back what was asked for in vain."""
        try:
            self._wait(lambda now: now.asked == now.traffic, lambda _: True, doing)
        except UnsettledError:
            raise
        except CommandError as error:
            self.runner.console.warn(f"Taken back: {error.why}")

    def _wait(
        self, done: Callable[[Service], bool], ours: Callable[[Service], bool], doing: str
    ) -> None:
        """Wait until the status shows a change; take it back when it failed.

        `ours` tells whether it is still what is asked for.
        """
        clock, console = self.runner.clock, self.runner.console
        start = last_word = clock()
        waits = pauses(0.2, longest=5)
        while True:
            now = self._look(doing)
            if done(now):
                return
            if not ours(now):
                error = CommandError(doing, why="someone else has changed the service meanwhile")
                error.transient = True
                raise error
            if now.failure:
                self._take_back(now, doing)
                raise CommandError(f"{doing}: Cloud Run could not do it", why=now.failure)
            elapsed = clock() - start
            if elapsed > PATIENCE:
                raise UnsettledError(f"{doing}: it is still under way after {elapsed:.0f} s")
            if clock() - last_word >= console.beat:
                last_word = clock()
                console.waiting(doing, elapsed)
            self.runner.sleep(next(waits))

    def _take_back(self, failed: Service, doing: str) -> None:
        """Ask for what is so: a later change of anything would bring the failed one about."""
        try:
            self.replace(failed, failed.traffic, doing)
        except CommandError as error:
            raise UnsettledError(
                f"{doing}: it failed, and is still asked for", why=f"{failed.failure}\n{error.why}"
            ) from error

    def _look(self, doing: str) -> Service:
        """Read the service while a change is under way."""
        try:
            return self.get(doing)
        except CommandError as error:
            raise UnsettledError(error.what, why=error.why, then=error.then) from error

    def _request(
        self, method: str, path: str, *, doing: str, retry: bool = True, **request: Any
    ) -> dict[str, Any]:
        where = f"apis/serving.knative.dev/v1/{path}"
        service = f"run@{self.region}"
        return call(
            lambda: self.api.request(method, service, where, retry=retry, **request).json,
            doing,
            DEVELOPER,
        )
