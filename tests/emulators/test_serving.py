"""The emulator's front end and the processes behind it."""

import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import FILES, Person, call, deploy, get
from tests.support.waiting import until

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-serving")]


def test_a_version_runs_in_google_s_environment_and_no_other(
    gae: AppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAE_KEY", "the test's own")
    assert deploy(gae, "three", envVariables={"COLOUR": "blue"})[0] == 200
    status, _, body = get(gae, gae.version_url("three") + "/?q=1")
    assert status == 200
    env = json.loads(body)["env"]
    assert env["GAE_VERSION"] == "three"
    assert (env["GAE_ENV"], env["GAE_SERVICE"]) == ("standard", "default")
    assert (env["GAE_RUNTIME"], env["COLOUR"]) == ("python313", "blue")
    assert env["GOOGLE_CLOUD_PROJECT"] == gae.project
    assert env.keys() & os.environ.keys() <= {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "LC_CTYPE",
        "PWD",
    }


def test_the_app_sees_what_google_s_front_end_adds(gae: AppEngine) -> None:
    headers = json.loads(get(gae, gae.url)[2])["headers"]
    assert headers["HTTP_X_FORWARDED_PROTO"] == "https"
    assert headers["HTTP_X_FORWARDED_FOR"] == "127.0.0.1, 169.254.1.1"
    assert re.fullmatch(r"[0-9a-f]{32}/\d+;o=1", headers["HTTP_X_CLOUD_TRACE_CONTEXT"])


def test_what_a_visitor_claims_to_be_stands_in_front(gae: AppEngine) -> None:
    claims = {"X-Forwarded-For": "10.0.0.1, 169.254.1.1", "X-Forwarded-Proto": "http"}
    request = urllib.request.Request(gae.url, headers=claims)
    with urllib.request.urlopen(request, timeout=30, context=gae.client_tls()) as answer:
        headers = json.load(answer)["headers"]
    assert headers["HTTP_X_FORWARDED_FOR"] == "10.0.0.1, 169.254.1.1, 127.0.0.1, 169.254.1.1"
    assert headers["HTTP_X_FORWARDED_PROTO"] == "https"


def test_static_files_come_from_handlers(gae: AppEngine, tmp_path: Path) -> None:
    assert Person(gae, tmp_path).deploy("static").returncode == 0
    url = gae.version_url("static")
    boots = gae.version("static").instance.boots
    status, headers, body = get(gae, f"{url}/static/style.css")
    assert (status, headers["Content-Type"], body) == (200, "text/css", b"body {}")
    assert get(gae, f"{url}/static/missing.css")[0] == 404
    assert gae.version("static").instance.boots == boots == 0, "no process was needed"


def test_secure_always_redirects_to_tls(gae: AppEngine, tmp_path: Path) -> None:
    assert Person(gae, tmp_path).deploy("secure").returncode == 0
    url = gae.version_url("secure")
    status, headers, _ = get(gae, url.replace("https", "http") + "/page?x=1")
    assert (status, headers["Location"]) == (302, f"{url}/page?x=1")


def test_requests_wait_while_a_version_boots(gae: AppEngine) -> None:
    assert deploy(gae, "cold")[0] == 200
    url, answers = gae.version_url("cold"), Counter[int]()
    threads = [
        threading.Thread(target=lambda: answers.update([get(gae, url)[0]])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {200: 8}
    assert gae.version("cold").instance.boots == 1


def test_a_process_that_dies_answers_500_and_is_booted_anew(gae: AppEngine) -> None:
    assert deploy(gae, "mortal")[0] == 200
    url = gae.version_url("mortal")
    assert [get(gae, url)[0], get(gae, f"{url}/die")[0]] == [200, 500]
    until(lambda: gae.version("mortal").instance.pid is None, "its end")
    assert get(gae, url)[0] == 200
    assert gae.version("mortal").instance.boots == 2


def test_a_version_that_crashes_at_start_answers_502(gae: AppEngine) -> None:
    assert deploy(gae, "broken", files={"main.py": "raise RuntimeError('no')"})[0] == 200
    for _ in range(3):
        status, _, body = get(gae, gae.version_url("broken"))
        assert (status, b"nginx" in body) == (502, True)
    assert "RuntimeError: no" in gae.version("broken").instance.log


def test_an_entrypoint_that_is_not_there_answers_500(gae: AppEngine) -> None:
    assert deploy(gae, "empty", entrypoint={"shell": "exec no-such-server"})[0] == 200
    assert get(gae, gae.version_url("empty"))[0] == 500
    assert "no-such-server" in gae.version("empty").instance.log


def test_a_slow_start_answers_in_the_end(gae: AppEngine) -> None:
    slow = f"import time\ntime.sleep(1.5)\n{FILES['main.py']}"
    assert deploy(gae, "slow", files={"main.py": slow})[0] == 200
    assert get(gae, gae.version_url("slow"))[0] == 200
    assert gae.version("slow").instance.boots == 1


def test_silence_past_the_deadline_is_a_504() -> None:
    with AppEngine(deadline=1.5) as gae:
        deploy(gae, "one")
        assert get(gae, gae.url)[0] == 200
        assert get(gae, f"{gae.url}/hang")[0] == 504


def test_a_split_by_random_keeps_its_share(gae: AppEngine) -> None:
    split = {"allocations": {"one": 0.75, "two": 0.25}, "shardBy": "RANDOM"}
    path = "v1/apps/demo-project/services/default?updateMask=split"
    assert call(gae, "PATCH", path, {"split": split})[0] == 200
    seen = Counter(json.loads(get(gae, gae.url)[2])["version"] for _ in range(200))
    assert 50 - 3 * 6.2 < seen["two"] < 50 + 3 * 6.2, seen


def test_a_new_split_may_take_its_time(gae: AppEngine) -> None:
    def seen() -> Counter[str]:
        return Counter(json.loads(get(gae, gae.url)[2])["version"] for _ in range(40))

    path = "v1/apps/demo-project/services/default?updateMask=split"
    gae.front.propagation = 3600.0
    for version in ("one", "two"):
        split = {"split": {"allocations": {version: 1}}}
        assert call(gae, "PATCH", path, split)[0] == 200
    assert set(seen()) == {"one"}
    gae.front.propagation = 0.0
    assert set(seen()) == {"two"}


def test_a_split_by_address_keeps_a_client_with_its_version(gae: AppEngine) -> None:
    split = {"allocations": {"one": 0.5, "two": 0.5}, "shardBy": "IP"}
    path = "v1/apps/demo-project/services/default?updateMask=split"
    assert call(gae, "PATCH", path, {"split": split})[0] == 200
    assert len({json.loads(get(gae, gae.url)[2])["version"] for _ in range(10)}) == 1


def test_no_request_is_lost_while_traffic_moves_and_a_version_goes(gae: AppEngine) -> None:
    assert deploy(gae, "old")[0] == deploy(gae, "new")[0] == 200
    path = "v1/apps/demo-project/services/default"
    answers, stop = Counter[int](), threading.Event()

    def load() -> None:
        while not stop.is_set():
            answers.update([get(gae, f"{gae.url}/slow")[0]])

    for version in ("old", "new"):
        assert get(gae, gae.version_url(version))[0] == 200
    split = {"split": {"allocations": {"old": 1}}}
    assert call(gae, "PATCH", f"{path}?updateMask=split", split)[0] == 200
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: sum(answers.values()) >= 4, "answers")
    split = {"split": {"allocations": {"new": 1}}}
    assert call(gae, "PATCH", f"{path}?updateMask=split", split)[0] == 200
    assert call(gae, "DELETE", f"{path}/versions/old")[0] == 200
    until(lambda: gae.version("new").served[200] > 4, "answers of the new one")
    stop.set()
    for thread in threads:
        thread.join()
    assert answers.keys() == {200}
