"""The GitLab emulator, asked by a client that we did not write."""

from collections.abc import Iterator

import gitlab
import pytest
from gitlab.exceptions import GitlabAuthenticationError, GitlabCreateError, GitlabGetError
from gitlab.v4.objects import Project

from emulators.gitlab import GitLab

pytestmark = pytest.mark.fast


@pytest.fixture
def server() -> Iterator[GitLab]:
    """Return a GitLab with an empty project."""
    with GitLab() as emulator:
        yield emulator


def sign_in(server: GitLab, token: str = "") -> Project:
    """Return the project, as python-gitlab has it."""
    client = gitlab.Gitlab(
        server.url, private_token=token or server.token, retry_transient_errors=False
    )
    project: Project = client.projects.get("acme/site")
    return project


def test_variables_come_and_go(server: GitLab) -> None:
    project = sign_in(server)
    project.variables.create({"key": "A", "value": "$x", "protected": True, "raw": True})
    project.variables.create({"key": "A", "value": "y", "environment_scope": "review/*"})
    assert {
        (v.value, v.protected, v.environment_scope) for v in project.variables.list(all=True)
    } == {
        ("$x", True, "*"),
        ("y", False, "review/*"),
    }
    with pytest.raises(GitlabCreateError, match="already been taken"):
        project.variables.create({"key": "A", "value": "z"})
    with pytest.raises(GitlabGetError, match="multiple variables") as caught:
        project.variables.get("A")
    assert caught.value.response_code == 409
    project.variables.update("A", {"value": "z"}, filter={"environment_scope": "review/*"})
    assert server.variable("A", "review/*")["value"] == "z"  # type: ignore[index]
    project.variables.delete("A", filter={"environment_scope": "*"})
    assert server.variable("A") is None
    assert server.unmodelled == []


@pytest.mark.parametrize(
    ("value", "raw", "masks"),
    [
        ("short", False, False),
        ("a b c d e f", True, False),
        ('{"a":1,"b":2}', False, False),
        ('{"a":1,"b":2}', True, True),
    ],
)
def test_what_can_be_masked(server: GitLab, value: str, raw: bool, masks: bool) -> None:
    project = sign_in(server)
    wanted = {"key": "A", "value": value, "masked": True, "raw": raw}
    if masks:
        assert project.variables.create(wanted).masked
    else:
        with pytest.raises(GitlabCreateError, match="is invalid"):
            project.variables.create(wanted)


def test_tokens_are_asked_for_their_scope_and_their_owner_s_role(server: GitLab) -> None:
    with pytest.raises(GitlabAuthenticationError):
        sign_in(server, "glpat-wrong")
    reader = sign_in(server, server.issue("read_api"))
    with pytest.raises(GitlabCreateError, match="insufficient_scope"):
        reader.variables.create({"key": "A", "value": "x"})
    developer = sign_in(server, server.issue(role=30))
    with pytest.raises(gitlab.exceptions.GitlabListError, match="403"):
        developer.variables.list(all=True)


def test_branches_runners_and_version(server: GitLab) -> None:
    project = sign_in(server)
    project.protectedbranches.create({"name": "main"})
    assert [branch.name for branch in project.protectedbranches.list(all=True)] == ["main"]
    assert [runner.status for runner in project.runners.list(all=True)] == ["online"]
    client = gitlab.Gitlab(server.url, private_token=server.token)
    assert client.version()[0] == "18.5.0-ee"
