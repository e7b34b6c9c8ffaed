"""App Engine's API, and those that a delivery to it needs beside it.

Modelled after the paths and permissions of each method's reference page (`apps.…` in
https://cloud.google.com/appengine/docs/admin-api/reference/rest).
"""

from .admin import Admin
from .googleapi import Call, GoogleApi, logging_routes, login_routes, refusal, route, storage_routes
from .logs import Logs
from .storage import Storage
from .tokens import Tokens
from .wire import ApiError, Request

__all__ = ["Api", "Call"]

ACT_AS = "iam.serviceAccounts.actAs"
PROJECT = "(?P<project>[^/]+)"
APP = f"/v1/apps/{PROJECT}"
SERVICE = f"{APP}/services/(?P<service>[^/]+)"
VERSION = f"{SERVICE}/versions/(?P<version>[^/]+)"


class Api(GoogleApi):
    """Everything under one port that a real client believes to be googleapis.com."""

    def __init__(self, admin: Admin, storage: Storage, logs: Logs, tokens: Tokens, *, auth: bool):
        super().__init__(tokens, auth=auth)
        self._project = admin.project
        self.routes = [
            *login_routes(tokens),
            *logging_routes(logs),
            *storage_routes(storage),
            route(
                "POST",
                "/v1/apps",
                "appengine.applications.create",
                admin.create_app,
                "request",
                "account",
            ),
            route("GET", APP, "appengine.applications.get", admin.get_app),
            route(
                "GET", f"{APP}/services", "appengine.services.list", admin.list_services, "request"
            ),
            route("GET", SERVICE, "appengine.services.get", admin.get_service),
            route(
                "PATCH", SERVICE, "appengine.services.update", admin.set_split, "request", "account"
            ),
            route("DELETE", SERVICE, "appengine.services.delete", admin.delete_service, "account"),
            route(
                "GET",
                f"{SERVICE}/versions",
                "appengine.versions.list",
                admin.list_versions,
                "request",
            ),
            route(
                "POST",
                f"{SERVICE}/versions",
                "appengine.versions.create",
                admin.create_version,
                "request",
                "account",
            ),
            route("GET", VERSION, "appengine.versions.get", admin.get_version, "request"),
            route("PATCH", VERSION, "appengine.versions.update", admin.update_version),
            route("DELETE", VERSION, "appengine.versions.delete", admin.delete_version, "account"),
            route(
                "GET",
                f"{APP}/operations",
                "appengine.operations.list",
                admin.list_operations,
                "request",
            ),
            route(
                "GET",
                f"{APP}/operations/(?P<operation>[^/]+)",
                "appengine.operations.get",
                admin.get_operation,
            ),
        ]

    def _admit(self, request: Request, permission: str, bucket: str) -> str:
        # A version runs as an account that the caller must be allowed to act as.
        if permission == "appengine.versions.create" and ACT_AS in self.denied:
            permission = ACT_AS
        return super()._admit(request, permission, bucket)

    def refusal(self, permission: str) -> ApiError:
        """Return the 403 of App Engine and its neighbours."""
        api = permission.partition(".")[0]
        resource = f"//{api}.googleapis.com/projects/{self._project}"
        if api == "appengine":
            resource = f"//appengine.googleapis.com/apps/{self._project}"
        elif api in ("logging", "resourcemanager"):
            resource = f"//cloudresourcemanager.googleapis.com/projects/{self._project}"
        elif permission == ACT_AS:
            resource = f"service account {self._project}@appspot.gserviceaccount.com"
        return refusal(permission, resource)
