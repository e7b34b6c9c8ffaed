"""Copies an image from one registry to another, byte for byte: so its digest stays the same.

By the protocol that all registries speak, https://github.com/opencontainers/distribution-spec, as
the image with gcloud that the pipeline runs in has no docker (since 531; before, no buildx).
"""

import base64
import hashlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlencode, urljoin, urlsplit

from delivery.backoff import pauses
from delivery.errors import CommandError, MisuseError

TIMEOUT = 60.0  # seconds without a byte
RETRY_FOR = 120.0
TRANSIENT = {0, 408, 429, 500, 502, 503, 504}
UNAUTHORIZED, NOT_FOUND = 401, 404
LONGEST_QUOTE = 300
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REFERENCE = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(?::\d+)?)/(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LOCAL = re.compile(r"(?:localhost|127\.\d+\.\d+\.\d+)(?::\d+)?")


@dataclass(frozen=True)
class Reference:
    """An image's name: HOST/PATH:TAG@DIGEST, of which the last two may be empty."""

    host: str
    path: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read it, or raise MisuseError."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise MisuseError(f"{text!r} is not the name of an image")
        return cls(**match.groupdict(default=""))

    @property
    def name(self) -> str:
        """HOST/PATH."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        """Return it as it is written."""
        return self.name + (f":{self.tag}" if self.tag else "")


@dataclass(frozen=True)
class Login:
    """A name and a password, or a token in its place."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The header that carries both."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class RegistryError(CommandError):
    """An answer that is an error, or none (`status` 0)."""

    def __init__(self, what: str, status: int, why: str) -> None:
        super().__init__(what, why=why)
        self.status = status
        self.transient = status in TRANSIENT


@dataclass
class Registry:
    """One repository of a registry."""

    image: Reference
    login: Login | None
    actions: str  # "pull", or "pull,push"
    _authorization: str = field(default="", init=False)

    def manifest(self, digest: str) -> tuple[bytes, str]:
        """Return a manifest, checked against its digest, and its type."""
        headers = {"Accept": ", ".join(MANIFESTS)}
        with self._send("GET", f"manifests/{digest}", headers=headers) as answer:
            body = answer.read()
            kind = answer.headers.get("Content-Type", "")
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise CommandError(f"{self.image.host} sent something else than {digest}")
        return body, kind

    def labels(self, digest: str) -> dict[str, str]:
        """Return an image's labels; none of an index of several images."""
        config = json.loads(self.manifest(digest)[0]).get("config")
        if not config:
            return {}
        with self.read(config["digest"]) as content:
            return (json.loads(content.read()).get("config") or {}).get("Labels") or {}

    def has(self, path: str) -> bool:
        """Whether a blob or a manifest is there."""
        try:
            self._send("HEAD", path, headers={"Accept": ", ".join(MANIFESTS)}).close()
        except RegistryError as error:
            if error.status == NOT_FOUND:
                return False
            raise
        return True

    def read(self, digest: str) -> Any:
        """Open a blob."""
        return self._send("GET", f"blobs/{digest}")

    def write(self, digest: str, size: int, content: IO[bytes]) -> None:
        """Upload a blob; the registry checks it against its digest."""
        with self._send("POST", "blobs/uploads/", body=b"") as answer:
            place = urljoin(answer.url, answer.headers["Location"])
        place += ("&" if urlsplit(place).query else "?") + urlencode({"digest": digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._send("PUT", place, body=content, headers=headers).close()

    def put(self, reference: str, manifest: bytes, kind: str) -> None:
        """Write a manifest, whose parts are there, under a tag or its digest."""
        headers = {"Content-Type": kind}
        self._send("PUT", f"manifests/{reference}", body=manifest, headers=headers).close()

    def _send(
        self, method: str, path: str, *, body: Any = None, headers: dict[str, str] | None = None
    ) -> Any:
        base = f"{_scheme(self.image.host)}://{self.image.host}/v2/{self.image.path}/"
        url = urljoin(base, path)
        try:
            return self._open(method, url, body, headers)
        except urllib.error.HTTPError as error:
            with error:
                challenge = error.headers.get("WWW-Authenticate", "")
                if error.code != UNAUTHORIZED or hasattr(body, "read"):
                    raise self._error(error.code, error.read()) from None
        self._authorization = self._log_in(challenge)
        try:
            return self._open(method, url, body, headers)
        except urllib.error.HTTPError as error:
            with error:
                raise self._error(error.code, error.read()) from None

    def _open(self, method: str, url: str, body: Any, headers: dict[str, str] | None) -> Any:
        request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)  # noqa: S310 - https, or this machine
        host = self.image.host  # not for the storage that a registry may send us on to
        if self._authorization and url.startswith(f"{_scheme(host)}://{host}/"):
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)  # noqa: S310 - as above
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError as error:
            raise self._error(0, str(error.reason).encode()) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._error(0, (str(error) or type(error).__name__).encode()) from None

    def _log_in(self, challenge: str) -> str:
        """Do what the registry asks for: https://distribution.github.io/distribution/spec/auth/token/"""
        if challenge.lower().startswith("basic"):
            return self.login.header if self.login else ""
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = asked.get("realm", "")
        place = urlsplit(realm)
        if place.scheme != _scheme(place.netloc):
            raise self._error(UNAUTHORIZED, b"it asks for a login elsewhere, and not over TLS")
        scope = f"repository:{self.image.path}:{self.actions}"
        query = urlencode({"service": asked.get("service", ""), "scope": scope})
        request = urllib.request.Request(f"{realm}?{query}")  # noqa: S310 - as above
        if self.login:
            request.add_unredirected_header("Authorization", self.login.header)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - as above
                given = json.loads(answer.read())
            return f"Bearer {given.get('token') or given['access_token']}"
        except urllib.error.HTTPError as error:
            with error:
                raise self._error(error.code, error.read()) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._error(0, str(error).encode()) from None
        except (ValueError, KeyError, AttributeError):
            raise self._error(0, b"its login gives no token") from None

    def _error(self, status: int, body: bytes) -> RegistryError:
        words = body[:LONGEST_QUOTE].decode("utf-8", "replace").strip()
        answer = f"HTTP {status}" if status else "no answer"
        return RegistryError(f"the registry {self.image.host}: {answer}", status, words)


def copy(
    source: Registry,
    target: Registry,
    *,
    check: Callable[[Mapping[str, str]], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Copy the image that `source` names by digest, and let the tag of `target` lead to it.

    `check` is shown the image's labels first, and raises if it shall not be copied. What is there
    already is not sent again; so what passes is tried again from the start.
    """
    deadline = clock() + RETRY_FOR
    for pause in pauses():
        try:
            check(source.labels(source.image.digest))
            _copy(source, target, source.image.digest, target.image.tag)
        except RegistryError as error:
            if not error.transient or clock() + pause > deadline:
                raise
            sleep(pause)
        else:
            return


def _copy(source: Registry, target: Registry, digest: str, reference: str) -> None:
    body, kind = source.manifest(digest)
    manifest = json.loads(body)
    for part in manifest.get("manifests", []):  # an index: of platforms, say
        if not target.has(f"manifests/{part['digest']}"):
            _copy(source, target, part["digest"], part["digest"])
    for part in [manifest["config"], *manifest["layers"]] if "layers" in manifest else []:
        if not target.has(f"blobs/{part['digest']}"):
            with source.read(part["digest"]) as content:
                target.write(part["digest"], part["size"], content)
    target.put(reference, body, kind)


def _scheme(host: str) -> str:
    """Return https; http for this machine, which needs no TLS: as Docker does."""
    return "http" if _LOCAL.fullmatch(host) else "https"
