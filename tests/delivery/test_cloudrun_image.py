"""How an image comes to Google: copied from another registry, or built and pushed."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from delivery.cloudrun.image import Image
from delivery.cloudrun.registry import Login, Reference, Registry, copy
from delivery.errors import CommandError, MisuseError

from tests.delivery.machine import Clock, Machine, posix

pytestmark = posix  # for the stand-in for docker

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONTEXTS = [{"Endpoints": {"docker": {"Host": "unix:///var/run/docker.sock"}}}]  # its `inspect`


class Handler(BaseHTTPRequestHandler):
    """One registry that asks for a login, by token or by name and password."""

    protocol_version = "HTTP/1.1"
    stock: ClassVar["Stock"]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_one(self) -> None:
        stock = self.stock
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        stock.asked.append(f"{self.command} {self.path}")
        if stock.faults and "/v2/" in self.path:
            status = stock.faults.pop(0)
            if status == 0:
                self.close_connection = True
                return
            self.reply(status, b"planted")
            return
        if self.path.startswith("/token"):
            self.reply(*stock.token(self.headers.get("Authorization", "")))
            return
        if not stock.lets_in(self.headers.get("Authorization", "")):
            self.reply(401, WWW_Authenticate=stock.challenge)
            return
        rest = re.sub(r"^/v2/demo/(app|review)/", "", self.path)
        if self.command == "POST":
            self.reply(202, Location=f"{stock.elsewhere}/v2/demo/app/blobs/uploads/1?state=x")
        elif self.command == "PUT":
            self.put(rest, body)
        elif rest in stock.content:
            self.reply(200, stock.content[rest], Content_Type=stock.kinds.get(rest, ""))
        else:
            self.reply(404, b"unknown")

    def put(self, rest: str, body: bytes) -> None:
        if rest.startswith("blobs/uploads"):
            rest = "blobs/" + rest.rpartition("digest=")[2].replace("%3A", ":")
        self.stock.content[rest] = body
        self.stock.kinds[rest] = self.headers.get("Content-Type", "")
        self.reply(201)


class Stock:
    """What a registry has, and whom it lets in."""

    def __init__(self, *, token: bool = True) -> None:
        self.content: dict[str, bytes] = {}
        self.kinds: dict[str, str] = {}
        self.asked: list[str] = []
        self.faults: list[int] = []
        self.host = ""
        self.by_token = token
        self.answer: tuple[int, bytes] | None = None
        self.realm = ""
        self.elsewhere = ""  # where it takes uploads

    @property
    def challenge(self) -> str:
        realm = self.realm or f"http://{self.host}/token"
        return f'Bearer realm="{realm}",service="r"' if self.by_token else 'Basic realm="r"'

    def lets_in(self, header: str) -> bool:
        basic = "Basic " + base64.b64encode(b"ci:secret").decode()
        return header == ("Bearer t0ken" if self.by_token else basic)

    def token(self, header: str) -> tuple[int, bytes]:
        if self.answer:
            return self.answer
        good = header == "Basic " + base64.b64encode(b"ci:secret").decode()
        return (200, b'{"token": "t0ken"}') if good else (401, b"wrong password")

    def add(self, kind: str, document: Any) -> str:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        place = "manifests" if kind else "blobs"
        self.content[f"{place}/{digest}"] = body
        self.kinds[f"{place}/{digest}"] = kind
        return digest


@contextmanager
def serve(*, token: bool = True) -> Iterator[Stock]:
    stock = Stock(token=token)
    methods = {f"do_{name}": Handler.handle_one for name in ("GET", "HEAD", "POST", "PUT")}
    handler = type("One", (Handler,), {"stock": stock, **methods})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stock.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stock
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def source() -> Iterator[Stock]:
    with serve() as stock:
        yield stock


@pytest.fixture
def target() -> Iterator[Stock]:
    with serve(token=False) as stock:
        yield stock


def an_image(stock: Stock, commit: str = "") -> str:
    """Put an index of one platform into a registry, or an image of a commit; return its digest."""
    labels = {"org.opencontainers.image.revision": commit}
    config = json.dumps({"config": {"Labels": labels}}).encode() if commit else b"{}"
    parts = [stock.add("", part) for part in (config, b"layer one", b"layer two")]
    described = [
        {"digest": digest, "size": len(stock.content[f"blobs/{digest}"])} for digest in parts
    ]
    manifest = stock.add(MANIFEST, {"config": described[0], "layers": described[1:]})
    return manifest if commit else stock.add(INDEX, {"manifests": [{"digest": manifest}]})


def copied(source: Stock, target: Stock, digest: str, login: Login | None = None) -> None:
    clock = Clock()
    login = login or Login("ci", "secret")
    copy(
        Registry(Reference.parse(f"{source.host}/demo/app@{digest}"), login, "pull"),
        Registry(Reference.parse(f"{target.host}/demo/app:v1"), Login("ci", "secret"), "pull,push"),
        check=lambda _: None,
        clock=clock,
        sleep=clock.sleep,
    )


def test_a_copy_has_all_parts_and_the_same_digest(source: Stock, target: Stock) -> None:
    digest = an_image(source)
    copied(source, target, digest)
    assert target.content["manifests/v1"] == source.content[f"manifests/{digest}"]
    assert target.kinds["manifests/v1"] == INDEX
    blobs = {name for name in source.content if name.startswith("blobs/")}
    assert blobs == {name for name in target.content if name.startswith("blobs/")}
    assert [target.content[name] for name in blobs] == [source.content[name] for name in blobs]


def test_what_is_there_is_not_sent_again(source: Stock, target: Stock) -> None:
    digest = an_image(source)
    copied(source, target, digest)
    target.asked.clear()
    copied(source, target, digest)
    assert not [words for words in target.asked if "blobs/uploads" in words]


@pytest.mark.parametrize("faults", [[503], [0], [429, 502]])
def test_what_passes_is_tried_again(source: Stock, target: Stock, faults: list[int]) -> None:
    digest = an_image(source)
    source.faults = faults
    copied(source, target, digest)
    assert "manifests/v1" in target.content


def test_what_does_not_pass_is_told_with_the_registrys_words(source: Stock, target: Stock) -> None:
    source.faults = [403]
    with pytest.raises(CommandError, match="HTTP 403") as caught:
        copied(source, target, an_image(source))
    assert caught.value.why == "planted"
    source.faults = [503] * 99
    with pytest.raises(CommandError, match="HTTP 503"):
        copied(source, target, an_image(source))


def test_an_upload_that_is_refused_is_told(source: Stock, target: Stock) -> None:
    target.faults = []
    digest = an_image(source)
    target.lets_in = lambda header: bool(header) and "never" in header  # type: ignore[method-assign]
    with pytest.raises(CommandError, match="HTTP 401"):
        copied(source, target, digest)


def test_other_bytes_than_the_digest_says_are_refused(source: Stock, target: Stock) -> None:
    digest = an_image(source)
    source.content[f"manifests/{digest}"] = b'{"manifests": []}'
    with pytest.raises(CommandError, match="sent something else than"):
        copied(source, target, digest)
    assert "manifests/v1" not in target.content


def test_a_wrong_password_is_told_and_not_repeated(source: Stock, target: Stock) -> None:
    digest = an_image(source)
    with pytest.raises(CommandError, match="HTTP 401") as caught:
        copied(source, target, digest, Login("ci", "wr0ng"))
    assert caught.value.why == "wrong password"
    assert "wr0ng" not in str(caught.value.__dict__)


@pytest.mark.parametrize(("status", "body"), [(200, b"[]"), (200, b"no"), (500, b"broken")])
def test_a_login_without_a_token_is_told(
    source: Stock, target: Stock, status: int, body: bytes
) -> None:
    source.answer = (status, body)
    with pytest.raises(CommandError, match="the registry 127"):
        copied(source, target, an_image(source))


def test_a_password_goes_nowhere_without_tls(source: Stock, target: Stock) -> None:
    source.realm = "http://auth.example/token"
    with pytest.raises(CommandError) as caught:
        copied(source, target, an_image(source))
    assert "not over TLS" in caught.value.why
    source.realm = "http://127.0.0.1:9/token"  # where nobody listens
    with pytest.raises(CommandError, match="no answer"):
        copied(source, target, an_image(source))


def test_a_login_is_not_sent_to_another_host(source: Stock, target: Stock) -> None:
    digest = an_image(source)
    with serve(token=False) as storage:
        seen: list[str] = []
        storage.lets_in = lambda header: not seen.append(header)  # type: ignore[func-returns-value,method-assign]
        target.elsewhere = f"http://{storage.host}"
        copied(source, target, digest)
    assert seen
    assert set(seen) == {""}


def test_the_name_of_an_image_has_a_form() -> None:
    parsed = Reference.parse("registry.example:5000/a/b/app:v1")
    assert (parsed.host, parsed.path, parsed.tag) == ("registry.example:5000", "a/b/app", "v1")
    assert str(parsed) == "registry.example:5000/a/b/app:v1"
    with pytest.raises(MisuseError, match="'busybox' is not the name of an image"):
        Reference.parse("busybox")


# What the target does


def image(machine: Machine, repository: str, **environ: str) -> Image:
    machine.stop_the_clock()
    machine.runner.environ = {**machine.runner.environ, **environ}
    return Image(machine.runner, machine.runner.environ, repository, lambda: "secret")


@pytest.mark.parametrize("to", ["app:v1", "review:mr-7"])
def test_the_image_of_the_pipeline_is_copied(
    machine: Machine,
    source: Stock,
    target: Stock,
    monkeypatch: pytest.MonkeyPatch,
    to: str,
) -> None:
    name, version = to.split(":")
    monkeypatch.setattr("delivery.cloudrun.image.TOKEN_USER", "ci")
    digest = an_image(source)
    job = {
        "IMAGE": f"{source.host}/demo/app@{digest}",
        "CI_REGISTRY": source.host,
        "CI_REGISTRY_USER": "ci",
        "CI_REGISTRY_PASSWORD": "secret",
    }
    given = image(machine, f"{target.host}/demo", **job)
    assert given.bring(version, Path()) == f"{target.host}/demo/{name}@{digest}"
    assert f"manifests/{version}" in target.content
    assert "Copying the image" in machine.said


def test_the_image_of_another_commit_is_refused(
    machine: Machine, source: Stock, target: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/health would not show it: what it answers is set from outside."""
    monkeypatch.setattr("delivery.cloudrun.image.TOKEN_USER", "ci")
    source.by_token = False
    digest = an_image(source, "1a2b3c4d")
    job = {"IMAGE": f"{source.host}/demo/app@{digest}", "CI_REGISTRY": source.host}
    login = {"CI_REGISTRY_USER": "ci", "CI_REGISTRY_PASSWORD": "secret"}
    given = image(machine, f"{target.host}/demo", **job, **login)
    with pytest.raises(MisuseError, match="built of commit 1a2b3c4d"):
        given.bring("v20260101t000100-5e6f7a8b", Path())
    assert target.content == {}
    for version in ("v20260101t000000-1a2b3c4d", "mr-7"):
        assert given.bring(version, Path()).endswith(digest)


