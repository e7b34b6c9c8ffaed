"""Where every API request comes in: log, faults, bearer token, permission, the right function.

Modelled after https://cloud.google.com/iam/docs/permission-error-messages for a refusal's words and
its ErrorInfo, and the paths and permissions of each method's reference page (`objects.…` in
https://cloud.google.com/storage/docs/json_api/v1, `entries.list` in
https://cloud.google.com/logging/docs/reference/v2/rest).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote, urlsplit

from .faults import Faults
from .logs import Logs
from .storage import Storage
from .storage import denial as storage_denial
from .tokens import Tokens
from .wire import Answer, ApiError, Request

OPEN = ""  # a route that asks for no token: the ones that hand tokens out
SIGNED_IN = "signed in"  # a route that asks for a token and checks the rest itself
BUCKET = "/storage/v1/b/(?P<bucket>[^/]+)"
OBJECTS = f"{BUCKET}/o"
OBJECT = f"{OBJECTS}/(?P<name>[^/]+)"  # slashes in a name are URL-encoded
WITH_A_POLICY = ("bucket", "email")  # parts of a path that name what has a policy of its own


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
    """A method and a path, the permission they need, and what answers them; `api` has the path."""

    method: str
    path: re.Pattern[str]
    permission: str
    respond: Callable[..., Answer]
    wants: tuple[str, ...] = ()
    api: str = ""


class GoogleApi:
    """Answers a list of routes; each emulator adds its own and those that it shares."""

    def __init__(self, tokens: Tokens, *, auth: bool):
        self.faults = Faults()
        self.denied: set[str] = set()
        self.requests: list[Call] = []
        self.unmodelled: list[Call] = []
        # For emulators of other APIs on the same port: who answers first, what a request must be
        # before it is looked at, and who may do what (by account, permission, bucket or account).
        self.neighbours: list[Callable[[Request, Call], Answer | None]] = []
        self.check: Callable[[Request, Route], None] = lambda _request, _route: None
        self.authorize: Callable[[str, str, str], None] = lambda *_: None
        self.routes: list[Route] = []
        self._tokens = tokens
        self._auth = auth

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
        try:
            for neighbour in self.neighbours:
                if (answer := neighbour(request, call)) is not None:
                    return answer
            if (answer := self.route(request, call)) is not None:
                return answer
        except ApiError as error:
            return error.answer()
        self.unmodelled.append(call)
        return ApiError(404, f"{request.method} {request.path} is not modelled.").answer()

    def route(self, request: Request, call: Call) -> Answer | None:
        """Answer by the first route that fits, if one does."""
        path = urlsplit(request.target).path
        for route in self.routes:
            match = route.path.fullmatch(path)
            if match and route.method == request.method:
                self.check(request, route)
                names = {name: unquote(value) for name, value in match.groupdict().items()}
                resource = next((names[part] for part in WITH_A_POLICY if part in names), "")
                call.account = self._admit(request, route.permission, resource)
                allowed = partial(self.allow, call.account, resource)
                extra = {"request": request, "account": call.account, "allowed": allowed}
                return route.respond(**{name: extra[name] for name in route.wants}, **names)
        return None

    def _admit(self, request: Request, permission: str, resource: str) -> str:
        """Return the caller's account; 401 without a token, 403 without the permission."""
        asked = self._auth and permission != OPEN
        account = self._tokens.account(request) if asked else ""
        self.allow(account, resource, permission)
        return account

    def allow(self, account: str, resource: str, permission: str) -> None:
        """Refuse what `denied` has: a permission, or one on one resource, as PERMISSION@BUCKET."""
        if self.denied & {permission, f"{permission}@{resource}"}:
            raise self.denial(permission, account)
        if self._auth and permission not in (OPEN, SIGNED_IN):
            self.authorize(account, permission, resource)

    def denial(self, permission: str, account: str) -> ApiError:
        """Return the refusal of an account that lacks a permission."""
        if permission.startswith("storage."):
            return storage_denial(account, permission)
        return self.refusal(permission)

    def refusal(self, permission: str) -> ApiError:
        """Return the 403 of an API other than Storage's."""
        raise NotImplementedError


def refusal(permission: str, resource: str) -> ApiError:
    """Return the 403 of most APIs."""
    return ApiError(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": f"{permission.partition('.')[0]}.googleapis.com",
                "metadata": {"permission": permission, "resource": resource},
            }
        ],
    )


def login_routes(tokens: Tokens) -> list[Route]:
    """Return what turns credentials into access tokens."""
    return [
        route("POST", "/token", OPEN, tokens.exchange_key, "request"),
        route("POST", "/v1/token", OPEN, tokens.exchange_gitlab_token, "request"),
        route(
            "POST",
            "/v1/projects/-/serviceAccounts/[^/]+:generateAccessToken",
            SIGNED_IN,
            tokens.impersonate,
            "request",
        ),
    ]


def logging_routes(logs: Logs) -> list[Route]:
    """Return Cloud Logging."""
    return [
        route("POST", "/v2/entries:list", "logging.logEntries.list", logs.list_entries, "request"),
    ]


def storage_routes(storage: Storage) -> list[Route]:
    """Return Cloud Storage."""
    return [
        route("GET", BUCKET, "storage.buckets.get", storage.get_bucket),
        route("GET", OBJECTS, "storage.objects.list", storage.list_objects, "request"),
        route(
            "GET",
            f"(?:/download)?{OBJECT}",
            "storage.objects.get",
            storage.get_object,
            "request",
            "allowed",
        ),
        route(
            "POST",
            f"(?:/upload)?{OBJECTS}",
            "storage.objects.create",
            storage.insert_object,
            "request",
            "allowed",
        ),
        route("DELETE", OBJECT, "storage.objects.delete", storage.delete_object, "request"),
    ]


def route(
    method: str,
    path: str,
    permission: str,
    respond: Callable[..., Answer],
    *wants: str,
    api: str = "",
) -> Route:
    """Return a route; `wants` are the arguments that `respond` takes beside the path's parts.

    Its API is the one that its permission begins with, unless `api` names another.
    """
    api = api or permission.partition(".")[0]
    return Route(method, re.compile(path), permission, respond, wants, api)
