"""Cloud Storage: the app's staging and default buckets, with generations and preconditions.

Modelled after:

- the JSON API's reference for objects (`get`, `list`, `insert`, `delete`) and its discovery
  document: resources, paths with the object's name URL-encoded, `alt=media`;
- https://cloud.google.com/storage/docs/request-preconditions for `if…Match`, 304 and 412;
- https://cloud.google.com/storage/docs/json_api/v1/status-codes for the form of errors and the
  words of `notFound`, `conditionNotMet` and `rateLimitExceeded`;
- https://cloud.google.com/storage/docs/access-control/iam-json for the permission of each method:
  replacing an object needs `storage.objects.delete` too;
- https://cloud.google.com/storage/quotas for one write per second to an object's name;
- googlecloudsdk.api_lib.storage.gcs_json for what `gcloud storage` and `gcloud app deploy` send.
"""

import base64
import email
import email.policy
import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from .wire import Answer, ApiError, Request

REASONS = {400: "invalid", 403: "forbidden", 404: "notFound", 429: "rateLimitExceeded"}
Allowed = Callable[[str], None]


class StorageError(ApiError):
    """A refusal in the form of the storage API, which is older than that of the others."""

    def __init__(self, code: int, message: str, **where: str):
        super().__init__(code, message)
        self.where = where

    def answer(self) -> Answer:
        """Return the refusal as JSON."""
        reason = {"reason": REASONS.get(self.code, "backendError"), **self.where}
        errors = [{"message": self.message, "domain": "global", **reason}]
        body = {"error": {"code": self.code, "message": self.message, "errors": errors}}
        return Answer.of(body, self.code)


@dataclass(frozen=True)
class Object:
    """One generation of an object."""

    data: bytes
    generation: int
    content_type: str
    created: float  # seconds since the epoch

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()


@dataclass
class Bucket:
    """Objects by name, in memory."""

    name: str
    objects: dict[str, Object] = field(default_factory=dict)

    def describe(self, name: str, url: str) -> dict[str, Any]:
        """Return an object's resource; `url` is the API's own address."""
        found = self.objects[name]
        created = _timestamp(found.created)
        path = f"storage/v1/b/{self.name}/o/{quote(name, safe='')}"
        return {
            "kind": "storage#object",
            "id": f"{self.name}/{name}/{found.generation}",
            "selfLink": f"{url}{path}",
            "mediaLink": f"{url}download/{path}?generation={found.generation}&alt=media",
            "name": name,
            "bucket": self.name,
            "generation": str(found.generation),
            "metageneration": "1",  # counts changes of metadata, which is not modelled
            "contentType": found.content_type,
            "storageClass": "STANDARD",
            "size": str(len(found.data)),
            "md5Hash": found.md5,
            "etag": _etag(found.generation),
            "timeCreated": created,
            "updated": created,
        }


