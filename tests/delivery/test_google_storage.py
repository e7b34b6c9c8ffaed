"""One object in Cloud Storage, replaced only while it is what was read."""

import pytest
from delivery.errors import CommandError, ConflictError
from delivery.google.rest import Answer, ApiError, Rest
from delivery.google.storage import Object
from delivery.target import Stored

from tests.delivery.machine import Clock, Google, lost, refused


@pytest.fixture
def record(google: Google) -> Object:
    assert google.asked == []
    clock = Clock()
    return Object(Rest(str, {}, clock=clock, sleep=clock.sleep), "bucket-shop", "delivery/web.json")


def test_an_object_is_read_with_its_generation(record: Object, google: Google) -> None:
    google.script(("GET", Answer(200, "caf\u00e9".encode(), {"x-goog-generation": "17"})))
    assert record.read() == Stored("caf\u00e9", "17")
    assert google.asked == [
        "GET https://storage.googleapis.com/storage/v1/b/bucket-shop/o/delivery%2Fweb.json?alt=media"
    ]


@pytest.mark.parametrize(
    "message", ["No such object: bucket-shop/delivery/web.json", "Not Found", "HTTP 404"]
)
def test_an_object_that_is_not_there_yet_is_an_empty_text(
    record: Object, google: Google, message: str
) -> None:
    google.script(("GET", refused(404, message)))
    assert record.read() == Stored("", "0")


def test_a_bucket_that_is_not_there_is_no_empty_text(record: Object, google: Google) -> None:
    google.script(("GET", refused(404, "The specified bucket does not exist.")))
    with pytest.raises(ApiError, match="bucket does not exist"):
        record.read()


def test_a_text_in_ruins_is_returned_for_others_to_judge(record: Object, google: Google) -> None:
    google.script(("GET", Answer(200, b"\xff{", {"x-goog-generation": "17"})))
    assert record.read() == Stored("\ufffd{", "17")


def test_reading_is_tried_again(record: Object, google: Google) -> None:
    found = Answer(200, b"{}", {"x-goog-generation": "17"})
    google.script(("GET", lost()), ("GET", refused(503)), ("GET", found))
    assert record.read() == Stored("{}", "17")


def test_who_may_not_read_is_told_the_role_and_the_bucket(record: Object, google: Google) -> None:
    denied = "PERMISSION_DENIED: d@x does not have storage.objects.get access to the object."
    google.script(("GET", refused(403, denied)))
    with pytest.raises(ApiError) as caught:
        record.read()
    assert caught.value.what == "reading the record of deliveries: HTTP 403"
    assert "roles/storage.objectAdmin" in caught.value.then


def test_an_object_is_written_only_over_the_generation_that_was_read(
    record: Object, google: Google
) -> None:
    google.script(("POST", {"generation": "18"}))
    assert record.write("caf\u00e9", "17") == "18"
    assert google.asked == [
        (
            "POST https://storage.googleapis.com/upload/storage/v1/b/bucket-shop/o"
            "?uploadType=media&name=delivery%2Fweb.json&ifGenerationMatch=17"
        )
    ]
    assert google.requests[0].data == "caf\u00e9".encode()


def test_an_object_that_has_changed_is_a_conflict(record: Object, google: Google) -> None:
    google.script(("POST", refused(412, "At least one of the pre-conditions did not hold.")))
    with pytest.raises(ConflictError) as caught:
        record.write("{}", "17")
    assert "run this again" in caught.value.then


@pytest.mark.parametrize("failure", [lost(), refused(503), refused(429), refused(403)], ids=str)
def test_writing_is_never_repeated_blindly(
    record: Object, google: Google, failure: ApiError
) -> None:
    """Where the answer was lost, the text may stand there: ledger.py looks."""
    google.script(("POST", failure))
    with pytest.raises(CommandError) as caught:
        record.write("{}", "17")
    assert "writing the record of deliveries" in caught.value.what
    assert not isinstance(caught.value, ConflictError)
    assert len(google.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_an_answer_from_somebody_else_is_no_answer(
    record: Object, google: Google, body: bytes
) -> None:
    google.script(("POST", body))
    with pytest.raises(ApiError) as caught:
        record.write("{}", "17")
    assert caught.value.status == 0


def test_a_text_from_somebody_else_is_no_record(record: Object, google: Google) -> None:
    """A proxy's page, with status 200: it has no generation."""
    google.script(("GET", Answer(200, b"<html>Sign in</html>")))
    with pytest.raises(ApiError, match="without a generation") as caught:
        record.read()
    assert caught.value.what == "reading the record of deliveries: no answer"
