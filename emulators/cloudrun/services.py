"""The Cloud Run Admin API v1 (Knative): services, revisions, operations, who may visit.

Modelled after:

- https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services (`create`, `get`, `list`,
  `replaceService`, `delete`), `namespaces.revisions`, `projects.locations.services` (IAM policy),
  `projects.locations.operations` and `projects.locations`;
- googlecloudsdk.command_lib.run.serverless_operations and op_pollers: what gcloud sends, that it
  waits for the operation that the annotation names, and after a deletion until a 404;
- https://cloud.google.com/run/docs/managing/revisions#delete: neither the latest revision, nor one
  that can receive traffic, can be deleted;
- https://github.com/hashicorp/waypoint/issues/814 for the words of that refusal, and
  https://github.com/googleapis/google-cloud-python/issues/14259 for those of a revision's name
  that is taken.

A replacement that names a resourceVersion is refused where that is not the newest (409); one that
names none is made. What an answer to a change shows is the state before it: gcloud then waits.
"""

import base64
import contextlib
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from typing import Any, Protocol

from emulators.appengine.faults import Gate
from emulators.appengine.tokens import PROJECT_NUMBER
from emulators.appengine.wire import Answer, ApiError, Request

from . import rules
from .resources import Instance, Revision, Service, matches, now, resource_version

OPERATION = "run.googleapis.com/operation-id"
LONGEST_WAIT = 30.0
PAGE_SIZE = 100
Json = dict[str, Any]


