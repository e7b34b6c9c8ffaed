"""Cloud Billing: whether an account is linked.

Source: https://cloud.google.com/billing/docs/reference/rest/v1/projects/getBillingInfo
"""

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer

from .project import Project


class Billing:
    """Answers about one project."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its only method here."""
        path = "/v1/projects/[^/:]+/billingInfo"
        return [route("GET", path, "resourcemanager.projects.get", self.get)]

    def get(self) -> Answer:
        """Name the billing account, if one is linked."""
        project = self._project.project
        linked = {
            "billingAccountName": "billingAccounts/0X0X0X-0X0X0X-0X0X0X",
            "billingEnabled": True,
        }
        name = {"name": f"projects/{project}/billingInfo", "projectId": project}
        return Answer.of(name | (linked if self._project.billing else {}))
