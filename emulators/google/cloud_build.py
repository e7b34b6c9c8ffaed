"""Cloud Build: the list of builds, which tests fill.

Source: https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds/list
"""

from emulators.appengine.googleapi import Route, route
from emulators.appengine.wire import Answer

from .project import Project


class CloudBuild:
    """Lists one project's builds."""

    def __init__(self, project: Project):
        self._project = project

    def routes(self) -> list[Route]:
        """Return its only method here."""
        return [route("GET", "/v1/projects/[^/:]+/builds", "cloudbuild.builds.list", self.list)]

    def list(self) -> Answer:
        """List what the test has put there."""
        builds = self._project.builds
        return Answer.of({"builds": builds} if builds else {})
