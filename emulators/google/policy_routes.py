"""The three methods by which IAM policies are read, replaced and asked, the same on every resource.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts and
https://cloud.google.com/resource-manager/reference/rest/v1/projects (getIamPolicy, setIamPolicy,
testIamPermissions, with the limit of 100 permissions).
"""

from collections.abc import Callable
from typing import Any

from emulators.appengine.googleapi import SIGNED_IN, Route, route
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy
from .project import Project

MANY = 100


def policy_routes(
    project: Project, path: str, kind: str, find: Callable[..., Policy], *, look: str = "POST"
) -> list[Route]:
    """Return them for one kind of resource; `find` finds its policy by the path's parts.

    `look` is the method by which it is read: in newer APIs a GET.
    """

    def read(request: Request, **names: str) -> Answer:
        options: dict[str, Any] = {"requestedPolicyVersion": 1}
        options |= {k.removeprefix("options."): v for k, v in request.query.items()}
        options |= request.json().get("options", {})
        return Answer.of(find(**names).read(int(options["requestedPolicyVersion"])))

    def replace(request: Request, **names: str) -> Answer:
        return Answer.of(find(**names).write(request.json()["policy"], project.iam.knows))

    def ask(request: Request, account: str, **names: str) -> Answer:
        asked = request.json().get("permissions", [])
        if len(asked) > MANY:
            raise ApiError(400, "Too many permissions.")
        project.asked.update(asked)
        policy = find(**names)
        held = [each for each in asked if project.permits(account, each, policy)]
        return Answer.of({"permissions": held} if held else {})

    api = kind.partition(".")[0]
    return [
        route(look, f"{path}:getIamPolicy", f"{kind}.getIamPolicy", read, "request"),
        route("POST", f"{path}:setIamPolicy", f"{kind}.setIamPolicy", replace, "request"),
        route("POST", f"{path}:testIamPermissions", SIGNED_IN, ask, "request", "account", api=api),
    ]
