"""Cloud Run's services, as connect makes them.

Sources: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services with each
method's permissions, and gcloud 528's `run deploy`. A service is the same by v1, which gcloud
speaks (emulators/cloudrun/services.py), and by v2. No container runs: every revision is ready at
once.
"""

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from emulators.appengine import AppEngine
from emulators.appengine.api import Call
from emulators.appengine.googleapi import Route, route
from emulators.appengine.tokens import PROJECT_NUMBER
from emulators.appengine.wire import Answer, ApiError, Request
from emulators.cloudrun.api import Api, service_routes
from emulators.cloudrun.resources import PUBLIC, Instance, Revision, Service
from emulators.cloudrun.services import Services, missing

from .buckets import Buckets
from .project import Project

HOST = "run.test"  # gcloud puts the region before it, which only a proxy finds
DESCRIPTION = "run.googleapis.com/description"
ACT_AS = "iam.serviceAccounts.actAs"
PUBLISH = "run.services.setIamPolicy"
PATH = "/v2/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/services"
SERVICE = f"{PATH}/(?P<name>[^/:]+)"
KIND = "run.services"
Json = dict[str, Any]


class Idle:
    """An instance that nobody visits."""

    boots, running, name = 0, False, ""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def ask(self, _request: Request, /) -> Answer:
        """Answer nobody."""
        raise NotImplementedError

    def start(self, _deadline: float, /) -> bool:
        """Start at once."""
        return True

    def end(self) -> None:
        """End what does not run."""

    remove = revive = end


class Machines:
    """What services need of machines: here there are none."""

    registry = "registry.test"

    def __init__(self, region: str):
        self._region = region

    def prepare(self, _service: str, _revision: str, _template: Json) -> Instance:
        """Return an instance."""
        return Idle()

    def start(self, revision: Revision) -> None:
        """Start any image."""

    def url(self, service: str, tag: str = "") -> str:
        """Return an address."""
        return f"https://{tag}{'---' * bool(tag)}{service}-{PROJECT_NUMBER}.{self._region}.run.app"

    def end(self, instances: Collection[Instance]) -> None:
        """End what does not run."""


class CloudRun:
    """What a project has for Cloud Run; the App Engine emulator's API says who may do what."""

    def __init__(self, project: Project, gae: AppEngine):
        self.buckets = Buckets(project, gae.storage)
        self.regions: dict[str, Services] = {}
        self._project = project
        self._gae = gae
        gae.api.neighbours.append(self._by_v1)

    def routes(self) -> list[Route]:
        """Return the methods of v2, and those of buckets."""
        return [
            route("POST", PATH, f"{KIND}.create", self.create, "request", "account"),
            route("GET", SERVICE, f"{KIND}.get", self.get),
            route("PATCH", SERVICE, f"{KIND}.update", self.patch, "request", "account"),
            route("DELETE", SERVICE, f"{KIND}.delete", self.delete),
            *self.buckets.routes(),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that turn Cloud Run's clients here."""
        return {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://{HOST}/",
            "http_proxy": self._gae.api_url,
            "no_proxy": "127.0.0.1,localhost",
        }

    def state(self) -> Json:
        """Return all that requests can change, without what each change brings with it."""
        return {
            "services": {
                f"{region}/{name}": _shown(service)
                for region, services in self.regions.items()
                for name, service in services.services.items()
            },
            "buckets": self.buckets.state(),
            "images": {
                name: sorted((b["role"], sorted(b["members"])) for b in policy.bindings)
                for name, policy in self._project.repository_policies.items()
            },
        }

    def services(self, region: str) -> Services:
        """Return the services of a region."""
        if region not in self.regions:
            self.regions[region] = Services(
                self._project.project,
                region,
                Machines(region),
                latency=self._project.operations.latency,
            )
        return self.regions[region]

    def _by_v1(self, request: Request, call: Call) -> Answer | None:
        """Answer a client of v1, which names the region in the host."""
        gae, parts = self._gae, urlsplit(request.target)
        if not str(parts.hostname).endswith(HOST):
            return None
        region = str(parts.hostname).removesuffix(HOST).removesuffix("-")
        services = self.services(region or parts.path.partition("/locations/")[2].split("/")[0])
        api = Api(services, gae.storage, gae.logs, gae.tokens, auth=True)
        api.check, api.authorize = gae.api.check, gae.api.authorize
        api.routes = service_routes(services)
        return api.route(request, call)

    # By v2

    def create(self, request: Request, account: str, project: str, region: str) -> Answer:
        """Make a service."""
        body = request.json()
        template = body["template"]
        runtime = template["serviceAccount"]
        if not self._project.iam.knows(f"serviceAccount:{runtime}"):
            raise ApiError(
                403,
                f"Permission 'iam.serviceaccounts.actAs' denied on service account {runtime} "
                "(or it may not exist).",
            )
        self._gae.api.allow(account, runtime, ACT_AS)
        public = bool(body.get("invokerIamDisabled"))
        if public:
            self._gae.api.allow(account, "", PUBLISH)
        annotations = {DESCRIPTION: body.get("description", ""), PUBLIC: str(public).lower()}
        spec = {"serviceAccountName": runtime, "containers": template["containers"]}
        name = request.query["serviceId"]
        knative = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"template": {"spec": spec}},
        }
        made = Request(
            "POST", "/", request.headers, Answer.of(knative).body, request.client, request.secure
        )
        self.services(region).create_service(made, account, project)
        return self._operate(region, name)

    def _operate(self, region: str, name: str) -> Answer:
        where = f"projects/{self._project.project}/locations/{region}"
        found = self.services(region).services.get(name)
        shown = _shown(found) if found else {}
        return self._project.operations.begin(f"{where}/operations/", shown)

    def _find(self, region: str, name: str) -> Service:
        found = self.services(region).services.get(name)
        if found is None:
            raise missing(f"Resource '{name}' of kind 'SERVICE'", region)
        return found

    def get(self, project: str, region: str, name: str) -> Answer:
        """Return a service."""
        path = f"projects/{project}/locations/{region}/services/{name}"
        return Answer.of({"name": path} | _shown(self._find(region, name)))

    def patch(self, request: Request, account: str, region: str, name: str, project: str) -> Answer:
        """Change who may visit a service."""
        if request.query.get("updateMask") != "invokerIamDisabled":
            raise ApiError(501, f"Of a service in {project}, only invokerIamDisabled is modelled.")
        self._gae.api.allow(account, "", PUBLISH)
        public = request.json().get("invokerIamDisabled", False)
        self._find(region, name).annotations[PUBLIC] = str(public).lower()
        return self._operate(region, name)

    def delete(self, project: str, region: str, name: str) -> Answer:
        """Delete a service."""
        self._find(region, name)
        self.services(region).delete_service(project, name)
        return self._operate(region, name)


def _shown(service: Service) -> Json:
    """Return a service as v2 has it, as far as it is modelled."""
    spec = service.spec["template"]["spec"]
    return {
        "description": service.annotations.get(DESCRIPTION, ""),
        "invokerIamDisabled": str(service.annotations.get(PUBLIC)).lower() == "true",
        "template": {
            "serviceAccount": spec["serviceAccountName"],
            "containers": [{"image": each["image"]} for each in spec["containers"]],
        },
    }