def test_an_image_must_be_named_by_digest(machine: Machine) -> None:
    with pytest.raises(MisuseError, match="names no digest"):
        image(machine, "r.example/demo", IMAGE="r.example/demo/app:latest").bring("v1", Path())


def test_a_job_must_be_told_of_one(machine: Machine) -> None:
    with pytest.raises(MisuseError, match="IMAGE is not set") as caught:
        image(machine, "r.example/demo", CI="true").bring("v1", machine.project)
    assert "Settings > General" in caught.value.then


@pytest.mark.parametrize("dry_run", [False, True])
def test_without_one_it_is_built_and_pushed(tmp_path: Path, dry_run: bool) -> None:
    machine = Machine(tmp_path, dry_run=dry_run)
    digest = "sha256:" + "a" * 64
    machine.install(
        "docker",
        f'echo "$*" >> {tmp_path}/ran\n'
        f"case $1 in context) echo '{json.dumps(CONTEXTS)}';;"
        f' push) cp "$DOCKER_CONFIG/config.json" {tmp_path}/login;'
        f' echo "v1: digest: {digest} size: 1"; esac',
    )
    found = image(machine, "r.example/demo").bring("v1", tmp_path)
    if dry_run:
        assert found == "r.example/demo/app@DIGEST"
        assert not (tmp_path / "ran").exists()
        return
    assert found == f"r.example/demo/app@{digest}"
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran[0] == "build --platform=linux/amd64 --tag=r.example/demo/app:v1 ."
    assert ran[-1] == "push r.example/demo/app:v1"
    assert "secret" not in "".join(ran)
    assert set(json.loads((tmp_path / "login").read_text())["auths"]) == {"r.example"}


def test_a_push_without_a_digest_is_no_push(machine: Machine) -> None:
    machine.install("docker", f"echo '{json.dumps(CONTEXTS)}'")
    with pytest.raises(CommandError, match="names no digest"):
        image(machine, "r.example/demo").bring("v1", machine.project)
