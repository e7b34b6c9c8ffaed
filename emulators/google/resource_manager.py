"""Resource Manager: the project itself and its policy; and organisation policies.

Sources: https://cloud.google.com/resource-manager/reference/rest/v1/projects (`get`, the policy's
methods, `getEffectiveOrgPolicy`), and
https://cloud.google.com/resource-manager/docs/reference/orgpolicy/rest/v2/projects.policies
(`getEffectivePolicy`).
"""

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer, Request

from .policy_routes import policy_routes
from .project import Project

PATH = "/v1/projects/[^/:]+"
KIND = "resourcemanager.projects"


class ResourceManager:
    """Answers about one project."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its methods."""
        effective = "/v2/projects/[^/]+/policies/(?P<constraint>[^/:]+):getEffectivePolicy"
        orgpolicy = "orgpolicy.policy.get"
        return [
            route("GET", PATH, f"{KIND}.get", self.get),
            *policy_routes(self._project, PATH, KIND, lambda: self._project.policy),
            route(
                "POST",
                f"{PATH}:getEffectiveOrgPolicy",
                orgpolicy,
                self.get_effective_org_policy,
                "request",
                api="cloudresourcemanager",
            ),
            route("GET", effective, orgpolicy, self.get_effective_policy),
        ]

    def get(self) -> Answer:
        """Describe the project."""
        return Answer.of(
            {
                "projectNumber": self._project.number,
                "projectId": self._project.project,
                "lifecycleState": "ACTIVE",
                "name": self._project.project,
                "createTime": "2025-01-01T00:00:00Z",
            }
        )

    def get_effective_org_policy(self, request: Request) -> Answer:
        """Say by the older API whether a constraint is enforced."""
        constraint = request.json()["constraint"]
        enforced = constraint.removeprefix("constraints/") in self._project.org_policies
        return Answer.of(
            {"constraint": constraint, "booleanPolicy": {"enforced": True} if enforced else {}}
        )

    def get_effective_policy(self, constraint: str) -> Answer:
        """Say whether a constraint is enforced."""
        rule = {"enforce": constraint in self._project.org_policies}
        name = f"projects/{self._project.number}/policies/{constraint}"
        return Answer.of({"name": name, "spec": {"rules": [rule]}})
