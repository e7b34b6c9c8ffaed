"""One project in one GitLab.

Modelled after GitLab's API documentation, https://docs.gitlab.com/api/ (projects, variables,
protected branches, runners, version), and the specs of its source, such as
spec/requests/api/ci/variables_spec.rb, for what it refuses and in which words.
"""

import json
import re
import secrets
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from emulators.appengine.faults import Faults
from emulators.appengine.wire import Answer, Request, Server

MAINTAINER, DEVELOPER = 40, 30
KEY = re.compile(r"[a-zA-Z0-9_]{1,255}")
MASKED = re.compile(r"[a-zA-Z0-9_+=/@:.~-]{8,}")
MASKED_RAW = re.compile(r"\S{8,}")
FLAGS = {"protected": False, "masked": False, "raw": False, "hidden": False}


class Refusal(Exception):  # noqa: N818 - an answer, rather than a mistake
    """An error in one of GitLab's forms."""

    def __init__(self, status: int, **body: Any):
        super().__init__(status)
        self.answer = _answer(body, status)


class GitLab:
    """A GitLab with one project, alive inside a `with` block."""

    def __init__(
        self,
        project: str = "acme/site",
        *,
        number: int = 4242,
        version: str = "18.5.0-ee",
        port: int = 0,
    ):
        self.version = version
        self.project: dict[str, Any] = {
            "id": number,
            "path_with_namespace": project,
            "default_branch": None,
            "archived": False,
        }
        self.tokens: dict[str, dict[str, Any]] = {}
        self.variables: list[dict[str, Any]] = []
        self.branches: list[str] = []  # protected ones
        self.runners: list[dict[str, Any]] = [
            {"id": 1, "status": "online", "paused": False, "is_shared": True}
        ]
        self.requests: list[tuple[str, str]] = []
        self.unmodelled: list[tuple[str, str]] = []
        self.faults = Faults()
        self.token = self.issue()
        server = Server(self._respond, port=port)
        self._server = server
        self.url = f"http://127.0.0.1:{server.port}"
        self.project["web_url"] = f"{self.url}/{project}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self._server.stop()

    def issue(self, *scopes: str, role: int = MAINTAINER) -> str:
        """Make a token; by default with the scope api, of a maintainer."""
        token = f"glpat-{secrets.token_hex(10)}"
        self.tokens[token] = {"scopes": list(scopes or ("api",)), "role": role}
        return token

    def state(self) -> dict[str, Any]:
        """Return all that requests can change."""
        return {
            "variables": sorted((v["key"], v["environment_scope"], str(v)) for v in self.variables),
            "branches": sorted(self.branches),
        }

    def variable(self, key: str, scope: str = "*") -> dict[str, Any] | None:
        """Return a variable."""
        return next(
            (v for v in self.variables if (v["key"], v["environment_scope"]) == (key, scope)), None
        )

    def environment(self) -> dict[str, str]:
        """What connect needs to know."""
        return {"GITLAB_TOKEN": self.token}

    def _respond(self, request: Request) -> Answer:
        target = request.target
        self.requests.append((request.method, target))
        fault = self.faults.take(request)
        if fault and not fault.applied and (struck := fault.strike()):
            return struck
        try:
            answer = self._act(request)
        except Refusal as refusal:
            answer = refusal.answer
        return (fault.strike() or answer) if fault and fault.applied else answer

    def _act(self, request: Request) -> Answer:
        token = request.headers.get("PRIVATE-TOKEN") or request.headers.get(
            "Authorization", ""
        ).removeprefix("Bearer ")
        holder = self.tokens.get(token)
        if holder is None:
            raise Refusal(
                401,
                error="invalid_token",
                error_description="Token was revoked. You have to re-authorize from the user.",
            )
        path = urlsplit(request.target).path.removeprefix("/api/v4")
        named = re.escape(quote(self.project["path_with_namespace"], safe=""))
        whose = rf"/projects/(?:{self.project['id']}|{named})"
        routes: list[tuple[str, str, int, Any]] = [
            (
                "GET",
                "/version",
                0,
                lambda **_: {"version": self.version, "revision": "0123456789a"},
            ),
            (
                "GET",
                "/personal_access_tokens/self",
                0,
                lambda **_: {"id": 1, "active": True, "scopes": holder["scopes"]},
            ),
            ("GET", "/user", 0, lambda **_: {"id": 1, "username": "ada", "is_admin": False}),
            ("GET", whose, 0, lambda **_: self._describe(holder["role"])),
            ("GET", f"{whose}/variables", MAINTAINER, self._list_variables),
            ("POST", f"{whose}/variables", MAINTAINER, self._create_variable),
            ("GET", rf"{whose}/variables/(?P<key>\w+)", MAINTAINER, self._get_variable),
            ("PUT", rf"{whose}/variables/(?P<key>\w+)", MAINTAINER, self._update_variable),
            ("DELETE", rf"{whose}/variables/(?P<key>\w+)", MAINTAINER, self._delete_variable),
            (
                "GET",
                f"{whose}/protected_branches",
                DEVELOPER,
                lambda **_: [{"name": n} for n in self.branches],
            ),
            ("POST", f"{whose}/protected_branches", MAINTAINER, self._protect),
            ("GET", f"{whose}/runners", MAINTAINER, self._list_runners),
        ]
        for method, pattern, role, act in routes:
            match = re.fullmatch(pattern, path)
            if not match or method != request.method:
                continue
            scopes = set(holder["scopes"])
            enough = {"api"} if method != "GET" else {"api", "read_api"}
            if path != "/personal_access_tokens/self" and not scopes & enough:
                raise Refusal(
                    403,
                    error="insufficient_scope",
                    error_description="The request requires higher privileges than provided by "
                    "the access token.",
                    scope="api read_api",
                )
            if holder["role"] < role:
                raise Refusal(403, message="403 Forbidden")
            body = act(request=request, **{k: unquote(v) for k, v in match.groupdict().items()})
            status = {"POST": 201, "DELETE": 204}.get(method, 200)
            return Answer(204) if status == 204 else _answer(body, status)
        self.unmodelled.append((request.method, request.target))
        raise Refusal(
            404, message="404 Project Not Found" if "/projects/" in path else "404 Not Found"
        )

    def _describe(self, role: int) -> dict[str, Any]:
        permissions = {
            "project_access": {"access_level": role, "notification_level": 3},
            "group_access": None,
        }
        return {**self.project, "permissions": permissions}

    def _page(self, request: Request, rows: list[Any]) -> list[Any]:
        size = min(int(request.query.get("per_page", 20)), 100)
        start = (int(request.query.get("page", 1)) - 1) * size
        return rows[start : start + size]

    def _list_variables(self, *, request: Request) -> Any:
        return self._page(request, [_shown(v) for v in self.variables])

    def _fields(self, request: Request) -> dict[str, Any]:
        if "json" in request.headers.get("Content-Type", ""):
            return dict(json.loads(request.body or b"{}"))
        return {
            k: v[-1] for k, v in parse_qs(request.body.decode(), keep_blank_values=True).items()
        }

    def _create_variable(self, *, request: Request) -> Any:
        fields = self._fields(request)
        scope = fields.get("environment_scope") or "*"
        key = fields.get("key", "")
        if not KEY.fullmatch(key):
            raise Refusal(400, message={"key": ["can contain only letters, digits and '_'."]})
        if self.variable(key, scope):
            raise Refusal(400, message={"key": [f"({key}) has already been taken"]})
        new = {
            "key": key,
            "value": "",
            "variable_type": "env_var",
            "environment_scope": scope,
            "description": None,
            **FLAGS,
        }
        self.variables.append(_valid(new | _typed(fields)))
        return _shown(self.variables[-1])

    def _choose(self, request: Request, key: str) -> dict[str, Any]:
        scope = request.query.get("filter[environment_scope]") or self._fields(request).get(
            "filter", {}
        ).get("environment_scope")
        found = [
            v for v in self.variables if v["key"] == key and scope in (None, v["environment_scope"])
        ]
        if len(found) > 1:
            raise Refusal(
                409,
                message="There are multiple variables with provided parameters. "
                "Please use 'filter[environment_scope]'",
            )
        if not found:
            raise Refusal(404, message="404 Variable Not Found")
        return found[0]

    def _get_variable(self, *, request: Request, key: str) -> Any:
        return _shown(self._choose(request, key))

    def _update_variable(self, *, request: Request, key: str) -> Any:
        found = self._choose(request, key)
        found.update(_valid(found | _typed(self._fields(request))))
        return _shown(found)

    def _delete_variable(self, *, request: Request, key: str) -> Any:
        self.variables.remove(self._choose(request, key))

    def _protect(self, *, request: Request) -> Any:
        name = self._fields(request)["name"]
        if name in self.branches:
            raise Refusal(409, message=f"Protected branch '{name}' already exists")
        self.branches.append(name)
        return {"name": name}

    def _list_runners(self, *, request: Request) -> Any:
        status = request.query.get("status")
        return [each for each in self.runners if status in (None, each["status"])]


def _answer(body: Any, status: int) -> Answer:
    return Answer(status, json.dumps(body).encode(), [("Content-Type", "application/json")])


def _shown(variable: dict[str, Any]) -> dict[str, Any]:
    return variable | ({"value": None} if variable["hidden"] else {})


def _typed(fields: dict[str, Any]) -> dict[str, Any]:
    known = ("value", "variable_type", "description", "environment_scope")
    kept = {name: fields[name] for name in known if name in fields}
    return kept | {
        name: str(fields[name]).lower() in ("true", "1") for name in FLAGS if name in fields
    }


def _valid(variable: dict[str, Any]) -> dict[str, Any]:
    pattern = MASKED_RAW if variable["raw"] else MASKED
    if variable["masked"] and not pattern.fullmatch(variable["value"]):
        raise Refusal(400, message={"value": ["is invalid"]})
    return variable