class DeployError(Exception):
    """A revision that cannot run: the reason as one word, and the message."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
        self.message = message


class Host(Protocol):
    """What services need of the machines and the network."""

    registry: str  # the host of the emulator's own registry

    def prepare(self, service: str, revision: str, template: Json) -> Instance:
        """Return the instance of a revision that is to be started."""

    def start(self, revision: Revision) -> None:
        """Get the image and start it; DeployError says why it does not run."""

    def url(self, service: str, tag: str = "") -> str:
        """Return the address of a service or of one of its tags, the same each time."""

    def end(self, instances: Collection[Instance]) -> None:
        """Remove instances, without waiting for it."""


class Services:
    """All services of one project in one region."""

    def __init__(self, project: str, region: str, host: Host, *, latency: float):
        self.project = project
        self.region = region
        self.latency = latency  # seconds until a change takes effect
        self.services: dict[str, Service] = {}
        self._host = host
        self._versions = int(time.time() * 1e6)
        self._operations: dict[str, str] = {}  # service by operation
        self._refusals: list[tuple[str, str]] = []
        self._gates: list[Gate] = []
        self._workers: list[threading.Thread] = []
        self._change = threading.Condition(threading.RLock())

    # For tests

    def hold_next(self) -> Gate:
        """Hold what the next change sets in motion until the gate is released."""
        gate = Gate()
        with self._change:
            self._gates.append(gate)
        return gate

    def refuse_next(self, message: str, reason: str = "RevisionFailed") -> None:
        """Accept the next change, and then never bring its traffic about."""
        with self._change:
            self._refusals.append((reason, message))

    def heal(self) -> None:
        """Forget what the two above have planted."""
        with self._change:
            gates, self._gates = self._gates, []
            self._refusals.clear()
        for gate in gates:
            gate.release()

    def settle(self) -> None:
        """Wait until no change is under way."""
        with self._change:
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.join()

    def close(self) -> None:
        """Wait for what is under way, then end every instance."""
        self.heal()
        self.settle()
        self.keep({})

    def keep(self, services: Mapping[str, Service]) -> None:
        """Put services in the place of those that there are, as they were when they were copied.

        Revisions that are in none of them end.
        """
        with self._change:
            kept = {id(r.instance) for s in services.values() for r in s.revisions.values()}
            gone = [
                revision.instance
                for service in self.services.values()
                for revision in service.revisions.values()
                if id(revision.instance) not in kept
            ]
            self.services = {name: copied(service) for name, service in services.items()}
            for service in self.services.values():
                self._touch(service)
                for revision in service.revisions.values():
                    revision.instance.revive()
            self._change.notify_all()
        self._host.end(gone)

    # Services

    def list_services(self, request: Request, project: str) -> Answer:
        self._check(project)
        with self._change:
            found = [each.shown(PROJECT_NUMBER) for each in self.services.values()]
        return _listed(request, "Service", found)

    def get_service(self, project: str, service: str) -> Answer:
        with self._change:
            return Answer.of(self._find(project, service).shown(PROJECT_NUMBER))

    def get_configuration(self, project: str, service: str) -> Answer:
        with self._change:
            found = self._find(project, service)
            return Answer.of(found.part("Configuration", PROJECT_NUMBER))

    def get_route(self, project: str, service: str) -> Answer:
        with self._change:
            return Answer.of(self._find(project, service).part("Route", PROJECT_NUMBER))

    def create_service(self, request: Request, account: str, project: str) -> Answer:
        self._check(project)
        body = request.json()
        name = str((body.get("metadata") or {}).get("name", ""))
        rules.check_name(name)
        with self._change:
            if name in self.services:
                raise ApiError(409, f"Resource '{name}' already exists.", status="ALREADY_EXISTS")
            spec = rules.completed(body.get("spec") or {}, name, self._host.registry)
            service = Service(name, self._host.url(name), spec)
            service.annotations["serving.knative.dev/creator"] = account
            if request.query.get("dryRun"):
                return Answer.of(service.shown(PROJECT_NUMBER))
            return self._apply(service, body, spec, account)

    def replace_service(self, request: Request, account: str, project: str, service: str) -> Answer:
        body = request.json()
        metadata = body.get("metadata") or {}
        with self._change:
            found = self._find(project, service)
            if metadata.get("name", service) != service:
                raise rules.invalid(f"metadata.name: must be {service!r}")
            stated = metadata.get("resourceVersion")
            current = resource_version(found.version)
            if stated and stated != current:
                raise ApiError(
                    409,
                    f"Conflict for resource '{service}': version '{stated}' was specified but "
                    f"current version is '{current}'.",
                )
            spec = rules.completed(body.get("spec") or {}, service, self._host.registry)
            if request.query.get("dryRun"):
                return Answer.of(found.shown(PROJECT_NUMBER) | {"spec": spec})
            return self._apply(found, body, spec, account)

    def delete_service(self, project: str, service: str) -> Answer:
        with self._change:
            found = self._find(project, service)
            del self.services[service]
            self._change.notify_all()
        self._host.end([revision.instance for revision in found.revisions.values()])
        return Answer.of({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _apply(self, service: Service, body: Json, spec: Json, account: str) -> Answer:
        """Accept a change of a service; return what its answer shows."""
        metadata = body.get("metadata") or {}
        template = spec["template"]
        name = template["metadata"].get("name") or ""
        newest = service.revisions.get(service.latest_created)
        same = newest is not None and _configuration(newest.template) == _configuration(template)
        started = None
        if same and name in ("", service.latest_created):
            name = service.latest_created  # nothing changed that a revision is made of
        elif name in service.revisions:
            if _configuration(service.revisions[name].template) != _configuration(template):
                raise ApiError(
                    409,
                    f"Revision named '{name}' with different configuration already exists.",
                    status="ALREADY_EXISTS",
                )
        else:
            number = service.generation + 1
            name = name or f"{service.name}-{number:05}-{secrets.token_hex(2)[:3]}"
            started = self._revise(service, name, template, account)
        operation = str(uuid.uuid4())
        service.annotations = {
            **(metadata.get("annotations") or {}),
            "run.googleapis.com/ingress-status": (metadata.get("annotations") or {}).get(
                "run.googleapis.com/ingress", "all"
            ),
            "run.googleapis.com/urls": f'["{service.url}"]',
            OPERATION: operation,
            "serving.knative.dev/creator": service.annotations.get(
                "serving.knative.dev/creator", account
            ),
            "serving.knative.dev/lastModifier": account,
        }
        service.annotations.setdefault("run.googleapis.com/ingress", "all")
        service.labels = {
            **(metadata.get("labels") or {}),
            "cloud.googleapis.com/location": self.region,
        }
        service.spec = spec
        service.generation += 1
        service.latest_created = name
        if self._refusals:
            service.refusals[service.generation] = self._refusals.pop(0)
        self.services[service.name] = service
        self._operations[operation] = service.name
        self._touch(service)
        shown = service.shown(PROJECT_NUMBER)
        gate = self._gates.pop(0) if self._gates else None
        worker = threading.Thread(
            target=self._work, args=(service, service.generation, started, gate), daemon=True
        )
        self._workers.append(worker)
        worker.start()
        return Answer.of(shown)

    def _revise(self, service: Service, name: str, template: Json, account: str) -> Revision:
        labels = {
            "serving.knative.dev/service": service.name,
            "serving.knative.dev/configuration": service.name,
            "serving.knative.dev/configurationGeneration": str(service.generation + 1),
            "serving.knative.dev/serviceUid": service.uid,
            "cloud.googleapis.com/location": self.region,
        }
        revision = Revision(
            name=name,
            service=service.name,
            template=deepcopy(template),
            generation=service.generation + 1,
            labels=labels,
            creator=account,
            instance=self._host.prepare(service.name, name, template),
        )
        service.revisions[name] = revision
        return revision

    def _work(
        self, service: Service, generation: int, started: Revision | None, gate: Gate | None
    ) -> None:
        """Bring a change about, as Cloud Run does after it has answered."""
        if gate is not None:
            gate.pass_through()
        threading.Event().wait(self.latency)
        with self._change:
            if service.generation == generation:
                self._reconcile(service)
        if started is None:
            return
        try:
            self._host.start(started)
        except DeployError as error:
            started.ready, started.reason, started.message = False, error.reason, error.message
        else:
            started.ready = True
        with self._change:
            if service.revisions.get(started.name) is not started:  # deleted while it started
                self._host.end([started.instance])
            # A newer change is still to come where the generation is another one.
            if service.observed == service.generation:
                self._reconcile(service)

    def _reconcile(self, service: Service) -> None:
        if self.services.get(service.name) is service:
            service.reconcile(lambda tag: self._host.url(service.name, tag))
            self._touch(service)
            self._change.notify_all()

    def _touch(self, service: Service) -> None:
        """Make a new version of a resource, as every change of spec or status does."""
        self._versions += 1
        service.version = self._versions

    # Revisions

    def list_revisions(self, request: Request, project: str) -> Answer:
        self._check(project)
        selector = request.query.get("labelSelector", "")
        with self._change:
            shown = [
                revision.shown(PROJECT_NUMBER)
                for service in self.services.values()
                for revision in reversed(service.revisions.values())
            ]
        found = [each for each in shown if matches(selector, each["metadata"]["labels"])]
        return _listed(request, "Revision", found)

    def get_revision(self, project: str, revision: str) -> Answer:
        with self._change:
            _, found = self._find_revision(project, revision)
            return Answer.of(found.shown(PROJECT_NUMBER))

    def delete_revision(self, project: str, revision: str) -> Answer:
        with self._change:
            service, found = self._find_revision(project, revision)
            asked = {each.get("revisionName") for each in service.spec["traffic"]}
            if revision in asked | {each["revisionName"] for each in service.traffic}:
                raise ApiError(
                    400,
                    f'Revision "{revision}" cannot be directly deleted because it is actively '
                    "serving.",
                    status="FAILED_PRECONDITION",
                )
            if revision == service.latest_created:
                raise ApiError(
                    400,
                    f'Revision "{revision}" cannot be directly deleted because it is the latest '
                    "created revision.",
                    status="FAILED_PRECONDITION",
                )
            del service.revisions[revision]
            self._change.notify_all()
        self._host.end([found.instance])
        return Answer.of({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    # Operations

    def get_operation(self, project: str, operation: str) -> Answer:
        with self._change:
            return Answer.of(self._operation(project, operation))

    def wait_operation(self, request: Request, project: str, operation: str) -> Answer:
        """Answer once the operation has ended, or the time that the client names is over."""
        wanted = str(request.json().get("timeout", f"{LONGEST_WAIT}s"))
        seconds = min(float(wanted.removesuffix("s")), LONGEST_WAIT)
        with self._change:
            self._change.wait_for(
                lambda: self._operation(project, operation).get("done"), timeout=seconds
            )
            return Answer.of(self._operation(project, operation))

    def _operation(self, project: str, operation: str) -> Json:
        self._check(project)
        name = f"projects/{project}/locations/{self.region}/operations/{operation}"
        service = self.services.get(self._operations.get(operation, ""))
        if service is None:
            raise ApiError(404, f"Operation '{operation}' not found.")
        if not service.settled:
            return {"name": name}
        kind = "type.googleapis.com/google.cloud.run.v1.Service"
        response = {"@type": kind, **service.shown(PROJECT_NUMBER)}
        return {"name": name, "done": True, "response": response}

    # Who may visit

    def get_policy(self, project: str, service: str) -> Answer:
        with self._change:
            return Answer.of(self._policy(self._find(project, service)))

    def set_policy(self, request: Request, project: str, service: str) -> Answer:
        policy = request.json().get("policy") or {}
        with self._change:
            found = self._find(project, service)
            stated = policy.get("etag")
            if stated and stated != self._policy(found)["etag"]:
                message = (
                    "There were concurrent policy changes. Please retry the whole "
                    "read-modify-write with exponential backoff."
                )
                raise ApiError(409, message)
            found.policy = {
                **policy,
                "etag": base64.b64encode(secrets.token_hex(4).encode()).decode(),
            }
            return Answer.of(found.policy)

    def test_permissions(
        self, request: Request, allowed: Callable[[str], None], project: str, service: str
    ) -> Answer:
        """Return those permissions that the caller has; none of a service that is not there.

        https://cloud.google.com/run/docs/reference/rest/v1/projects.locations.services/testIamPermissions
        """
        self._check(project)
        held = []
        if service in self.services:
            for permission in request.json().get("permissions", []):
                with contextlib.suppress(ApiError):
                    allowed(permission)
                    held.append(permission)
        return Answer.of({"permissions": held} if held else {})

    @staticmethod
    def _policy(service: Service) -> Json:
        return {"version": 1, "etag": "ACAB", **service.policy}

    # Places

    def get_project(self, project: str) -> Answer:
        """Tell the project's number, which gcloud compares with a namespace in a file."""
        self._check(project)
        return Answer.of(
            {
                "projectNumber": PROJECT_NUMBER,
                "projectId": self.project,
                "lifecycleState": "ACTIVE",
                "name": self.project,
            }
        )

    def list_locations(self, project: str) -> Answer:
        self._check(project)
        name = f"projects/{project}/locations/{self.region}"
        return Answer.of({"locations": [{"name": name, "locationId": self.region}]})

    # Rules

    def _check(self, project: str) -> None:
        if project not in (self.project, PROJECT_NUMBER):
            raise ApiError(403, f"Permission denied on resource project {project}.")

    def _find(self, project: str, service: str) -> Service:
        self._check(project)
        if found := self.services.get(service):
            return found
        raise missing(f"Resource '{service}' of kind 'SERVICE'", self.region)

    def _find_revision(self, project: str, revision: str) -> tuple[Service, Revision]:
        self._check(project)
        for service in self.services.values():
            if found := service.revisions.get(revision):
                return service, found
        raise missing(f"Resource '{revision}' of kind 'REVISION'", self.region)


