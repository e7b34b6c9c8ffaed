"""The emulator's Cloud Logging: what an instance wrote can be read back, and filtered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.appengine import AppEngine
from emulators.appengine.logfilter import parse
from emulators.appengine.logs import Logs
from emulators.appengine.wire import ApiError
from tests.emulators.clients import Person, call, deploy, get

WRITES = """
import json, sys
def app(environ, start_response):
    print("plain on stdout", flush=True)
    line = {"severity": "WARNING", "message": "careful", "time": "2026-01-02T03:04:05+01:00"}
    print(json.dumps(line | {"logging.googleapis.com/trace": "t"}), file=sys.stderr, flush=True)
    print(json.dumps({"severity": "ERROR", "message": "bad", "code": 7}), flush=True)
    start_response("200 OK", [])
    return [b"ok"]
"""
ONE = 'resource.type="gae_app" AND resource.labels.version_id="{}"'


def listed(gae: AppEngine, query: str, **more: Any) -> list[dict[str, Any]]:
    """List entries as a client of the API does."""
    body = {"resourceNames": [f"projects/{gae.project}"], "filter": query, **more}
    status, answer = call(gae, "POST", "v2/entries:list", body)
    assert status == 200, answer
    entries: list[dict[str, Any]] = answer.get("entries", [])
    return entries


def text(entry: dict[str, Any]) -> str:
    return str(entry.get("textPayload") or entry["jsonPayload"]["message"])


@pytest.fixture(scope="module")
def gae() -> Iterator[AppEngine]:
    """Start one emulator, with a version that wrote something and one that cannot start."""
    with AppEngine(deadline=5) as emulator:
        assert deploy(emulator, "one", files={"main.py": WRITES})[0] == 200
        assert get(emulator, emulator.url)[0] == 200
        assert deploy(emulator, "broken", files={"main.py": "raise RuntimeError('no')"})[0] == 200
        assert get(emulator, emulator.version_url("broken"))[0] == 502
        yield emulator


@pytest.mark.delivery
@pytest.mark.xdist_group("emulator-logging")
class TestEntries:
    """Lines become entries."""

    def test_gcloud_reads_why_a_version_did_not_start(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        query = f"{ONE.format('broken')} AND severity>=DEFAULT"
        entries = person.ask("logging", "read", query, "--limit=20")
        assert "RuntimeError: no" in [entry["textPayload"] for entry in entries]
        assert {entry["resource"]["labels"]["version_id"] for entry in entries} == {"broken"}
        newest_first = [entry["timestamp"] for entry in entries]
        assert newest_first == sorted(newest_first, reverse=True)
        shown = person.gcloud("app", "logs", "read", "--version=broken", "--limit=50")
        assert "default[broken]  RuntimeError: no" in shown.stdout
        assert gae.unmodelled == []

    def test_gcloud_says_which_permission_is_missing(self, gae: AppEngine, tmp_path: Path) -> None:
        with gae.without("logging.logEntries.list"):
            refused = Person(gae, tmp_path).gcloud("logging", "read", "severity>=ERROR")
        assert refused.returncode == 1
        assert "Permission 'logging.logEntries.list' denied" in refused.stderr

    def test_a_plain_line_is_text_without_a_severity(self, gae: AppEngine) -> None:
        (entry,) = listed(gae, 'textPayload="plain on stdout"')
        assert "severity" not in entry
        assert entry["logName"] == "projects/demo-project/logs/stdout"
        assert entry["resource"]["labels"]["module_id"] == "default"

    def test_a_json_line_tells_severity_time_and_trace(self, gae: AppEngine) -> None:
        (entry,) = listed(gae, "trace=t")
        assert entry["textPayload"] == "careful", "a message alone is the text"
        assert entry["severity"] == "WARNING"
        assert entry["timestamp"] == "2026-01-02T02:04:05.000000Z"
        (entry,) = listed(gae, "jsonPayload.code=7")
        assert entry["jsonPayload"] == {"message": "bad", "code": 7}

    def test_severity_and_version_and_time_narrow_a_list(self, gae: AppEngine) -> None:
        query = f"{ONE.format('one')} severity>=WARNING"
        assert [text(entry) for entry in listed(gae, query)] == ["careful", "bad"]
        since = f'{query} timestamp>="2026-06-01T00:00:00Z"'
        assert [text(entry) for entry in listed(gae, since)] == ["bad"]
        turned = listed(gae, query, orderBy="timestamp desc", pageSize=1)
        assert [text(entry) for entry in turned] == ["bad"]

    def test_entries_come_in_pages(self, gae: AppEngine) -> None:
        every = listed(gae, "", pageSize=1000)
        body: dict[str, Any] = {"resourceNames": ["projects/demo-project"], "pageSize": 2}
        seen: list[dict[str, Any]] = []
        while True:
            answer = call(gae, "POST", "v2/entries:list", body)[1]
            seen += answer["entries"]
            if "nextPageToken" not in answer:
                break
            body["pageToken"] = answer["nextPageToken"]
        assert seen == every
        assert len(every) > 4

    def test_a_search_may_find_nothing_on_its_first_pages(
        self, gae: AppEngine, tmp_path: Path
    ) -> None:
        gae.logs.empty_pages = 2
        first = listed(gae, ONE.format("broken"))
        entries = Person(gae, tmp_path).ask("logging", "read", ONE.format("broken"), "--limit=1")
        gae.logs.empty_pages = 0
        assert first == []
        assert len(entries) == 1

    def test_entries_outlive_their_version(self, gae: AppEngine) -> None:
        assert deploy(gae, "gone", files={"main.py": WRITES})[0] == 200
        assert get(gae, gae.version_url("gone"))[0] == 200
        assert call(gae, "DELETE", "v1/apps/demo-project/services/default/versions/gone")[0] == 200
        assert "plain on stdout" in map(text, listed(gae, ONE.format("gone")))

    def test_an_entry_may_take_its_time(self, gae: AppEngine) -> None:
        gae.logs.delay = 3600.0
        late = listed(gae, "")
        gae.logs.delay = 0.0
        assert late == []
        assert listed(gae, "")

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({}, 400),
            ({"resourceNames": ["projects/another"]}, 403),
            ({"resourceNames": ["projects/demo-project"], "filter": "(a"}, 400),
            ({"resourceNames": ["projects/demo-project"], "orderBy": "size"}, 400),
            ({"resourceNames": ["projects/demo-project"], "pageToken": "next"}, 400),
        ],
    )
    def test_what_makes_no_sense_is_refused(
        self, gae: AppEngine, body: dict[str, Any], status: int
    ) -> None:
        assert call(gae, "POST", "v2/entries:list", body)[0] == status


ENTRY = {
    "logName": "projects/p/logs/stderr",
    "severity": "ERROR",
    "timestamp": "2026-05-05T12:00:00.5Z",
    "textPayload": "Traceback: It Broke",
    "resource": {"type": "gae_app", "labels": {"version_id": "v1", "module_id": "default"}},
    "httpRequest": {"status": 502},
}


@pytest.mark.fast
class TestFilter:
    """The query language."""

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "resource.type=gae_app",
            'resource.type = "GAE_APP"',
            'resource.labels.version_id="v1" AND severity>=WARNING',
            "severity>=error severity<CRITICAL",
            'logName=("projects/p/logs/stdout" OR "projects/p/logs/stderr")',
            "textPayload:broke",
            'textPayload=~"^Trace.*e$"',
            '"it broke"',
            "traceback",
            "NOT severity=INFO",
            "-severity=INFO",
            'timestamp>="2026-05-05T12:00:00Z" timestamp<"2026-05-05T14:00:01+02:00"',
            "httpRequest.status>=500",
            "httpRequest.status:*",
            "severity=INFO OR resource.type=gae_app AND textPayload:broke",
            "(severity=INFO AND textPayload:x) OR severity=ERROR",
            "severity=ERROR -- a comment\n",
            "severity!=INFO",
        ],
    )
    def test_matches(self, query: str) -> None:
        assert parse(query)(ENTRY)

    @pytest.mark.parametrize(
        "query",
        [
            "resource.type=gae",
            "resource.labels.version_id=v2",
            "severity>ERROR",
            "severity=ERROR AND severity=INFO",
            "jsonPayload.message:*",
            "jsonPayload.message!=x",
            'textPayload=~"it broke"',
            "NOT severity=INFO AND textPayload:whole",
            "severity=INFO OR textPayload:broke AND resource.type=gce_instance",
            'timestamp>"2026-05-06"',
            "quiet",
        ],
    )
    def test_does_not_match(self, query: str) -> None:
        assert not parse(query)(ENTRY)

    @pytest.mark.parametrize("query", ["(a", "a=", "AND", "a=b)", "severity>=LOUD", 'x="', "=b"])
    def test_refuses_what_it_cannot_parse(self, query: str) -> None:
        with pytest.raises(ApiError, match="Unparseable filter"):
            parse(query)(ENTRY)

    def test_a_line_that_only_looks_like_json_stays_text(self) -> None:
        logs = Logs("p")
        for line in ("{broken", "[1]", '"text"', json.dumps({"severity": "LOUD", "message": "m"})):
            logs.write({}, "stdout", line)
        entries = [entry for _, entry in logs._entries]
        assert [entry["textPayload"] for entry in entries] == ["{broken", "[1]", '"text"', "m"]
        assert not any("severity" in entry for entry in entries)
