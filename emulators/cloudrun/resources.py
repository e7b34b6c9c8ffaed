"""A service and its revisions, and how the API shows them.

Modelled after:

- https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services, `namespaces.revisions`,
  `namespaces.configurations` and `namespaces.routes`;
- https://github.com/knative/specs/blob/main/specs/serving/knative-api-specification-1.0.md for
  spec and status, generations and conditions;
- https://cloud.google.com/run/docs/authenticating/public for who may visit;
- googlecloudsdk.api_lib.run (service, revision, condition, traffic) for what gcloud reads of them.
"""

import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from emulators.appengine.wire import Answer, Request

API = "serving.knative.dev/v1"
PATH = f"/apis/{API}"
PUBLIC = "run.googleapis.com/invoker-iam-disabled"
ALL_USERS = "allUsers"
INVOKER = "roles/run.invoker"
SAMPLES = ("us-docker.pkg.dev/cloudrun/container/hello", "gcr.io/cloudrun/hello")
Json = dict[str, Any]


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Instance(Protocol):
    """What answers for a revision."""

    boots: int
    lines: list[str]

    @property
    def running(self) -> bool:
        """Whether an instance runs."""

    @property
    def name(self) -> str:
        """The container's name while one runs."""

    def ask(self, request: Request, /) -> Answer:
        """Answer a visitor."""

    def start(self, deadline: float, /) -> bool:
        """Start for the first time; whether it passed its startup probe."""

    def end(self) -> None:
        """End what runs; the next visitor starts another."""

    def remove(self) -> None:
        """End for good, once those are answered who are being served."""

    def revive(self) -> None:
        """Be there again after `remove`."""


@dataclass(frozen=True)
class Condition:
    """One condition of a resource: status True, False or Unknown, and why."""

    type: str
    status: str
    reason: str = ""
    message: str = ""

    def shown(self, since: str) -> Json:
        """Return it as JSON."""
        shown = {"type": self.type, "status": self.status, "lastTransitionTime": since}
        shown |= {"reason": self.reason} if self.reason else {}
        return shown | ({"message": self.message} if self.message else {})


@dataclass
class Revision:
    """One revision; `ready` is None while it starts."""

    name: str
    service: str
    template: Json
    generation: int  # of the configuration that made it
    labels: Json
    creator: str
    instance: Instance
    ready: bool | None = None
    reason: str = ""
    message: str = ""
    created: str = field(default_factory=now)
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def is_sample(self) -> bool:
        """Whether its image is the one that Google offers to begin with."""
        return str(self.template["spec"]["containers"][0]["image"]).startswith(SAMPLES)

    @property
    def problem(self) -> str:
        """What a service says of it that depends on it."""
        return f"Revision '{self.name}' is not ready and cannot serve traffic. {self.message}"

    def shown(self, namespace: str) -> Json:
        """Return it as JSON."""
        metadata = deepcopy(self.template.get("metadata", {}))
        status = {True: "True", False: "False", None: "Unknown"}[self.ready]
        reason = self.reason or ("Deploying" if self.ready is None else "")
        conditions = [
            Condition(kind, status, reason, self.message)
            for kind in ("Ready", "ContainerHealthy", "ResourcesAvailable")
        ]
        image = self.template["spec"]["containers"][0]["image"]
        digest = {"imageDigest": image} if "@" in image else {}
        return {
            "apiVersion": API,
            "kind": "Revision",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "selfLink": f"{PATH}/namespaces/{namespace}/revisions/{self.name}",
                "uid": self.uid,
                "resourceVersion": f"AAY{self.uid[:8]}{status[0]}",
                "generation": 1,
                "creationTimestamp": self.created,
                "labels": {**metadata.get("labels", {}), **self.labels},
                "annotations": {
                    **metadata.get("annotations", {}),
                    "serving.knative.dev/creator": self.creator,
                },
            },
            "spec": deepcopy(self.template["spec"]),
            "status": {
                "observedGeneration": 1,
                "conditions": [each.shown(self.created) for each in conditions],
                **digest,
            },
        }


