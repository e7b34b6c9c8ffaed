"""One object in Cloud Storage, replaced only while it is what was read; for the record."""

from dataclasses import dataclass
from urllib.parse import quote

from delivery.errors import ConflictError
from delivery.google.rest import ApiError, Rest, call
from delivery.target import Stored

NONE_YET = "0"  # as a generation, it stands for an object that does not exist
NOT_FOUND = 404
PRECONDITION_FAILED = 412


@dataclass(frozen=True)
class Object:
    """Its tag is its generation, which each write changes.

    https://cloud.google.com/storage/docs/request-preconditions
    """

    api: Rest
    bucket: str
    name: str

    def read(self) -> Stored:
        """Return text and generation; no object is an empty text."""
        path = f"b/{self.bucket}/o/{quote(self.name, safe='')}"
        query = {"alt": "media"}

        def read() -> Stored:
            answer = self.api.request("GET", "storage", path, query=query)
            # A text in ruins must reach record.py, which says so.
            text = answer.body.decode("utf-8", "replace")
            return Stored(text, _tag(answer.headers.get("x-goog-generation")))

        try:
            return call(read, "reading the record of deliveries", self._role)
        except ApiError as error:
            if error.status == NOT_FOUND and "bucket does not exist" not in error.message:
                return Stored("", NONE_YET)
            raise

    def write(self, text: str, tag: str) -> str:
        """Replace the object; return its new generation. Raise ConflictError if it has changed."""
        query = {"uploadType": "media", "name": self.name, "ifGenerationMatch": tag}

        def write() -> str:
            answer = self.api.request(
                "POST",
                "storage-upload",
                f"b/{self.bucket}/o",
                query=query,
                body=text.encode(),
                headers={"Content-Type": "application/json"},
                retry=False,
            )
            return _tag(answer.json.get("generation"))

        try:
            return call(write, "writing the record of deliveries", self._role)
        except ApiError as error:
            if error.status == PRECONDITION_FAILED:
                raise ConflictError(
                    "the record of deliveries was changed by someone else", then="run this again"
                ) from error
            raise

    @property
    def _role(self) -> str:
        return f"roles/storage.objectAdmin, on the bucket {self.bucket}"


def _tag(generation: object) -> str:
    """Return it as a tag; without one, somebody else has answered, such as a proxy."""
    if not generation:
        raise ApiError(0, "an answer without a generation, so not from Cloud Storage")
    return str(generation)
