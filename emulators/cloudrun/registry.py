"""A container registry: Artifact Registry's part of it, and that of any other one with a login.

Modelled after:

- https://github.com/opencontainers/distribution-spec/blob/main/spec.md for blobs, manifests, tags,
  uploads in chunks, digests that are checked, and the codes of errors;
- https://distribution.github.io/distribution/spec/auth/token/ for the challenge and the token;
- https://cloud.google.com/artifact-registry/docs/docker/authentication#token for the user
  `oauth2accesstoken` whose password is an access token;
- https://cloud.google.com/artifact-registry/docs/docker/names for HOST/PROJECT/REPOSITORY/IMAGE.
  A repository must exist; the words of its refusals are from reports (docs/reality.md).

It speaks HTTP on 127.0.0.1, which Docker allows without further settings:
https://docs.docker.com/reference/cli/dockerd/#insecure-registries

Not modelled: deletion, lists of tags, referrers, mounts from other repositories, uploads that
are resumed.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from emulators.appengine.faults import Faults
from emulators.appengine.wire import Answer, Request, Server

TOKEN_PATH = "/v2/token"
NAME = "(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
DIGEST = "(?P<digest>sha256:[0-9a-f]{64})"
MANIFEST = re.compile(f"/v2/{NAME}/manifests/(?P<reference>[^/]+)")
BLOB = re.compile(f"/v2/{NAME}/blobs/{DIGEST}")
UPLOADS = re.compile(f"/v2/{NAME}/blobs/uploads/")
UPLOAD = re.compile(f"/v2/{NAME}/blobs/uploads/(?P<upload>[0-9a-f]+)")

# Takes a user and a password; returns the account, or None for a login that is wrong.
Login = Callable[[str, str], str | None]
# Takes an account ("" for nobody), a repository's name and "pull" or "push"; raises RegistryError.
Permit = Callable[[str, str, str], None]


class RegistryError(Exception):
    """A refusal in the form that all registries share."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def answer(self) -> Answer:
        """Return it as JSON."""
        return Answer.of({"errors": [{"code": self.code, "message": self.message}]}, self.status)


