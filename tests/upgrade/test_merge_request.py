"""A scheduled job upgrades its project by itself: one merge request, opened and kept up to date."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Bake
from tests.support.gitlab import DEFAULT_BRANCH, MERGE_REQUEST, GitLab
from tests.upgrade.small import POEM, Client, SmallTemplate
from upgrade import merge_request

pytestmark = pytest.mark.upgrade

TALL = POEM.replace("line 3\n", "a taller line 3\n")
TALLER = POEM.replace("line 3\n", "the tallest line 3\n")
WIDE = POEM.replace("line 3\n", "a wider line 3\n")
SCHEDULE = DEFAULT_BRANCH | {"CI_PIPELINE_SOURCE": "schedule"}
TOKEN = "glpat-0123456789"
API = "/api/v4/projects/42/merge_requests"


class Api(ThreadingHTTPServer):
    """As much of GitLab as merge requests need.

    As https://docs.gitlab.com/api/merge_requests describes it: a list by branch and state, create
    (409 for a second one of the same branches), update; 401 for a wrong token.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.refuses = ""

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/api/v4"


class Handler(BaseHTTPRequestHandler):
    """Answers one call."""

    server: Api

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        wanted = dict(urllib.parse.parse_qsl(query))
        found = [r for r in self.server.requests if wanted.items() <= r.items()]
        self.answer(200 if path == API else 404, found)

    def do_POST(self) -> None:
        data = self.data()
        same = [r for r in self.server.requests if r["source_branch"] == data["source_branch"]]
        if any(r["state"] == "opened" for r in same):
            self.answer(409, {"message": ["Another open merge request already exists"]})
            return
        iid = len(self.server.requests) + 1
        made = {"iid": iid, "state": "opened", "web_url": f"https://gitlab.example.com/mr/{iid}"}
        self.server.requests.append(made | data)
        self.answer(201, made)

    def do_PUT(self) -> None:
        request = self.server.requests[int(self.path.rpartition("/")[2]) - 1]
        request.update(self.data())
        self.answer(200, request)

    def data(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return body

    def answer(self, status: int, body: object) -> None:
        if self.headers["PRIVATE-TOKEN"] != TOKEN:
            status, body = 401, {"message": "401 Unauthorized"}
        if self.server.refuses:
            status, body = 403, {"message": self.server.refuses}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    """Return a GitLab that answers."""
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Job:
    """A job of a scheduled pipeline: a new checkout each time, without a branch."""

    def __init__(self, client: Client, api: Api, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.origin = client.add_origin(folder)
        client.must("git", "push", "--quiet", "origin", "main")
        self.count = 0
        self.env = {
            "CI": "true",
            "CI_API_V4_URL": api.address,
            "CI_PROJECT_ID": "42",
            "CI_DEFAULT_BRANCH": "main",
            "CI_SERVER_HOST": "gitlab.example.com",
            "CI_REPOSITORY_URL": self.origin.as_uri(),
            "UPGRADE_TOKEN": TOKEN,
            "GIT_AUTHOR_NAME": "",
            "GIT_COMMITTER_NAME": "",
        }

    def run(self, to: str, code: int = 0, **env: str) -> str:
        """Run the job; return its log."""
        self.count += 1
        checkout = Client(self.folder / f"job{self.count}", template=self.client.template)
        self.client.must(
            "git", "clone", "--quiet", "--depth=20", self.origin.as_uri(), checkout.path
        )
        checkout.must("git", "checkout", "--quiet", "--detach")
        said = checkout.upgrade(to, "--merge-request", code=code, env=self.env | env)
        assert TOKEN not in said
        return said

    def pushed(self) -> str:
        """Return what the merge request's branch has, as `git log -p` shows it."""
        log = ("log", "-p", "--format=%an %s", "main..upgrade/newest")
        return self.client.must("git", "--git-dir", self.origin, *log)


@pytest.fixture
def job(client: Client, api: Api, tmp_path: Path) -> Job:
    """Return the job of a project in GitLab."""
    return Job(client, api, tmp_path)


def test_one_merge_request_is_opened_and_refreshed(
    template: SmallTemplate, job: Job, api: Api
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    assert "Opened the merge request: https://gitlab.example.com/mr/1" in job.run("2.0")
    (request,) = api.requests
    assert request["title"] == "Upgrade to small-template 2.0 from 1.0"
    assert (request["source_branch"], request["target_branch"]) == ("upgrade/newest", "main")
    assert request["remove_source_branch"] is True
    assert "bin/upgrade Upgrade to small-template 2.0" in job.pushed()
    assert "+a taller line 3" in job.pushed()

    assert "Refreshed the merge request: https://gitlab.example.com/mr/1" in job.run("2.0")
    template.release("3.0", {"app/pages.py": TALLER})
    job.run("3.0")
    (request,) = api.requests
    assert request["title"] == "Upgrade to small-template 3.0 from 1.0"
    assert "+the tallest line 3" in job.pushed()
    assert "+a taller line 3" not in job.pushed()


def test_nothing_to_do_is_a_green_job_without_a_merge_request(job: Job, api: Api) -> None:
    assert "Nothing to do" in job.run("1.0")
    assert api.requests == []


def test_a_conflict_is_a_red_job_that_says_so(
    template: SmallTemplate, client: Client, job: Job, api: Api
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": WIDE})
    client.must("git", "push", "--quiet", "origin", "main")

    said = job.run("2.0", code=5)
    assert "app/pages.py: both changed the same lines\n" in said
    assert "By hand: bin/upgrade on a laptop, then push\n" in said
    assert api.requests == []


def test_a_red_check_is_a_red_job_and_a_draft(template: SmallTemplate, job: Job, api: Api) -> None:
    template.release("2.0", {"bin/test": "#!/bin/sh\nexit 1\n"})

    assert "bin/test failed" in job.run("2.0", code=1)
    (request,) = api.requests
    assert request["title"].startswith("Draft: Upgrade")
    assert request["description"].startswith("`bin/test` fails: the job's log says why.")


def test_what_a_person_pushed_to_the_branch_is_kept(
    template: SmallTemplate, client: Client, job: Job, tmp_path: Path
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    job.run("2.0")
    person = client.clone(tmp_path / "person")
    person.must("git", "fetch", "--quiet", job.origin, "upgrade/newest:mine")
    person.must("git", "switch", "--quiet", "mine")
    person.commit({"app/mine.py": "mine\n"})
    person.must("git", "push", "--quiet", job.origin, "mine:upgrade/newest")

    said = job.run("2.0", code=3)
    assert "the branch upgrade/newest has commits of a person" in said
    assert "+mine" in job.pushed()


@pytest.mark.parametrize("name", ["UPGRADE_TOKEN", "CI_API_V4_URL"])
def test_a_missing_variable_is_named_before_anything_is_done(
    template: SmallTemplate, job: Job, name: str
) -> None:
    template.release("2.0", {"app/pages.py": TALL})

    said = job.run("2.0", code=3, **{name: ""})
    assert f"{name} must be set" in said
    assert "checked by" not in said


def test_what_gitlab_answers_is_passed_on(template: SmallTemplate, job: Job, api: Api) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    api.refuses = "insufficient_scope"

    assert "GitLab refused GET merge_requests" in job.run("2.0", code=3)
    said = job.run("2.0", code=3, CI_API_V4_URL="http://127.0.0.1:1/api/v4")
    assert "GitLab did not answer" in said


@pytest.mark.fast
def test_the_token_goes_where_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPGRADE_TOKEN", TOKEN)

    assert merge_request._plain("https://gitlab-ci-token:x@host/a.git") == "https://host/a.git"
    variables = merge_request._credentials()
    assert variables["GIT_CONFIG_KEY_0"] == "http.extraHeader"
    assert TOKEN not in str(variables)
    assert variables["GIT_CONFIG_VALUE_0"].startswith("Authorization: Basic ")


@pytest.mark.fast
def test_the_job_is_one_command_and_ends_what_it_began(render: Bake) -> None:
    pipeline = yaml.safe_load(render().read(".gitlab-ci.yml"))
    job = pipeline["upgrade"]

    assert job["script"] == "bin/upgrade --merge-request"
    assert job["interruptible"] is False
    assert "slim" not in job["image"]  # which has no git


@pytest.mark.pipeline
def test_only_a_schedule_that_asks_for_it_upgrades(bake: Bake, tmp_path: Path) -> None:
    project = bake()
    origin = project.add_origin(tmp_path)
    project.must("git", "push", "--quiet", "--no-verify", "origin", "main")
    (tmp_path / "gitlab").mkdir()
    gitlab = GitLab(origin, tmp_path / "gitlab")

    assert gitlab.jobs(SCHEDULE, UPGRADE="true")["upgrade"] == "on_success"
    assert "upgrade" not in gitlab.jobs(SCHEDULE)
    assert "upgrade" not in gitlab.jobs(DEFAULT_BRANCH, UPGRADE="true")
    assert "upgrade" not in gitlab.jobs(MERGE_REQUEST, UPGRADE="true")
