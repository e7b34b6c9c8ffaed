"""A person at a laptop who connects, in this very process; gcloud is a script."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from delivery.cli import main
from delivery.destination import Destination

from emulators.gitlab import GitLab
from emulators.google import Google

GCLOUD = """\
#!/bin/sh
echo '{"credential": {"access_token": "TOKEN"}, "configuration": {"properties": {"core": {}}}}'
"""


class Terminal(io.StringIO):
    """A standard input with a person at it."""

    def isatty(self) -> bool:
        """Somebody is there."""
        return True


@dataclass
class Laptop:
    """A person with two accounts."""

    google: Google
    gitlab: GitLab
    root: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    destination: Destination
    variables: dict[str, str]
    region: str

    def run(
        self, *argv: str, typed: str = "", where: bool = True, **environ: str
    ) -> tuple[int, str]:
        """Run a verb; return its exit code, and all that it said."""
        token = self.google.gae.tokens.issue(self.google.owner)
        tool = self.root / "bin" / "gcloud"
        tool.write_text(GCLOUD.replace("TOKEN", token))
        tool.chmod(0o755)
        place = ["--gitlab-url", self.gitlab.url, "--gitlab-project", "acme/site"] if where else []
        self.monkeypatch.setattr("sys.stdin", Terminal(typed))
        base = self.google.environment(account="") | self.gitlab.environment()
        paths = {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"}
        argv = (argv[0], *place, *argv[1:])
        environ = base | paths | self.variables | environ
        code = main(self.destination, argv, environ=environ, root=self.root)
        said = "".join(self.capture.readouterr())
        assert token not in said
        assert self.gitlab.token not in said
        return code, said

    def job(self) -> dict[str, str]:
        """Return the variables of a job that signs in without a key."""
        token = self.google.gae.gitlab_token(
            iss=self.gitlab.url, aud=self.gitlab.url, project_id="4242", job_project_id="4242"
        )
        variables = {row["key"]: row["value"] for row in self.gitlab.variables}
        return variables | {"CI": "true", "GITLAB_OIDC_TOKEN": token, "GITLAB_TOKEN": ""}

    def connect(self, *argv: str) -> str:
        """Connect, without a question."""
        code, said = self.run("connect", "--region", self.region, "--yes", *argv)
        assert code == 0, said
        return said
