"""Cloud Run's API under one port, with those that a delivery to it needs beside it.

Modelled after the paths and permissions of each method's reference page
(https://cloud.google.com/run/docs/reference/rest/v1 and
https://cloud.google.com/run/docs/reference/iam/permissions). gcloud asks for services at
REGION-run.googleapis.com and for IAM policies at run.googleapis.com. The words of refusals are
those of https://github.com/google-github-actions/deploy-cloudrun/issues.

The port is a proxy, too: gcloud puts the region before the host of an override, and such a host is
found only by a proxy.
"""

from urllib.parse import urlsplit

from emulators.appengine.googleapi import (
    SIGNED_IN,
    GoogleApi,
    Route,
    logging_routes,
    login_routes,
    refusal,
    route,
    storage_routes,
)
from emulators.appengine.logs import Logs
from emulators.appengine.storage import Storage
from emulators.appengine.tokens import PROJECT_NUMBER, Tokens
from emulators.appengine.wire import ApiError, Request

from .resources import PUBLIC
from .services import Services

ACT_AS = "iam.serviceAccounts.actAs"
KNATIVE = "/apis/serving.knative.dev/v1/namespaces/(?P<project>[^/]+)"
SERVICE = f"{KNATIVE}/services/(?P<service>[^/]+)"
REVISION = f"{KNATIVE}/revisions/(?P<revision>[^/]+)"
LOCATIONS = "/v1/projects/(?P<project>[^/]+)/locations"
POLICY = f"{LOCATIONS}/[^/]+/services/(?P<service>[^/:]+)"
OPERATION = f"{LOCATIONS}/[^/]+/operations/(?P<operation>[^/:]+)"


class Api(GoogleApi):
    """Everything that a client of a delivery believes to be googleapis.com."""

    def __init__(
        self, services: Services, storage: Storage, logs: Logs, tokens: Tokens, *, auth: bool
    ):
        super().__init__(tokens, auth=auth)
        self._services = services
        self.routes = [
            *login_routes(tokens),
            *logging_routes(logs),
            *storage_routes(storage),
            route(
                "GET",
                "/v1/projects/(?P<project>[^/]+)",
                "resourcemanager.projects.get",
                services.get_project,
            ),
            *service_routes(services),
        ]

    def _admit(self, request: Request, permission: str, bucket: str) -> str:
        try:
            account = super()._admit(request, permission, bucket)
            if permission in ("run.services.create", "run.services.update"):
                # A revision runs as an account that the caller must be allowed to act as, and to
                # make a service public needs what a change of its IAM policy needs.
                self.allow(account, bucket, ACT_AS)
                if self._changes_who_may_visit(request):
                    self.allow(account, bucket, "run.services.setIamPolicy")
        except ApiError as error:
            if error.code == 403 and error.message == permission:
                raise _forbidden(permission, request) from None
            raise
        return account

    def _changes_who_may_visit(self, request: Request) -> bool:
        """Whether a service that is sent has another annotation than the one that there is."""
        metadata = request.json().get("metadata") or {}
        found = self._services.services.get(str(metadata.get("name")))
        before = found.annotations.get(PUBLIC) if found else None
        return (metadata.get("annotations") or {}).get(PUBLIC) != before

    def refusal(self, permission: str) -> ApiError:
        """Return the 403 of Cloud Run and its neighbours."""
        project = self._services.project
        if permission.startswith("logging."):
            return refusal(permission, f"//cloudresourcemanager.googleapis.com/projects/{project}")
        if permission == ACT_AS:
            account = f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com"
            return ApiError(
                403,
                f"Permission 'iam.serviceaccounts.actAs' denied on service account {account} "
                "(or it may not exist).",
            )
        if permission == "run.services.setIamPolicy":
            return ApiError(
                403,
                f"Permission '{permission}' denied on resource (or it may not exist).",
            )
        return ApiError(403, permission)  # _admit knows the resource


def service_routes(run: Services) -> list[Route]:
    """Return what the API has of services, revisions and operations."""
    return [
        route("GET", f"{KNATIVE}/services", "run.services.list", run.list_services, "request"),
        route(
            "POST",
            f"{KNATIVE}/services",
            "run.services.create",
            run.create_service,
            *("request", "account"),
        ),
        route("GET", SERVICE, "run.services.get", run.get_service),
        route(
            "PUT",
            SERVICE,
            "run.services.update",
            run.replace_service,
            *("request", "account"),
        ),
        route("DELETE", SERVICE, "run.services.delete", run.delete_service),
        route(
            "GET",
            f"{KNATIVE}/configurations/(?P<service>[^/]+)",
            "run.configurations.get",
            run.get_configuration,
        ),
        route("GET", f"{KNATIVE}/routes/(?P<service>[^/]+)", "run.routes.get", run.get_route),
        route("GET", f"{KNATIVE}/revisions", "run.revisions.list", run.list_revisions, "request"),
        route("GET", REVISION, "run.revisions.get", run.get_revision),
        route("DELETE", REVISION, "run.revisions.delete", run.delete_revision),
        # gcloud asks here where it is told no region.
        route(
            "GET",
            f"{LOCATIONS}/(?:-|[a-z0-9-]+)/services",
            "run.services.list",
            run.list_services,
            "request",
        ),
        route("GET", LOCATIONS, "run.locations.list", run.list_locations),
        route("GET", OPERATION, "run.operations.get", run.get_operation),
        route("POST", f"{OPERATION}:wait", "run.operations.get", run.wait_operation, "request"),
        route("GET", f"{POLICY}:getIamPolicy", "run.services.getIamPolicy", run.get_policy),
        route(
            "POST",
            f"{POLICY}:setIamPolicy",
            "run.services.setIamPolicy",
            run.set_policy,
            "request",
        ),
        route(
            "POST",
            f"{POLICY}:testIamPermissions",
            SIGNED_IN,
            run.test_permissions,
            *("request", "allowed"),
        ),
    ]


def _forbidden(permission: str, request: Request) -> ApiError:
    path = urlsplit(request.target).path
    _, found, resource = path.partition("namespaces/")
    resource = f"namespaces/{resource}" if found else path.partition("/v1/")[2].partition(":")[0]
    return ApiError(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist).",
    )
