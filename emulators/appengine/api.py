"""Where every API request comes in: log, faults, bearer token, permission, the right function.

Modelled after the paths and permissions of each method's reference page (`apps.…` in
https://cloud.google.com/appengine/docs/admin-api/reference/rest, `objects.…` in
https://cloud.google.com/storage/docs/json_api/v1, `entries.list` in
https://cloud.google.com/logging/docs/reference/v2/rest), and https://cloud.google.com/iam/docs/permission-error-messages
for a refusal's words and its ErrorInfo.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote, urlsplit

from .admin import Admin
from .faults import Faults
from .logs import Logs
from .storage import Storage, denial
from .tokens import Tokens
from .wire import Answer, ApiError, Request

OPEN = ""  # a route that asks for no token: the ones that hand tokens out
SIGNED_IN = "signed in"  # a route that asks for a token and checks the rest itself
ACT_AS = "iam.serviceAccounts.actAs"
PROJECT = "(?P<project>[^/]+)"
APP = f"/v1/apps/{PROJECT}"
SERVICE = f"{APP}/services/(?P<service>[^/]+)"
VERSION = f"{SERVICE}/versions/(?P<version>[^/]+)"
BUCKET = "/storage/v1/b/(?P<bucket>[^/]+)"
OBJECTS = f"{BUCKET}/o"
OBJECT = f"{OBJECTS}/(?P<name>[^/]+)"  # slashes in a name are URL-encoded


@dataclass
class Call:
    """One API request, as the log keeps it: no header and no body, so no secret."""

    method: str
    path: str
    account: str = ""
    status: int = 0

    def __str__(self) -> str:
        return f"{self.method} {self.path} -> {self.status}"


@dataclass(frozen=True)
class Route:
    """A method and a path, the permission they need, and what answers them."""

    method: str
    path: re.Pattern[str]
    permission: str
    respond: Callable[..., Answer]
    wants: tuple[str, ...] = ()


class Api:
    """Everything under one port that a real client believes to be googleapis.com."""

    def __init__(self, admin: Admin, storage: Storage, logs: Logs, tokens: Tokens, *, auth: bool):
        self.faults = Faults()
        self.denied: set[str] = set()
        self.requests: list[Call] = []
        self.unmodelled: list[Call] = []
        # For emulators of other APIs on the same port: who answers first, and who may do what.
        self.neighbours: list[Callable[[Request, Call], Answer | None]] = []
        self.authorize: Callable[[str, str, str], None] = lambda _account, _permission, _bucket: (
            None
        )
        self._project = admin.project
        self._tokens = tokens
        self._auth = auth
        self._routes = [
            _route("POST", "/token", OPEN, tokens.exchange_key, "request"),
            _route("POST", "/v1/token", OPEN, tokens.exchange_gitlab_token, "request"),
            _route(
                "POST",
                "/v1/projects/-/serviceAccounts/[^/]+:generateAccessToken",
                SIGNED_IN,
                tokens.impersonate,
                "request",
            ),
            _route(
                "POST", "/v2/entries:list", "logging.logEntries.list", logs.list_entries, "request"
            ),
            _route("GET", BUCKET, "storage.buckets.get", storage.get_bucket),
            _route("GET", OBJECTS, "storage.objects.list", storage.list_objects, "request"),
            _route(
                "GET",
                f"(?:/download)?{OBJECT}",
                "storage.objects.get",
                storage.get_object,
                "request",
                "allowed",
            ),
            _route(
                "POST",
                f"(?:/upload)?{OBJECTS}",
                "storage.objects.create",
                storage.insert_object,
                "request",
                "allowed",
            ),
            _route("DELETE", OBJECT, "storage.objects.delete", storage.delete_object, "request"),
            _route(
                "POST",
                "/v1/apps",
                "appengine.applications.create",
                admin.create_app,
                "request",
                "account",
            ),
            _route("GET", APP, "appengine.applications.get", admin.get_app),
            _route(
                "GET", f"{APP}/services", "appengine.services.list", admin.list_services, "request"
            ),
            _route("GET", SERVICE, "appengine.services.get", admin.get_service),
            _route(
                "PATCH", SERVICE, "appengine.services.update", admin.set_split, "request", "account"
            ),
            _route("DELETE", SERVICE, "appengine.services.delete", admin.delete_service, "account"),
            _route(
                "GET",
                f"{SERVICE}/versions",
                "appengine.versions.list",
                admin.list_versions,
                "request",
            ),
            _route(
                "POST",
                f"{SERVICE}/versions",
                "appengine.versions.create",
                admin.create_version,
                "request",
                "account",
            ),
            _route("GET", VERSION, "appengine.versions.get", admin.get_version, "request"),
            _route("PATCH", VERSION, "appengine.versions.update", admin.update_version),
            _route("DELETE", VERSION, "appengine.versions.delete", admin.delete_version, "account"),
            _route(
                "GET",
                f"{APP}/operations",
                "appengine.operations.list",
                admin.list_operations,
                "request",
            ),
            _route(
                "GET",
                f"{APP}/operations/(?P<operation>[^/]+)",
                "appengine.operations.get",
                admin.get_operation,
            ),
        ]

    def respond(self, request: Request) -> Answer:
        """Answer one request, and keep it in the log whatever became of it."""
        call = Call(request.method, request.target)
        self.requests.append(call)
        fault = self.faults.take(request)
        answer = None
        if fault is not None and not fault.applied:
            answer = fault.strike()
        if answer is None:
            answer = self._act(request, call)
            if fault is not None and fault.applied:
                answer = fault.strike() or answer
        call.status = 0 if answer.close else answer.status
        return answer

    def _act(self, request: Request, call: Call) -> Answer:
        path = urlsplit(request.target).path
        try:
            for neighbour in self.neighbours:
                if (answer := neighbour(request, call)) is not None:
                    return answer
            for route in self._routes:
                match = route.path.fullmatch(path)
                if match and route.method == request.method:
                    names = {name: unquote(value) for name, value in match.groupdict().items()}
                    bucket = names.get("bucket", "")
                    call.account = self._admit(request, route.permission, bucket)
                    allowed = partial(self._allow, call.account, bucket)
                    extra = {"request": request, "account": call.account, "allowed": allowed}
                    return route.respond(**{name: extra[name] for name in route.wants}, **names)
        except ApiError as error:
            return error.answer()
        self.unmodelled.append(call)
        return ApiError(404, f"{request.method} {request.path} is not modelled.").answer()

    def _admit(self, request: Request, permission: str, bucket: str) -> str:
        """Return the caller's account; 401 without a token, 403 without the permission."""
        asked = self._auth and permission != OPEN
        account = self._tokens.account(request) if asked else ""
        if permission == "appengine.versions.create" and ACT_AS in self.denied:
            permission = ACT_AS
        self._allow(account, bucket, permission)
        return account

    def _allow(self, account: str, bucket: str, permission: str) -> None:
        """Refuse what `denied` has: a permission, or one on one bucket, as PERMISSION@BUCKET."""
        if self.denied & {permission, f"{permission}@{bucket}"}:
            raise self._denial(permission, account)
        if self._auth and permission not in (OPEN, SIGNED_IN):
            self.authorize(account, permission, bucket)

    def _denial(self, permission: str, account: str) -> ApiError:
        service = permission.partition(".")[0]
        if service == "storage":
            return denial(account, permission)
        resource = f"//appengine.googleapis.com/apps/{self._project}"
        if service == "logging":
            resource = f"//cloudresourcemanager.googleapis.com/projects/{self._project}"
        if permission == ACT_AS:
            resource = f"service account {self._project}@appspot.gserviceaccount.com"
        return ApiError(
            403,
            f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": f"{service}.googleapis.com",
                    "metadata": {"permission": permission, "resource": resource},
                }
            ],
        )


def _route(
    method: str, path: str, permission: str, respond: Callable[..., Answer], *wants: str
) -> Route:
    return Route(method, re.compile(path), permission, respond, wants)