@dataclass
class Service:
    """A service: what was asked for (`spec`) and what is so (the rest)."""

    name: str
    url: str
    spec: Json
    annotations: Json = field(default_factory=dict)
    labels: Json = field(default_factory=dict)
    generation: int = 0
    version: int = 0  # resourceVersion
    revisions: dict[str, Revision] = field(default_factory=dict)
    policy: Json = field(default_factory=dict)
    # Why a generation's traffic cannot be had, where a test wants that: reason and message.
    refusals: dict[int, tuple[str, str]] = field(default_factory=dict)

    observed: int = 0
    latest_created: str = ""
    latest_ready: str = ""
    traffic: list[Json] = field(default_factory=list)  # resolved: each names its revision
    conditions: list[Condition] = field(
        default_factory=lambda: [Condition("Ready", "Unknown", "Deploying", "Deploying revision.")]
    )
    created: str = field(default_factory=now)
    changed: str = field(default_factory=now)
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def settled(self) -> bool:
        """Whether the newest change has succeeded or failed."""
        return self.observed == self.generation and self.conditions[0].status != "Unknown"

    @property
    def shares(self) -> dict[str, int]:
        """Per cent by revision, as it is."""
        shares: dict[str, int] = {}
        for target in self.traffic:
            if percent := target.get("percent"):
                name = target["revisionName"]
                shares[name] = shares.get(name, 0) + percent
        return shares

    @property
    def tags(self) -> dict[str, str]:
        """Revision by tag, as it is."""
        return {each["tag"]: each["revisionName"] for each in self.traffic if each.get("tag")}

    @property
    def is_public(self) -> bool:
        """Whether everybody may visit it."""
        if str(self.annotations.get(PUBLIC)).lower() == "true":
            return True
        return any(
            binding["role"] == INVOKER and ALL_USERS in binding.get("members", [])
            for binding in self.policy.get("bindings", [])
        )

    def reconcile(self, url: Callable[[str], str]) -> None:
        """Bring about what was asked for, as far as its revisions are ready.

        `url` returns a tag's address. Where one target of the traffic cannot be had, the traffic
        stays as it was as a whole.
        """
        self.observed = self.generation
        latest = self.revisions[self.latest_created]
        if latest.ready:
            self.latest_ready = latest.name
        configured = Condition("ConfigurationsReady", "True")
        if latest.ready is False:
            configured = Condition("ConfigurationsReady", "False", latest.reason, latest.problem)
        elif latest.ready is None:
            configured = Condition("ConfigurationsReady", "Unknown", "Deploying")
        routed = self._route(latest, url)
        parts = (configured, routed)
        ready = Condition("Ready", "True")
        for status in ("False", "Unknown"):
            if found := [each for each in parts if each.status == status]:
                ready = Condition("Ready", status, found[0].reason, found[0].message)
                break
        before = {each.type: each.status for each in self.conditions}
        self.conditions = [ready, *parts]
        if before != {each.type: each.status for each in self.conditions}:
            self.changed = now()

    def _route(self, latest: Revision, url: Callable[[str], str]) -> Condition:
        """Move the traffic if every target can have it; return the condition RoutesReady."""
        if self.generation in self.refusals:
            return Condition("RoutesReady", "False", *self.refusals[self.generation])
        resolved = []
        waiting = ""
        for target in self.spec["traffic"]:
            name = self.latest_ready if target.get("latestRevision") else target["revisionName"]
            revision = self.revisions.get(name)
            if target.get("latestRevision") and latest.ready is None:
                waiting = "Traffic is not yet migrated to the latest revision."
            elif target.get("latestRevision") and not latest.ready:
                # It stays with the one before, and with none if there is none.
                return Condition("RoutesReady", "False", "RevisionFailed", latest.problem)
            elif revision is None:
                message = (
                    f"Revision '{name}' does not exist or is deleted. Update all traffic to route "
                    "to currently available revisions."
                )
                return Condition("RoutesReady", "False", "RevisionMissing", message)
            elif revision.ready is None:
                waiting = f"Revision '{name}' is not yet ready."
            elif not revision.ready:
                return Condition("RoutesReady", "False", "RevisionFailed", revision.problem)
            tag = target.get("tag")
            address = {"url": url(tag)} if tag else {}
            resolved.append({**target, "revisionName": name, **address})
        if waiting:
            return Condition("RoutesReady", "Unknown", "TrafficNotMigrated", waiting)
        self.traffic = resolved
        return Condition("RoutesReady", "True")

    def shown(self, namespace: str) -> Json:
        """Return it as JSON."""
        status = {
            "observedGeneration": self.observed,
            "conditions": [each.shown(self.changed) for each in self.conditions],
            "latestCreatedRevisionName": self.latest_created if self.observed else "",
            "latestReadyRevisionName": self.latest_ready,
            "traffic": deepcopy(self.traffic),
            "url": self.url,
            "address": {"url": self.url},
        }
        return {
            "apiVersion": API,
            "kind": "Service",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "selfLink": f"{PATH}/namespaces/{namespace}/services/{self.name}",
                "uid": self.uid,
                "resourceVersion": resource_version(self.version),
                "generation": self.generation,
                "creationTimestamp": self.created,
                "labels": dict(self.labels),
                "annotations": dict(self.annotations),
            },
            "spec": deepcopy(self.spec),
            "status": {name: value for name, value in status.items() if value},
        }

    def part(self, kind: str, namespace: str) -> Json:
        """Return its Configuration or its Route, which gcloud can show too."""
        whole = self.shown(namespace)
        link = whole["metadata"]["selfLink"].replace("/services/", f"/{kind.lower()}s/")
        spec, status = whole["spec"], whole["status"]
        names: tuple[str, ...] = ("traffic", "url", "address")
        if kind == "Configuration":
            spec = {"template": spec["template"]}
            names = ("latestCreatedRevisionName", "latestReadyRevisionName")
        else:
            spec = {"traffic": spec["traffic"]}
        condition = "ConfigurationsReady" if kind == "Configuration" else "RoutesReady"
        found = [each for each in self.conditions if each.type == condition]
        return whole | {
            "kind": kind,
            "metadata": whole["metadata"] | {"selfLink": link},
            "spec": spec,
            "status": {
                "observedGeneration": self.observed,
                "conditions": [
                    Condition("Ready", each.status, each.reason, each.message).shown(self.changed)
                    for each in found
                ],
                **{name: status[name] for name in names if name in status},
            },
        }


def resource_version(number: int) -> str:
    """Return a version as an opaque word, as Google's is."""
    return f"AAY{number:012x}"


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fit a selector such as `a=b,c = d`."""
    pairs = [part.partition("=") for part in selector.split(",") if part.strip()]
    return all(labels.get(key.strip()) == value.strip("= ") for key, _, value in pairs)