def copied(service: Service) -> Service:
    """Return a copy of a service, with the same revisions."""
    others = {name: deepcopy(value) for name, value in vars(service).items() if name != "revisions"}
    return Service(**others, revisions=dict(service.revisions))


def missing(what: str, region: str) -> ApiError:
    """Return a 404, with the domain by which gcloud knows that it is Cloud Run's own."""
    reason = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RESOURCE_NOT_FOUND",
        "domain": "run.googleapis.com",
        "metadata": {"location": region},
    }
    return ApiError(404, f"{what} in region '{region}' does not exist.", [reason])


def _configuration(template: Mapping[str, Any]) -> Json:
    """Return what makes one revision another than the one before."""
    metadata = template.get("metadata") or {}
    return {
        "annotations": metadata.get("annotations") or {},
        "labels": metadata.get("labels") or {},
        "spec": template["spec"],
    }


def _listed(request: Request, kind: str, found: list[Json]) -> Answer:
    """Return one page of a list; https://kubernetes.io/docs/reference/using-api/api-concepts."""
    size = int(request.query.get("limit", 0)) or PAGE_SIZE
    start = int(request.query.get("continue", 0) or 0)
    metadata: Json = {"resourceVersion": now()}
    if found[start + size :]:
        metadata["continue"] = str(start + size)
    items = found[start : start + size]
    return Answer.of(
        {"apiVersion": "serving.knative.dev/v1", "kind": f"{kind}List", "metadata": metadata}
        | ({"items": items} if items else {})
    )