class Storage:
    """A project's buckets. Every other bucket answers 404, as `runtime-builders` may."""

    def __init__(self, *names: str):
        self.buckets = {name: Bucket(name) for name in names}
        self.url = ""  # known once the API's own server listens
        self.seconds_between_writes = 0.0  # to one name; Google: about 1
        self._lock = threading.RLock()
        self._last_generation = 0

    # For the emulator and its tests, without any permission

    def read(self, bucket: str, name: str) -> bytes | None:
        """Return an object's content, or None where there is no such object."""
        with self._lock:
            found = self.buckets[bucket].objects.get(name)
        return None if found is None else found.data

    def write(self, bucket: str, name: str, data: bytes) -> int:
        """Store an object whatever was there; return its generation."""
        with self._lock:
            return self._store(self.buckets[bucket], name, data, "").generation

    def empty(self, bucket: str) -> None:
        """Remove every object of a bucket; a bucket that a test has taken away is there again."""
        with self._lock:
            self.buckets[bucket] = Bucket(bucket)

    def contents(self, bucket: str | None = None) -> list[bytes]:
        """Return the content of every object, in one bucket or in all."""
        with self._lock:
            found = self.buckets.values() if bucket is None else [self.buckets[bucket]]
            return [each.data for one in found for each in one.objects.values()]

    # The API

    def get_bucket(self, bucket: str) -> Answer:
        found = self._find(bucket)
        resource = {"kind": "storage#bucket", "id": found.name, "name": found.name}
        uniform = {"uniformBucketLevelAccess": {"enabled": False}}
        return Answer.of(resource | {"metageneration": "1", "iamConfiguration": uniform})

    def list_objects(self, request: Request, bucket: str) -> Answer:
        """List objects whose name has the `prefix`; the parts after the `delimiter` are folded."""
        found = self._find(bucket)
        prefix, delimiter = (request.query.get(name, "") for name in ("prefix", "delimiter"))
        items, folders = [], set()
        with self._lock:
            for name in sorted(found.objects):
                if not name.startswith(prefix):
                    continue
                head, mark, _ = name[len(prefix) :].partition(delimiter or "\0")
                if mark:
                    folders.add(prefix + head + mark)
                else:
                    items.append(found.describe(name, self.url))
        listed: dict[str, Any] = {"kind": "storage#objects"}
        listed |= {"items": items} if items else {}
        return Answer.of(listed | ({"prefixes": sorted(folders)} if folders else {}))

    def get_object(self, request: Request, bucket: str, name: str, allowed: Allowed) -> Answer:
        """Return an object's resource or, with `alt=media`, its content."""
        found = self._find(bucket)
        media = request.query.get("alt") == "media"
        with self._lock:
            current = found.objects.get(name)
            wanted = request.query.get("generation")  # older ones are not kept, as by default
            if current is None or wanted not in (None, str(current.generation)):
                # Who may not list may not know either that it is missing.
                allowed("storage.objects.list")
                absent = f"No such object: {bucket}/{name}"
                if media:
                    return Answer(404, absent.encode(), [("Content-Type", "text/html")])
                raise StorageError(404, absent)
            resource = found.describe(name, self.url)
        if not _matches(request, current):
            return Answer(304)
        if not media:
            return Answer.of(resource)
        headers = {
            "Content-Type": current.content_type,
            "ETag": resource["etag"],
            "x-goog-generation": resource["generation"],
            "x-goog-metageneration": resource["metageneration"],
            "x-goog-hash": f"md5={current.md5}",
            "x-goog-stored-content-length": resource["size"],
        }
        return _ranged(request, current.data, headers)

    def insert_object(self, request: Request, bucket: str, allowed: Allowed) -> Answer:
        """Create an object, or a new generation of one, if the precondition holds."""
        found = self._find(bucket)
        kind = request.query.get("uploadType")
        if kind == "multipart":
            name, data, content_type = _parts(request)
        elif kind == "media":
            name, data = request.query.get("name", ""), request.body
            content_type = request.headers.get("Content-Type", "")
        elif kind is None:
            name, data, content_type = str(request.json().get("name", "")), b"", ""
        else:
            raise ApiError(501, f"uploadType={kind} is not modelled: files over 5 MB need it.")
        if not name:
            raise StorageError(400, "Required object name")
        with self._lock:
            current = found.objects.get(name)
            _require(request, current)
            if current is not None:
                allowed("storage.objects.delete")
            self._throttle(found, name)
            self._store(found, name, data, content_type)
            return Answer.of(found.describe(name, self.url))

    def delete_object(self, request: Request, bucket: str, name: str) -> Answer:
        found = self._find(bucket)
        with self._lock:
            if name not in found.objects:
                raise StorageError(404, f"No such object: {bucket}/{name}")
            _require(request, found.objects[name])
            self._throttle(found, name)
            del found.objects[name]
        return Answer(204)

    def _store(self, bucket: Bucket, name: str, data: bytes, content_type: str) -> Object:
        # Google's generations are microseconds too, and never repeat.
        now = time.time()
        generation = max(int(now * 1e6), self._last_generation + 1)
        self._last_generation = generation
        made = Object(data, generation, content_type or "application/octet-stream", now)
        bucket.objects[name] = made
        return made

    def _throttle(self, bucket: Bucket, name: str) -> None:
        current = bucket.objects.get(name)
        if current and time.time() - current.created < self.seconds_between_writes:
            raise StorageError(
                429,
                f"The object {bucket.name}/{name} exceeded the rate limit for object mutation "
                "operations (create, update, and delete). Please reduce your request rate. "
                "See https://cloud.google.com/storage/docs/gcs429.",
            )

    def _find(self, bucket: str) -> Bucket:
        if found := self.buckets.get(bucket):
            return found
        raise StorageError(404, "The specified bucket does not exist.")


