"""The staging bucket: Cloud Storage as far as `gcloud app deploy` uses it."""

import email
import email.policy
import hashlib
import json
import threading
import time
from typing import Any

from .wire import Answer, ApiError, Request


class Bucket:
    """Objects by name, in memory; every other bucket answers 404, as `runtime-builders` may."""

    def __init__(self, name: str):
        self.name = name
        self._objects: dict[str, bytes] = {}
        self._created: dict[str, str] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> bytes | None:
        with self._lock:
            return self._objects.get(name)

    def put(self, data: bytes) -> str:
        """Store a file as gcloud does, under its SHA-1; the URL that a manifest names it by."""
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self._store(name, data)
        return f"https://storage.googleapis.com/{self.name}/{name}"

    def contents(self) -> list[bytes]:
        with self._lock:
            return list(self._objects.values())

    def describe(self, bucket: str) -> Answer:
        self._check(bucket)
        return Answer.of({"kind": "storage#bucket", "id": bucket, "name": bucket})

    def list_objects(self, bucket: str) -> Answer:
        self._check(bucket)
        with self._lock:
            items = [self._resource(name) for name in sorted(self._objects)]
        return Answer.of({"kind": "storage#objects", "items": items})

    def download(self, request: Request, bucket: str, name: str) -> Answer:
        self._check(bucket)
        data = self.read(name)
        if data is None:
            raise ApiError(404, f"No such object: {bucket}/{name}")
        if request.query.get("alt") == "media":
            return Answer(200, data, [("Content-Type", "application/octet-stream")])
        return Answer.of(self._resource(name))

    def upload(self, request: Request, bucket: str) -> Answer:
        self._check(bucket)
        kind = request.query.get("uploadType")
        if kind == "multipart":
            name, data = _parts(request)
        elif kind == "media":
            name, data = request.query.get("name", ""), request.body
        elif kind is None:
            name, data = str(request.json().get("name", "")), b""
        else:
            raise ApiError(501, f"uploadType={kind} is not modelled: files over 5 MB need it.")
        if not name:
            raise ApiError(400, "Required object name")
        self._store(name, data)
        return Answer.of(self._resource(name))

    def _store(self, name: str, data: bytes) -> None:
        with self._lock:
            self._objects[name] = data
            self._created[name] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())

    def _resource(self, name: str) -> dict[str, Any]:
        return {
            "kind": "storage#object",
            "id": f"{self.name}/{name}/1",
            "name": name,
            "bucket": self.name,
            "generation": "1",
            "size": str(len(self._objects[name])),
            "timeCreated": self._created[name],
        }

    def _check(self, bucket: str) -> None:
        if bucket != self.name:
            raise ApiError(404, "The specified bucket does not exist.")


def _parts(request: Request) -> tuple[str, bytes]:
    """The name and the content in a multipart/related body.

    gcloud's header does not always quote the boundary, so it is taken from the body's first line.
    """
    first, newline, _ = request.body.partition(b"\n")
    boundary = first.strip().removeprefix(b"--").decode()
    head = f'Content-Type: multipart/related; boundary="{boundary}"\r\n\r\n'.encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    parts = list(message.iter_parts()) if newline else []
    if len(parts) != 2:
        raise ApiError(400, "A multipart upload has two parts: metadata and media.")
    metadata = json.loads(_payload(parts[0]))
    return str(metadata.get("name") or request.query.get("name", "")), _payload(parts[1])


def _payload(part: Any) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
