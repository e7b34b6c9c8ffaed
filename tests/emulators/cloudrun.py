"""Clients of the Cloud Run emulator, for its tests: gcloud, docker, and plain requests."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

from emulators.cloudrun import CloudRun
from tests.conftest import run
from tests.emulators import clients
from tests.support.tools import require

HELLO = "us-docker.pkg.dev/cloudrun/container/hello"
BASE = "python:3.14-slim"
APP = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

mode = os.environ.get("MODE", "")
print("mode is", mode or "none", flush=True)
if mode == "exit":
    sys.exit(4)
if mode == "deaf":
    time.sleep(600)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        if self.path == "/hang":
            time.sleep(600)
        print("asked for", self.path, file=sys.stderr, flush=True)
        body = json.dumps({"env": dict(os.environ), "headers": dict(self.headers)}).encode()
        self.send_response(500 if mode == "ill" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""
DOCKERFILE = f'FROM {BASE}\nCOPY app.py .\nCMD ["python", "app.py"]\n'
KNATIVE = "apis/serving.knative.dev/v1/namespaces/demo-project"
DEMO = f"{KNATIVE}/services/demo"
Json = dict[str, Any]


class Person:
    """Someone with a gcloud, and a docker that is logged in, turned to the emulator."""

    def __init__(self, cloud: CloudRun, folder: Path, *, signed_in: bool = True) -> None:
        self.cloud = cloud
        self.folder = folder
        self.variables = cloud.environment(signed_in=signed_in) | {"TERM": "dumb"}

    def gcloud(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [require("gcloud"), *arguments, f"--project={self.cloud.project}"]
        return run(command, self.folder, self.variables | variables, subprocess.PIPE)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `gcloud run`."""
        return self.gcloud("run", *arguments, f"--region={self.cloud.region}", **variables)

    def must(self, *arguments: str) -> str:
        """Run a command of `gcloud run` that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, *arguments: str) -> Any:
        """Return what a command of `gcloud run` shows."""
        return json.loads(self.must(*arguments, "--format=json"))


def push(cloud: CloudRun, tag: str = "v1", dockerfile: str = DOCKERFILE) -> str:
    """Build an image and push it as a person does; return it by digest. Nothing of it stays."""
    docker = require("docker")
    image = f"{cloud.repository}/app:{tag}"
    token = cloud.tokens.issue(cloud.owner)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP, "utf-8")
        (folder / "Dockerfile").write_text(dockerfile, "utf-8")
        login = [docker, "login", "--username=oauth2accesstoken", f"--password={token}"]
        config = {"DOCKER_CONFIG": str(folder / "docker")}
        for command in (
            [docker, "build", "--quiet", f"--tag={image}", "."],
            [*login, cloud.images.host],
            [docker, "push", "--quiet", image],
        ):
            done = run(command, folder, config)
            assert done.returncode == 0, done.stdout
    run([docker, "image", "rm", image], Path.cwd(), {})
    name = image.partition("/")[2].rpartition(":")[0]
    return f"{cloud.images.host}/{name}@{cloud.images.tags(name)[tag]}"


def call(
    cloud: CloudRun, method: str, path: str, body: Json | None = None, token: str = ""
) -> tuple[int, Json]:
    """Make a request as gcloud's would be, for rules that need no gcloud to show."""
    token = token or cloud.tokens.issue(cloud.owner)
    return clients.call(cloud, method, path, b"" if body is None else body, token)


def body_of(  # noqa: PLR0913 - every one has a default, and is a thing that tests vary
    image: str = HELLO,
    *,
    name: str = "demo",
    revision: str = "",
    traffic: list[Json] | None = None,
    env: Mapping[str, str] | None = None,
    container: Json | None = None,
    spec: Json | None = None,
) -> Json:
    """Return a service as a client sends it; everybody may visit it."""
    variables = [{"name": key, "value": value} for key, value in (env or {}).items()]
    probe = {"httpGet": {"path": "/health"}, "periodSeconds": 2, "timeoutSeconds": 2}
    made = {"image": image, "env": variables, "startupProbe": probe, **(container or {})}
    template: Json = {"metadata": {}, "spec": {"containers": [made], **(spec or {})}}
    if revision:
        template["metadata"]["name"] = revision
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": "demo-project",
            "annotations": {"run.googleapis.com/invoker-iam-disabled": "true"},
        },
        "spec": {"template": template, **({"traffic": traffic} if traffic else {})},
    }


def create(cloud: CloudRun, body: Json | None = None) -> Json:
    """Create a service through the API alone; wait until it is settled, and return it."""
    status, answer = call(cloud, "POST", f"{KNATIVE}/services", body or body_of())
    assert status == 200, answer
    cloud.run.settle()
    return shown(cloud)


def replace(cloud: CloudRun, body: Json, *, settle: bool = True) -> Json:
    """Replace a service through the API alone, and return it."""
    status, answer = call(cloud, "PUT", DEMO, body)
    assert status == 200, answer
    if settle:
        cloud.run.settle()
    return shown(cloud)


def split(cloud: CloudRun, *targets: Json, settle: bool = True) -> Json:
    """Ask for another traffic and nothing else; return the service."""
    body = deepcopy(shown(cloud))
    body["spec"]["traffic"] = list(targets)
    return replace(cloud, body, settle=settle)


def shown(cloud: CloudRun) -> Json:
    """Return the service as the API shows it."""
    status, answer = call(cloud, "GET", DEMO)
    assert status == 200, answer
    return answer


def condition(service: Json, kind: str = "Ready") -> Json:
    """Return one condition of a service."""
    found: Json = next(c for c in service["status"]["conditions"] if c["type"] == kind)
    return found


def get(cloud: CloudRun, url: str, path: str = "/") -> tuple[int, bytes]:
    """Visit an address."""
    connection = HTTPSConnection(
        url.removeprefix("https://"), timeout=30, context=cloud.client_tls()
    )
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
