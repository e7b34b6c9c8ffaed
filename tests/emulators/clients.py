"""Clients of the App Engine emulator, for its tests: a person with gcloud, and plain requests."""

import hashlib
import http.client
import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from emulators.appengine import AppEngine
from emulators.cloudrun import CloudRun
from tests.conftest import PROJECT, run
from tests.support.tools import require

APP = """
import json, os, signal, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/die":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/hang":
        time.sleep(60)
    if path == "/slow":
        time.sleep(0.1)
    headers = {k: v for k, v in environ.items() if k.startswith("HTTP_")}
    body = {"version": os.environ["GAE_VERSION"], "env": dict(os.environ), "headers": headers}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""
APP_YAML = """
runtime: python313
entrypoint: gunicorn -b 127.0.0.1:$PORT --no-control-socket main:app
automatic_scaling:
  max_instances: 1
env_variables:
  COLOUR: blue
handlers:
  - url: /static
    static_dir: static
    secure: always
  - url: /.*
    script: auto
    secure: always
"""
FILES = {
    "main.py": APP,
    "app.yaml": APP_YAML,
    "empty.py": "",
    "static/style.css": "body {}",
    "requirements.txt": (PROJECT / "requirements.txt").read_text("utf-8"),
    ".gcloudignore": ".gcloudignore\n.git\n",
}
ENTRYPOINT = "exec gunicorn -b 127.0.0.1:$PORT --no-control-socket main:app"


class Person:
    """Someone with a folder and a gcloud that is turned to the emulator."""

    def __init__(self, gae: AppEngine, folder: Path, **files: str | None) -> None:
        self.gae = gae
        self.folder = folder
        self.variables = gae.environment(signed_in=True)
        for name, text in (FILES | files).items():
            if text is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, "utf-8")

    def gcloud(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [require("gcloud"), *arguments, f"--project={self.gae.project}"]
        return run(command, self.folder, self.variables | variables, subprocess.PIPE)

    def deploy(self, version: str, **variables: str) -> subprocess.CompletedProcess[str]:
        options = ["-q", "--no-promote", f"--version={version}", "app.yaml"]
        return self.gcloud("app", "deploy", *options, **variables)

    def ask(self, *arguments: str) -> Any:
        done = self.gcloud(*arguments, "--format=json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def get(gae: AppEngine, url: str) -> tuple[int, dict[str, str], bytes]:
    """GET without following redirects."""
    kind, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    connection: http.client.HTTPConnection
    if kind == "https":
        connection = http.client.HTTPSConnection(host, timeout=30, context=gae.client_tls())
    else:
        connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET", slash + path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def call(
    gae: AppEngine | CloudRun,
    method: str,
    path: str,
    body: bytes | dict[str, Any] = b"",
    token: str = "",
) -> tuple[int, dict[str, Any]]:
    """One API request as gcloud's would be, for rules that need no gcloud to show."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(gae.api_url + path, data or None, method=method)
    request.add_header("Authorization", f"Bearer {token or gae.tokens.issue('someone')}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def deploy(gae: AppEngine, version: str, service: str = "default", **changes: Any) -> Any:
    """Deploy through the API alone; `changes` replace fields of the version or, named, files."""
    files = {k: v for k, v in (FILES | changes.pop("files", {})).items() if v is not None}
    manifest = {}
    for name, text in files.items():
        sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        bucket = f"staging.{gae.project}.appspot.com"
        upload = f"upload/storage/v1/b/{bucket}/o?uploadType=media&name={sha1}"
        assert call(gae, "POST", upload, text.encode() or b"\n")[0] == 200
        manifest[name] = {"sourceUrl": f"https://storage.googleapis.com/{bucket}/{sha1}"}
    resource = {
        "id": version,
        "runtime": "python313",
        "entrypoint": {"shell": ENTRYPOINT},
        "deployment": {"files": manifest},
    }
    path = f"v1/apps/{gae.project}/services/{service}/versions"
    return call(gae, "POST", path, resource | changes)


def pending(gae: AppEngine) -> list[str]:
    """List the targets of the operations that still run."""
    answer = call(gae, "GET", f"v1/apps/{gae.project}/operations?filter=done:false")[1]
    return [operation["metadata"]["target"] for operation in answer.get("operations", [])]
