"""Service Usage: which APIs are on, and what those that are off answer.

Sources: https://cloud.google.com/service-usage/docs/reference/rest/v1/services (`list`, `enable`,
`batchEnable`), https://cloud.google.com/apis/docs/troubleshooting for SERVICE_DISABLED, and
recorded calls of gcloud 528 for the words and the names of operations.
"""

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .project import Project

PATH = "/v1/projects/[^/:]+/services"
# Other APIs answer whether they are on or off: gcloud's own project has them.
CHECKED_APIS = ("appengine", "artifactregistry", "cloudbuild", "iam", "orgpolicy", "run")


class ServiceUsage:
    """Turns APIs on."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its methods."""
        enable = "serviceusage.services.enable"
        return [
            route("GET", PATH, "serviceusage.services.list", self.list),
            route("POST", f"{PATH}:batchEnable", enable, self.batch_enable, "request"),
            route("POST", f"{PATH}/(?P<name>[^/:]+):enable", enable, self.enable),
        ]

    def require(self, api: str) -> None:
        """Refuse a request to an API that is off."""
        if api not in CHECKED_APIS or f"{api}.googleapis.com" in self._project.enabled:
            return
        number = self._project.number
        console = "https://console.developers.google.com/apis/api"
        raise ApiError(
            403,
            f"{api} API has not been used in project {number} before or it is disabled. Enable it "
            f"by visiting {console}/{api}.googleapis.com/overview?project={number} then retry. If "
            "you enabled this API recently, wait a few minutes for the action to propagate to our "
            "systems and retry.",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "SERVICE_DISABLED",
                    "domain": "googleapis.com",
                }
            ],
        )

    def list(self) -> Answer:
        """List those that are on: connect and gcloud ask for no others."""
        number = self._project.number
        rows = [
            {
                "name": f"projects/{number}/services/{name}",
                "state": "ENABLED",
                "config": {"name": name},
            }
            for name in sorted(self._project.enabled)
        ]
        return Answer.of({"services": rows} if rows else {})

    def batch_enable(self, request: Request) -> Answer:
        """Turn several on."""
        return self._turn_on(*request.json()["serviceIds"])

    def enable(self, name: str) -> Answer:
        """Turn one on."""
        return self._turn_on(name)

    def _turn_on(self, *names: str) -> Answer:
        number = self._project.number
        if not self._project.billing:
            raise ApiError(
                400,
                f"Billing account for project '{number}' is not found. Billing must be "
                f"enabled for activation of service(s) '{','.join(names)}' to proceed.",
            )
        self._project.enabled.update(names)
        return self._project.operations.begin(f"operations/acat.p2-{number}-", {})