def denial(account: str, permission: str) -> StorageError:
    """Return the refusal of an account that lacks a permission."""
    kind = "bucket" if permission in ("storage.buckets.get", "storage.objects.list") else "object"
    return StorageError(
        403,
        f"{account} does not have {permission} access to the Google Cloud Storage {kind}. "
        f"Permission '{permission}' denied on resource (or it may not exist).",
    )


def _require(request: Request, current: Object | None) -> None:
    """Refuse a change of anything but the generation that the request names; 0 is no object."""
    for parameter, wanted in (("ifGenerationMatch", True), ("ifGenerationNotMatch", False)):
        stated = request.query.get(parameter)
        if stated is None:
            continue
        if not stated.isdigit():
            raise StorageError(400, f"Invalid value for {parameter}: {stated}")
        if (int(stated) == (current.generation if current else 0)) is not wanted:
            raise PreconditionError


class PreconditionError(StorageError):
    """412: the object has changed since the client looked at it."""

    def __init__(self) -> None:
        super().__init__(
            412,
            "At least one of the pre-conditions you specified did not hold.",
            reason="conditionNotMet",
            locationType="header",
            location="If-Match",
        )


def _matches(request: Request, current: Object) -> bool:
    """Tell whether a look is wanted; False stands for 304, an object that has not changed."""
    stated = request.query.get("ifGenerationMatch")
    if stated is not None and stated != str(current.generation):
        raise PreconditionError
    return request.query.get("ifGenerationNotMatch") != str(current.generation)


def _ranged(request: Request, data: bytes, headers: dict[str, str]) -> Answer:
    """Answer with the whole, or with the range that the client asked for."""
    wanted = request.headers.get("Range", "").removeprefix("bytes=")
    if not wanted or not data:
        return Answer(200, data, list(headers.items()))
    first, _, last = wanted.partition("-")
    start = int(first)
    end = min(int(last) if last else len(data) - 1, len(data) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Answer(206, data[start : end + 1], list(headers.items()))


def _parts(request: Request) -> tuple[str, bytes, str]:
    """Return name, content and type from a multipart/related body.

    gcloud's header does not always quote the boundary, so it is taken from the body's first line.
    """
    first, newline, _ = request.body.partition(b"\n")
    boundary = first.strip().removeprefix(b"--").decode()
    head = f'Content-Type: multipart/related; boundary="{boundary}"\r\n\r\n'.encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    parts = list(message.iter_parts()) if newline else []
    if len(parts) != 2:
        raise StorageError(400, "A multipart upload has two parts: metadata and media.")
    metadata = json.loads(_payload(parts[0]))
    name = str(metadata.get("name") or request.query.get("name", ""))
    kind = metadata.get("contentType") or parts[1].get_content_type()
    return name, _payload(parts[1]), str(kind)


def _payload(part: Any) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _etag(generation: int) -> str:
    return base64.b64encode(generation.to_bytes(8, "big")).decode()


def _timestamp(seconds: float) -> str:
    return (
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1e3):03}Z"
    )
