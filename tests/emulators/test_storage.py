"""The emulator's Cloud Storage: generations, preconditions, permissions and the rate of writes."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import Person

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-storage")]

RECORD = "delivery/default.json"
OBJECT = "storage/v1/b/demo-project.appspot.com/o/delivery%2Fdefault.json"
UPLOAD = (
    "upload/storage/v1/b/demo-project.appspot.com/o?uploadType=media&name=delivery%2Fdefault.json"
)


@pytest.fixture(scope="module")
def running() -> Iterator[AppEngine]:
    """Start one emulator for the module; no test needs a version."""
    with AppEngine() as emulator:
        yield emulator


@pytest.fixture
def gae(running: AppEngine) -> Iterator[AppEngine]:
    """Return the emulator with empty buckets."""
    yield running
    running.heal()
    running.storage.empty(running.default_bucket)
    running.storage.seconds_between_writes = 0.0


class Reply:
    """What the storage API answered."""

    def __init__(self, gae: AppEngine, method: str, path: str, body: bytes = b"") -> None:
        connection = http.client.HTTPConnection(urlsplit(gae.api_url).netloc, timeout=30)
        headers = {"Authorization": f"Bearer {gae.tokens.issue('someone')}"}
        connection.request(method, f"/{path}", body, headers)
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        (error,) = self.json["error"]["errors"]
        return str(error["reason"])


def write(gae: AppEngine, body: bytes, generation: str = "") -> Reply:
    condition = f"&ifGenerationMatch={generation}" if generation else ""
    return Reply(gae, "POST", UPLOAD + condition, body)


class TestTheRealGcloud:
    """`gcloud storage` works with it, preconditions included."""

    def test_writes_reads_and_deletes_by_generation(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path, **{"record.json": '{"a": 1}'})
        url = f"gs://{gae.default_bucket}/{RECORD}"
        copy = ("storage", "cp", "record.json", url)
        assert person.gcloud(*copy, "--if-generation-match=0").returncode == 0
        assert person.gcloud("storage", "cat", url).stdout == '{"a": 1}'
        found = person.ask("storage", "objects", "describe", url)

        refused = person.gcloud(*copy, "--if-generation-match=0")
        assert refused.returncode == 1
        assert "HTTPError 412" in refused.stderr
        (tmp_path / "record.json").write_text('{"a": 2}', "utf-8")
        match = f"--if-generation-match={found['generation']}"
        assert person.gcloud(*copy, match).returncode == 0
        assert gae.storage.read(gae.default_bucket, RECORD) == b'{"a": 2}'

        assert person.gcloud("storage", "rm", url, match).returncode == 1
        assert person.gcloud("storage", "rm", url).returncode == 0
        assert gae.storage.read(gae.default_bucket, RECORD) is None
        assert gae.unmodelled == []

    def test_says_which_bucket_it_may_not_write_to(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        with gae.without(f"storage.objects.create@{gae.default_bucket}"):
            refused = person.gcloud("storage", "cp", "main.py", f"gs://{gae.default_bucket}/x")
            allowed = person.gcloud("storage", "cp", "main.py", f"gs://{gae.staging_bucket}/x")
        assert refused.returncode == 1
        assert "does not have storage.objects.create access" in refused.stderr
        assert allowed.returncode == 0

    def test_finds_the_default_bucket_by_the_app(self, gae: AppEngine, tmp_path: Path) -> None:
        app = Person(gae, tmp_path).ask("app", "describe")
        assert app["defaultBucket"] == gae.default_bucket
        assert app["codeBucket"] == gae.staging_bucket


class TestGenerations:
    """Compare and set."""

    def test_a_read_tells_the_generation(self, gae: AppEngine) -> None:
        written = write(gae, b"one")
        read = Reply(gae, "GET", f"{OBJECT}?alt=media")
        assert (read.status, read.body) == (200, b"one")
        assert read.headers["x-goog-generation"] == written.json["generation"]
        described = Reply(gae, "GET", OBJECT).json
        assert described["generation"] == written.json["generation"]
        assert (described["name"], described["metageneration"]) == (RECORD, "1")
        assert described["size"] == "3"

    def test_every_write_is_a_newer_generation(self, gae: AppEngine) -> None:
        generations = [int(write(gae, b"x").json["generation"]) for _ in range(20)]
        assert generations == sorted(set(generations))

    def test_zero_means_that_there_is_no_object(self, gae: AppEngine) -> None:
        assert write(gae, b"one", "0").status == 200
        refused = write(gae, b"two", "0")
        assert (refused.status, refused.reason) == (412, "conditionNotMet")
        assert gae.storage.read(gae.default_bucket, RECORD) == b"one"

    def test_of_two_writers_one_wins(self, gae: AppEngine) -> None:
        seen = write(gae, b"one").json["generation"]
        assert write(gae, b"two", seen).status == 200
        assert write(gae, b"three", seen).status == 412
        assert gae.storage.read(gae.default_bucket, RECORD) == b"two"

    def test_nothing_is_made_over_an_object_that_is_gone(self, gae: AppEngine) -> None:
        seen = write(gae, b"one").json["generation"]
        assert Reply(gae, "DELETE", f"{OBJECT}?ifGenerationMatch=1").status == 412
        assert Reply(gae, "DELETE", f"{OBJECT}?ifGenerationMatch={seen}").status == 204
        assert write(gae, b"two", seen).status == 412
        assert Reply(gae, "GET", OBJECT).reason == "notFound"

    def test_a_look_can_be_conditional(self, gae: AppEngine) -> None:
        seen = write(gae, b"one").json["generation"]
        assert Reply(gae, "GET", f"{OBJECT}?ifGenerationNotMatch={seen}").status == 304
        assert Reply(gae, "GET", f"{OBJECT}?ifGenerationMatch=1").status == 412
        assert Reply(gae, "GET", f"{OBJECT}?alt=media&generation=1").status == 404

    def test_a_missing_object_is_plain_text_where_content_was_asked_for(
        self, gae: AppEngine
    ) -> None:
        missing = Reply(gae, "GET", f"{OBJECT}?alt=media")
        assert missing.status == 404
        assert missing.body.decode() == f"No such object: {gae.default_bucket}/{RECORD}"

    def test_a_slash_in_a_name_has_to_be_encoded(self, gae: AppEngine) -> None:
        write(gae, b"one")
        assert Reply(gae, "GET", OBJECT.replace("%2F", "/")).status == 404
        gae.unmodelled.clear()


class TestRefusals:
    """Permissions and limits."""

    @pytest.mark.parametrize(
        ("permission", "method", "path"),
        [
            ("storage.objects.get", "GET", OBJECT),
            ("storage.objects.create", "POST", UPLOAD),
            ("storage.objects.delete", "POST", UPLOAD),
            ("storage.objects.delete", "DELETE", OBJECT),
        ],
    )
    def test_each_method_needs_its_permission(
        self, gae: AppEngine, permission: str, method: str, path: str
    ) -> None:
        write(gae, b"one")
        with gae.without(permission):
            refused = Reply(gae, method, path)
        assert (refused.status, refused.reason) == (403, "forbidden")
        assert f"someone does not have {permission} access" in refused.json["error"]["message"]
        assert gae.storage.read(gae.default_bucket, RECORD) == b"one"

    def test_a_new_object_needs_no_permission_to_delete(self, gae: AppEngine) -> None:
        with gae.without("storage.objects.delete"):
            assert write(gae, b"one", "0").status == 200

    def test_who_may_not_list_may_not_know_what_is_missing(self, gae: AppEngine) -> None:
        with gae.without("storage.objects.list"):
            assert Reply(gae, "GET", OBJECT).status == 403
            write(gae, b"one")
            assert Reply(gae, "GET", OBJECT).status == 200

    def test_one_name_takes_so_many_writes_a_second(self, gae: AppEngine) -> None:
        gae.storage.seconds_between_writes = 60.0
        assert write(gae, b"one").status == 200
        refused = write(gae, b"two")
        assert (refused.status, refused.reason) == (429, "rateLimitExceeded")
        gae.storage.seconds_between_writes = 0.0
        assert write(gae, b"three").status == 200

    def test_another_bucket_does_not_exist(self, gae: AppEngine) -> None:
        assert Reply(gae, "GET", "storage/v1/b/runtime-builders").reason == "notFound"

    def test_a_bucket_can_be_gone(self, gae: AppEngine) -> None:
        del gae.storage.buckets[gae.default_bucket]
        refused = write(gae, b"one", "0")
        assert (refused.status, refused.reason) == (404, "notFound")
        assert refused.json["error"]["message"] == "The specified bucket does not exist."
