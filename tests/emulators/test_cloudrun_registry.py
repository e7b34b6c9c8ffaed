"""Artifact Registry's stand-in works with the real docker, and refuses as Google's does."""

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.cloudrun import CloudRun
from tests.conftest import run
from tests.emulators.cloudrun import DOCKERFILE, push
from tests.support.tools import require

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("cloudrun-registry")]

NAME = "demo-project/app/app"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudRun]:
    """Start one emulator for the module."""
    with CloudRun() as emulator:
        yield emulator


def ask(  # noqa: PLR0913 - as an HTTP request has them
    cloud: CloudRun,
    method: str,
    path: str,
    body: bytes | None = None,
    *,
    user: str = "oauth2accesstoken",
    password: str | None = None,
    kind: str = "application/octet-stream",
) -> tuple[int, dict[str, str], bytes]:
    """Make a request with a login; no `password` is the deployer's token."""
    secret = cloud.tokens.issue(cloud.service_account) if password is None else password
    url = path if path.startswith("http") else f"http://{cloud.images.host}{path}"
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    if user:
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def upload(cloud: CloudRun, data: bytes, name: str = NAME, digest: str = "") -> int:
    """Upload a blob in one request after the first; return the last status."""
    digest = digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
    status, headers, _ = ask(cloud, "POST", f"/v2/{name}/blobs/uploads/", b"")
    assert status == 202
    return ask(cloud, "PUT", f"{headers['Location']}?digest={digest}", data)[0]


def words(answer: tuple[int, dict[str, str], bytes]) -> str:
    """Return what an error says."""
    return str(json.loads(answer[2])["errors"][0]["message"])


def test_who_has_no_login_is_told_where_to_get_a_token(cloud: CloudRun) -> None:
    status, headers, _ = ask(cloud, "GET", f"/v2/{NAME}/manifests/v1", user="")
    assert status == 401
    assert headers["WWW-Authenticate"] == (
        f'Bearer realm="http://{cloud.images.host}/v2/token",service="{cloud.images.host}",'
        f'scope="repository:{NAME}:pull"'
    )


def test_an_access_token_becomes_a_token_of_the_registry(cloud: CloudRun) -> None:
    scope = f"/v2/token?service=x&scope=repository:{NAME}:pull,push"
    status, _, body = ask(cloud, "GET", scope)
    assert status == 200
    token = json.loads(body)["token"]
    assert token in cloud.secrets()
    request = urllib.request.Request(f"http://{cloud.images.host}/v2/")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    assert ask(cloud, "GET", scope, password="wrong")[0] == 401
    assert ask(cloud, "GET", scope, user="someone")[0] == 401


def test_a_missing_permission_is_named(cloud: CloudRun) -> None:
    scope = f"/v2/token?scope=repository:{NAME}:pull,push"
    with cloud.without("artifactregistry.repositories.uploadArtifacts"):
        answer = ask(cloud, "GET", scope)
    assert answer[0] == 403
    assert words(answer) == (
        'Permission "artifactregistry.repositories.uploadArtifacts" denied on resource '
        '"projects/demo-project/locations/europe-west1/repositories/app" (or it may not exist)'
    )
    anonymous = ask(cloud, "GET", scope, user="")
    assert anonymous[0] == 403
    assert words(anonymous).startswith("Unauthenticated request.")


def test_a_repository_must_exist(cloud: CloudRun) -> None:
    answer = ask(cloud, "POST", "/v2/demo-project/other/app/blobs/uploads/", b"")
    assert answer[0] == 404
    assert words(answer) == 'Repository "other" not found'


def test_a_blob_is_checked_against_its_digest(cloud: CloudRun) -> None:
    assert upload(cloud, b"data") == 201
    assert upload(cloud, b"data", digest=f"sha256:{'0' * 64}") == 400
    path = f"/v2/{NAME}/blobs/sha256:{hashlib.sha256(b'data').hexdigest()}"
    assert ask(cloud, "GET", path)[2] == b"data"
    status, headers, body = ask(cloud, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, "4", b"")
    assert ask(cloud, "GET", path.replace("/app/app/", "/app/other/"))[0] == 404


def test_a_manifest_names_what_is_there(cloud: CloudRun) -> None:
    config = b'{"of": "an image"}'
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    manifest = json.dumps({"config": {"digest": digest}, "layers": []}).encode()
    path = f"/v2/{NAME}/manifests/v9"
    assert ask(cloud, "PUT", path, manifest, kind=MANIFEST)[0] == 400
    assert upload(cloud, config) == 201
    status, headers, _ = ask(cloud, "PUT", path, manifest, kind=MANIFEST)
    assert status == 201
    own = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert headers["Docker-Content-Digest"] == own == cloud.images.tags(NAME)["v9"]
    status, headers, body = ask(cloud, "GET", f"/v2/{NAME}/manifests/{own}")
    assert (status, headers["Content-Type"], body) == (200, MANIFEST, manifest)
    assert f"{cloud.images.host}/{NAME}@{own}" in cloud.images.images()
    assert cloud.images.has(f"{cloud.images.host}/{NAME}:v9")
    assert {manifest, config} <= set(cloud.staged())
    assert ask(cloud, "PUT", path, b"no JSON", kind=MANIFEST)[0] == 400
    assert ask(cloud, "GET", f"/v2/{NAME}/manifests/none")[0] == 404


def test_it_may_fail(cloud: CloudRun) -> None:
    cloud.images.faults.fail_next("GET", "/v2/$", 503)
    assert [ask(cloud, "GET", "/v2/")[0] for _ in range(2)] == [503, 200]


def test_gitlabs_registry_knows_the_jobs_password(cloud: CloudRun) -> None:
    variables = cloud.gitlab.variables()
    url = f"http://{variables['CI_REGISTRY']}/v2/"
    user, password = variables["CI_REGISTRY_USER"], variables["CI_REGISTRY_PASSWORD"]
    assert ask(cloud, "GET", url, user=user, password=password)[0] == 200
    assert ask(cloud, "GET", url)[0] == 401


@pytest.mark.containers
def test_the_real_docker_pushes_and_pulls(cloud: CloudRun, tmp_path: Path) -> None:
    image = push(cloud, "real", f"{DOCKERFILE}LABEL for=test_cloudrun_registry\n")
    assert cloud.images.has(image)
    docker = require("docker")
    config = {"DOCKER_CONFIG": str(tmp_path)}
    refused = run([docker, "pull", "--quiet", image], tmp_path, config)
    assert refused.returncode == 1
    assert "Unauthenticated request" in refused.stdout
    cloud.docker.pull(image)
    found = run([docker, "image", "inspect", "--format={{.RepoDigests}}", image], tmp_path, {})
    assert image in found.stdout