class Registry:
    """One registry on a port of its own, with its blobs and manifests in a folder."""

    def __init__(self, folder: Path, login: Login, permit: Permit):
        self.faults = Faults()
        self.requests: list[str] = []  # METHOD PATH -> STATUS
        self._folder = folder
        folder.mkdir()
        self._login = login
        self._permit = permit
        self._tokens: dict[str, str] = {}  # account by token
        self._uploads: dict[str, Path] = {}
        self._tags: dict[tuple[str, str], str] = {}  # digest by name and tag
        self._kinds: dict[tuple[str, str], str] = {}  # media type of a manifest by name and digest
        self._blobs: set[tuple[str, str]] = set()  # name and digest
        self._lock = threading.RLock()
        self._server = Server(self._respond)
        self.host = f"127.0.0.1:{self._server.port}"

    def close(self) -> None:
        """Stop answering; the folder is its maker's to remove."""
        self.faults.clear()
        self._server.stop()

    # What a test looks at

    def images(self) -> set[str]:
        """Return every image that there is, as HOST/NAME@DIGEST."""
        with self._lock:
            return {f"{self.host}/{name}@{digest}" for name, digest in self._kinds}

    def tags(self, name: str) -> dict[str, str]:
        """Return the digest of each tag of an image's name, without the host."""
        with self._lock:
            return {tag: digest for (of, tag), digest in self._tags.items() if of == name}

    def has(self, image: str) -> bool:
        """Whether HOST/NAME@DIGEST or HOST/NAME:TAG is here."""
        host, _, rest = image.partition("/")
        name, at, reference = rest.partition("@")
        if not at:
            name, _, reference = rest.partition(":")
        return host == self.host and self._digest(name, reference or "latest") is not None

    def documents(self) -> list[bytes]:
        """Return every manifest and every image's configuration."""
        with self._lock:
            digests = {digest for _, digest in self._kinds}
        found = [self._path(digest).read_bytes() for digest in digests]
        configs = [json.loads(each).get("config") for each in found]
        return [*found, *(self._path(each["digest"]).read_bytes() for each in configs if each)]

    # HTTP

    def _respond(self, request: Request) -> Answer:
        fault = self.faults.take(request)
        answer = fault.strike() if fault is not None and not fault.applied else None
        if answer is None:
            try:
                answer = self._act(request)
            except RegistryError as error:
                answer = error.answer()
            if fault is not None and fault.applied:
                answer = fault.strike() or answer
        self.requests.append(f"{request.method} {request.path} -> {answer.status}")
        return answer

    def _act(self, request: Request) -> Answer:
        path = urlsplit(request.target).path
        if path == TOKEN_PATH and request.method == "GET":
            return self._give_token(request)
        account = self._account(request)
        if account is None:
            return self._challenge(path)
        if path in ("/v2/", "/v2"):
            return Answer.of({})
        for pattern, methods in (
            (MANIFEST, {"GET": self._manifest, "HEAD": self._manifest, "PUT": self._put_manifest}),
            (BLOB, {"GET": self._blob, "HEAD": self._blob}),
            (UPLOADS, {"POST": self._begin}),
            (UPLOAD, {"PATCH": self._append, "PUT": self._finish}),
        ):
            match = pattern.fullmatch(path)
            if match and request.method in methods:
                action = "pull" if request.method in ("GET", "HEAD") else "push"
                self._permit(account, match["name"], action)
                return methods[request.method](request, **match.groupdict())
        return RegistryError(404, "UNSUPPORTED", f"{request.method} {path}").answer()

    # Who asks

    def _account(self, request: Request) -> str | None:
        """Return who asks; None where a login is to be asked for."""
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            with self._lock:
                return self._tokens.get(value)
        if kind.lower() == "basic":
            return self._login(*_basic(value))
        return None

    def _challenge(self, path: str) -> Answer:
        answer = RegistryError(401, "UNAUTHORIZED", "authentication required").answer()
        parts = [f'realm="http://{self.host}{TOKEN_PATH}"', f'service="{self.host}"']
        if match := re.match(f"/v2/{NAME}/(?:manifests|blobs)/", path):
            parts.append(f'scope="repository:{match["name"]}:pull"')
        answer.headers.append(("WWW-Authenticate", f"Bearer {','.join(parts)}"))
        return answer

    def _give_token(self, request: Request) -> Answer:
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        account: str | None = ""
        if kind.lower() == "basic":
            account = self._login(*_basic(value))
        if account is None:
            raise RegistryError(401, "UNAUTHORIZED", "authentication failed")
        for name, value in parse_qsl(urlsplit(request.target).query):
            if name == "scope" and value.count(":") == 2:
                _, repository, actions = value.split(":")
                for action in actions.split(","):
                    self._permit(account, repository, action)
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._tokens[token] = account
        return Answer.of({"token": token, "expires_in": 3600})

    def secrets(self) -> list[str]:
        """Return every token that was handed out."""
        with self._lock:
            return list(self._tokens)

    # Blobs

    def _path(self, digest: str) -> Path:
        return self._folder / digest.replace(":", "-")

    def _blob(self, request: Request, name: str, digest: str) -> Answer:
        with self._lock:
            if (name, digest) not in self._blobs:
                raise RegistryError(404, "BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        return _content(request, self._path(digest), digest, "application/octet-stream")

    def _begin(self, request: Request, name: str) -> Answer:
        upload = secrets.token_hex(16)
        path = self._folder / f"upload-{upload}"
        path.write_bytes(request.body)
        with self._lock:
            self._uploads[upload] = path
        return self._accepted(name, upload)

    def _append(self, request: Request, name: str, upload: str) -> Answer:
        with self._upload(upload).open("ab") as file:
            file.write(request.body)
        return self._accepted(name, upload)

    def _finish(self, request: Request, name: str, upload: str) -> Answer:
        path = self._upload(upload)
        with path.open("ab") as file:
            file.write(request.body)
        digest = request.query.get("digest", "")
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if found != digest:
            message = "provided digest did not match uploaded content"
            raise RegistryError(400, "DIGEST_INVALID", message)
        with self._lock:
            path.replace(self._path(digest))
            del self._uploads[upload]
            self._blobs.add((name, digest))
        return _created(f"/v2/{name}/blobs/{digest}", digest)

    def _upload(self, upload: str) -> Path:
        with self._lock:
            if upload in self._uploads:
                return self._uploads[upload]
        raise RegistryError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")

    def _accepted(self, name: str, upload: str) -> Answer:
        size = self._upload(upload).stat().st_size
        headers = {
            "Location": f"http://{self.host}/v2/{name}/blobs/uploads/{upload}",
            "Range": f"0-{max(size - 1, 0)}",
            "Docker-Upload-UUID": upload,
        }
        return Answer(202, b"", list(headers.items()))

    # Manifests

    def _digest(self, name: str, reference: str) -> str | None:
        with self._lock:
            digest = self._tags.get((name, reference), reference)
            return digest if (name, digest) in self._kinds else None

    def _manifest(self, request: Request, name: str, reference: str) -> Answer:
        digest = self._digest(name, reference)
        if digest is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", f"Failed to fetch {json.dumps(reference)}")
        return _content(request, self._path(digest), digest, self._kinds[name, digest])

    def _put_manifest(self, request: Request, name: str, reference: str) -> Answer:
        digest = f"sha256:{hashlib.sha256(request.body).hexdigest()}"
        if reference.startswith("sha256:") and reference != digest:
            raise RegistryError(400, "DIGEST_INVALID", "manifest does not match its digest")
        try:
            manifest = json.loads(request.body)
            blobs = {each["digest"] for each in manifest.get("layers", [])}
            if "config" in manifest:
                blobs.add(manifest["config"]["digest"])
            images = {each["digest"] for each in manifest.get("manifests", [])}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RegistryError(400, "MANIFEST_INVALID", "manifest invalid") from None
        with self._lock:
            absent = {each for each in blobs if (name, each) not in self._blobs}
            absent |= {each for each in images if (name, each) not in self._kinds}
            if absent:
                raise RegistryError(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown: {min(absent)}")
            self._path(digest).write_bytes(request.body)
            self._kinds[name, digest] = request.headers.get("Content-Type", "")
            if not reference.startswith("sha256:"):
                self._tags[name, reference] = digest
        return _created(f"/v2/{name}/manifests/{digest}", digest)


def _content(request: Request, path: Path, digest: str, kind: str) -> Answer:
    headers = {"Content-Type": kind, "Docker-Content-Digest": digest}
    if request.method == "HEAD":
        headers["Content-Length"] = str(path.stat().st_size)
        return Answer(200, b"", list(headers.items()))
    return Answer(200, path.read_bytes(), list(headers.items()))


def _created(location: str, digest: str) -> Answer:
    return Answer(201, b"", [("Location", location), ("Docker-Content-Digest", digest)])


def _basic(value: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return "", ""
    return user, password


class ArtifactRegistry(Registry):
    """Google's: access tokens log in, permissions are those of a repository."""

    def __init__(
        self,
        folder: Path,
        account_of: Callable[[str], str | None],
        allow: Callable[[str, str], Any],
        repositories: set[str],
        location: str,
    ):
        """`account_of` knows access tokens; `allow` takes account and permission, and raises
        PermissionError."""
        self.repositories = repositories  # each PROJECT/REPOSITORY
        self._location = location
        self._account_of = account_of
        self._allow = allow
        super().__init__(folder, self._sign_in, self._check)

    def _sign_in(self, user: str, password: str) -> str | None:
        return self._account_of(password) if user == "oauth2accesstoken" else None

    def _check(self, account: str, name: str, action: str) -> None:
        verb = "downloadArtifacts" if action == "pull" else "uploadArtifacts"
        permission = f"artifactregistry.repositories.{verb}"
        project, _, rest = name.partition("/")
        repository = rest.partition("/")[0]
        resource = f"projects/{project}/locations/{self._location}/repositories/{repository}"
        if not account:
            words = (
                "Unauthenticated request. Unauthenticated requests do not have permission "
                f'"{permission}" on resource "{resource}" (or it may not exist)'
            )
            raise RegistryError(403, "DENIED", words)
        try:
            self._allow(account, permission)
        except PermissionError:
            words = f'Permission "{permission}" denied on resource "{resource}"'
            raise RegistryError(403, "DENIED", f"{words} (or it may not exist)") from None
        if f"{project}/{repository}" not in self.repositories:
            words = f'Repository "{repository}" not found'
            raise RegistryError(404, "NAME_UNKNOWN", words)
