"""The App Engine emulator itself: the real gcloud works with it, and it keeps Google's rules."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from emulators.appengine import AppEngine
from tests.conftest import TEMPLATE, clean_environment
from tests.emulators.clients import FILES, Person, call, deploy, get, wait_until

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator")]


def pending(gae: AppEngine) -> list[str]:
    """List the targets of the operations that still run."""
    answer = call(gae, "GET", f"v1/apps/{gae.project}/operations?filter=done:false")[1]
    return [operation["metadata"]["target"] for operation in answer.get("operations", [])]


@pytest.fixture(scope="module")
def gae() -> Iterator[AppEngine]:
    """One emulator for the module, with the versions `one` (all traffic) and `two`."""
    with AppEngine(deadline=5) as emulator:
        assert deploy(emulator, "one")[0] == 200
        assert deploy(emulator, "two")[0] == 200
        yield emulator


@pytest.fixture(autouse=True)
def _healed(gae: AppEngine) -> Iterator[None]:
    yield
    gae.heal()
    split = {"split": {"allocations": {"one": 1.0}}}
    assert call(gae, "PATCH", "v1/apps/demo-project/services/default?updateMask=split", split)


class TestTheRealGcloud:
    """Every command that a delivery needs, unmodified."""

    def test_deploys_lists_moves_traffic_and_deletes(self, tmp_path: Path) -> None:
        with AppEngine("other-project") as gae:
            person = Person(gae, tmp_path)
            done = person.deploy("one")
            assert done.returncode == 0, done.stderr
            assert gae.traffic == {"one": 1.0}, "the first version serves, whatever was said"
            assert gae.uploads("one") == FILES.keys() - {".gcloudignore"}
            assert person.deploy("two").returncode == 0
            assert gae.traffic == {"one": 1.0}

            listed = person.ask("app", "versions", "list", "--service=default")
            assert [(v["id"], v["traffic_split"]) for v in listed] == [("one", 1.0), ("two", 0.0)]
            found = person.ask("app", "versions", "describe", "two", "--service=default")
            assert (
                found["versionUrl"] == gae.version_url("two") == listed[1]["version"]["versionUrl"]
            )
            assert person.ask("app", "services", "list")[0]["id"] == "default"
            assert gae.url.endswith(person.ask("app", "describe")["defaultHostname"])

            moved = person.gcloud("app", "services", "set-traffic", "default", "--splits=two=1")
            assert moved.returncode == 0, moved.stderr
            service = person.ask("app", "services", "describe", "default")
            assert service["split"]["allocations"] == gae.traffic == {"two": 1.0}
            deleted = person.gcloud("app", "versions", "delete", "one", "--service=default")
            assert deleted.returncode == 0, deleted.stderr
            assert gae.versions == ["two"]
            assert gae.unmodelled == []

    def test_receives_what_gcloud_generates(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        remote = "https://oauth2:glpat-token@gitlab.example.com/client/project.git"
        for command in (
            ("init", "--quiet"),
            ("add", "--all"),
            ("commit", "--quiet", "--message=x"),
            ("remote", "add", "origin", remote),
        ):
            subprocess.run(["git", *command], cwd=tmp_path, env=clean_environment(), check=True)
        assert person.deploy("git").returncode == 0
        received = gae.received("git")
        assert received.keys() == FILES.keys() - {".gcloudignore"} | {"source-context.json"}
        assert b"glpat-token" in received["source-context.json"]
        assert received["main.py"] == FILES["main.py"].encode()

    def test_waits_for_an_operation_that_takes_time(self, tmp_path: Path) -> None:
        with AppEngine(latency=0.5) as gae:
            done = Person(gae, tmp_path).deploy("one")
            assert done.returncode == 0, done.stderr
            assert sum("/operations/" in call.path for call in gae.requests) >= 1

    def test_lists_the_operations_that_still_run(self, tmp_path: Path) -> None:
        with AppEngine() as gae:
            person = Person(gae, tmp_path)
            for version in ("one", "two", "three"):
                assert deploy(gae, version)[0] == 200
            gae.admin.latency = 5.0
            command = ("app", "versions", "delete", "two", "three", "--service=default")
            with ThreadPoolExecutor() as pool:
                deleting = pool.submit(person.gcloud, *command)
                wait_until(lambda: pending(gae))
                listed = person.ask("app", "operations", "list", "--pending")
                gae.admin.latency = 0.0
                done = deleting.result()
            assert [operation["status"] for operation in listed] == ["PENDING"]
            assert done.returncode == 0, done.stderr
            assert gae.versions == ["one"]
            assert pending(gae) == []
            assert len(person.ask("app", "operations", "list")) == 5
            assert gae.unmodelled == []

    def test_says_to_create_the_app_where_there_is_none(self, tmp_path: Path) -> None:
        with AppEngine(created=False) as gae:
            done = Person(gae, tmp_path).deploy("one")
            assert done.returncode == 1
            assert "gcloud app create" in done.stderr
            assert call(gae, "POST", "v1/apps", {"id": "demo-project"})[0] == 200
            assert call(gae, "GET", "v1/apps/demo-project")[0] == 200

    def test_reports_a_build_that_fails(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path, **{"requirements.txt": "flask==3.1.0 --hash=sha256:00\n"})
        done = person.deploy("bad")
        assert done.returncode == 1
        assert "Cloud build" in done.stderr
        assert "bad" not in gae.versions

    def test_says_which_permission_is_missing(self, gae: AppEngine, tmp_path: Path) -> None:
        with gae.without("appengine.versions.create"):
            done = Person(gae, tmp_path).deploy("three")
        assert done.returncode == 1
        assert "Permission 'appengine.versions.create' denied" in done.stderr

    def test_repeats_what_the_server_failed_but_not_what_it_refused(
        self, gae: AppEngine, tmp_path: Path
    ) -> None:
        person = Person(gae, tmp_path)
        gae.fail_next("GET", "/v1/apps/demo-project", 503)
        person.ask("app", "describe")
        assert [call.status for call in gae.requests[-2:]] == [503, 200]
        gae.fail_next("GET", "/v1/apps/demo-project", 429, message="Quota exceeded.")
        done = person.gcloud("app", "describe")
        assert done.returncode == 1
        assert "RESOURCE_EXHAUSTED: Quota exceeded." in done.stderr

    def test_signs_in_with_a_key(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        person.variables = gae.environment()
        key = tmp_path / "key.json"
        key.write_text(json.dumps(gae.service_account_key()), "utf-8")
        signed_in = person.gcloud("auth", "activate-service-account", f"--key-file={key}")
        assert signed_in.returncode == 0, signed_in.stderr
        person.ask("app", "describe")
        assert gae.requests[-1].account == gae.service_account

    def test_signs_in_without_a_key(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        person.variables = gae.environment()
        token, config = tmp_path / "token", tmp_path / "credentials.json"
        token.write_text(gae.gitlab_token(), "utf-8")
        account = f"--service-account={gae.service_account}"
        source, output = f"--credential-source-file={token}", f"--output-file={config}"
        command = ["iam", "workload-identity-pools", "create-cred-config", gae.provider]
        made = person.gcloud(*command, account, source, output)
        assert made.returncode == 0, made.stderr
        # gcloud writes Google's own addresses; everything else of its file stays.
        google = r"https://(sts|iamcredentials)\.googleapis\.com/"
        config.write_text(re.sub(google, gae.api_url, config.read_text("utf-8")), "utf-8")
        person.variables["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"] = str(config)
        person.ask("app", "describe")
        assert gae.requests[-1].account == gae.service_account

    def test_is_refused_without_credentials(self, gae: AppEngine, tmp_path: Path) -> None:
        person = Person(gae, tmp_path)
        person.variables = gae.environment()
        before = len(gae.requests)
        done = person.gcloud("app", "describe")
        assert done.returncode == 1
        assert "do not currently have an active account" in done.stderr
        assert gae.requests[before:] == []


class TestCredentials:
    """What the token endpoints trust, and what they do not."""

    def exchange(self, gae: AppEngine, **form: str) -> dict[str, Any]:
        usual = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": f"//iam.googleapis.com/{gae.provider}",
            "subject_token": gae.gitlab_token(),
        }
        body = urllib.parse.urlencode(usual | form).encode()
        return call(gae, "POST", "v1/token", body)[1]

    def test_an_api_call_needs_a_token_that_the_emulator_issued(self, gae: AppEngine) -> None:
        status, answer = call(gae, "GET", "v1/apps/demo-project", token="ya29.invented")
        assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")

    def test_a_federated_token_alone_reaches_no_other_account(self, gae: AppEngine) -> None:
        token = self.exchange(gae)["access_token"]
        path = "v1/projects/-/serviceAccounts/{}:generateAccessToken"
        assert call(gae, "POST", path.format(gae.service_account), {}, token)[0] == 200
        assert call(gae, "POST", path.format("boss@example.com"), {}, token)[0] == 403
        assert call(gae, "POST", path.format(gae.service_account), {})[0] == 403

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"aud": "https://elsewhere.example"}, "does not match the expected audience"),
            ({"project_id": "666"}, "rejected by the attribute condition"),
            ({"exp": 1}, "expired"),
        ],
    )
    def test_a_token_of_another_job_is_refused(
        self, gae: AppEngine, claims: dict[str, Any], reason: str
    ) -> None:
        answer = self.exchange(gae, subject_token=gae.gitlab_token(**claims))
        assert reason in answer["error_description"]

    def test_a_token_that_gitlab_did_not_sign_is_refused(self, gae: AppEngine) -> None:
        head, claims, _ = gae.gitlab_token().split(".")
        signature = gae.gitlab_token().split(".")[2]
        answer = self.exchange(gae, subject_token=f"{head}.{claims}x.{signature}")
        assert "signature" in answer["error_description"]

    def test_another_audience_is_refused(self, gae: AppEngine) -> None:
        assert "audience" in self.exchange(gae, audience="//iam.example/x")["error_description"]


class TestRules:
    """What facts about App Engine a project may stumble over."""

    def test_the_first_service_is_default(self) -> None:
        with AppEngine() as gae:
            status, answer = deploy(gae, "one", service="extra")
            assert status == 400
            assert "must be the 'default' service" in answer["error"]["message"]

    @pytest.mark.parametrize("version", ["default", "latest", "ah-1", "Upper", "x" * 64, "-a"])
    def test_some_version_ids_are_refused(self, gae: AppEngine, version: str) -> None:
        assert deploy(gae, version)[0] == 400

    def test_an_unknown_runtime_is_refused(self, gae: AppEngine) -> None:
        status, answer = deploy(gae, "three", runtime="python27")
        assert status == 400
        assert "python27" in answer["error"]["message"]

    @pytest.mark.parametrize(
        ("files", "reason"),
        [
            ({"requirements.txt": None}, "missing requirements.txt"),
            ({"requirements.txt": "itsdangerous==2.2.0\n"}, "hash"),
            ({"requirements.txt": f"itsdangerous==2.2.0 --hash=sha256:{'0' * 64}\n"}, "ash"),
        ],
    )
    def test_a_build_without_a_sound_lock_fails(
        self, gae: AppEngine, files: dict[str, str | None], reason: str
    ) -> None:
        status, operation = deploy(gae, "three", files=files)
        assert (status, operation["done"]) == (200, True)
        assert reason in operation["error"]["message"]

    def test_an_entrypoint_needs_gunicorn_in_the_lock(self, gae: AppEngine) -> None:
        lock = str(FILES["requirements.txt"])
        name = re.search(r"^itsdangerous==.*(?:\n .*)*\n", lock, re.MULTILINE)
        assert name, "the lock has this small package"
        operation = deploy(gae, "three", files={"requirements.txt": name.group()})[1]
        assert "add gunicorn to requirements.txt" in operation["error"]["message"]

    def test_a_version_with_traffic_stays(self, gae: AppEngine) -> None:
        path = "v1/apps/demo-project/services/default/versions/one"
        status, answer = call(gae, "DELETE", path)
        assert status == 400
        assert "currently receiving traffic" in answer["error"]["message"]

    def test_one_operation_at_a_time_on_a_version(self) -> None:
        with AppEngine(latency=0.3) as gae:
            assert "done" not in deploy(gae, "one")[1]
            status, answer = deploy(gae, "one")
            assert status == 409
            assert "already in progress" in answer["error"]["message"]

    def test_versions_can_be_deleted_at_the_same_time(self) -> None:
        with AppEngine() as gae:
            for version in ("one", "two", "three"):
                assert deploy(gae, version)[0] == 200
            gae.admin.latency = 0.5
            path = f"apps/{gae.project}/services/default/versions"
            for version in ("two", "three"):
                assert call(gae, "DELETE", f"v1/{path}/{version}")[0] == 200
            assert call(gae, "DELETE", f"v1/{path}/two")[0] == 409
            assert sorted(pending(gae)) == [f"{path}/three", f"{path}/two"]
            wait_until(lambda: not pending(gae))
            assert gae.versions == ["one"]

    @pytest.mark.parametrize(
        ("split", "status"),
        [
            ({"allocations": {"two": 1}}, 200),
            ({"allocations": {"one": 0.999, "two": 0.001}, "shardBy": "RANDOM"}, 200),
            ({"allocations": {"none": 1}}, 404),
            ({"allocations": {"one": 0.5}}, 400),
            ({"allocations": {"one": 0.6, "two": 0.6}, "shardBy": "RANDOM"}, 400),
            ({"allocations": {"one": 0.9999, "two": 0.0001}, "shardBy": "RANDOM"}, 400),
            ({"allocations": {"one": 0.999, "two": 0.001}, "shardBy": "IP"}, 400),
            ({"allocations": {"one": 1, "two": 0}}, 400),
            ({"allocations": {}}, 400),
            ({"allocations": {"one": "all"}}, 400),
            ({"allocations": {"one": 1}, "shardBy": "MOON"}, 400),
            ({}, 400),
        ],
    )
    def test_a_split_names_versions_that_exist_and_adds_up(
        self, gae: AppEngine, split: dict[str, Any], status: int
    ) -> None:
        before = gae.traffic
        path = "v1/apps/demo-project/services/default?updateMask=split&migrateTraffic=false"
        assert call(gae, "PATCH", path, {"split": split})[0] == status
        assert (gae.traffic == before) is (status != 200)

    def test_a_list_comes_in_pages(self, gae: AppEngine) -> None:
        path = "v1/apps/demo-project/services/default/versions?pageSize=1"
        answer = call(gae, "GET", path)[1]
        seen = [version["id"] for version in answer["versions"]]
        while token := answer.get("nextPageToken"):
            answer = call(gae, "GET", f"{path}&pageToken={token}")[1]
            seen += [version["id"] for version in answer["versions"]]
        assert seen == gae.versions
        assert len(seen) >= 2

    def test_the_full_view_alone_has_what_was_deployed(self, gae: AppEngine) -> None:
        path = "v1/apps/demo-project/services/default/versions"
        for suffix in ("/one", ""):
            basic = call(gae, "GET", path + suffix)[1]
            full = call(gae, "GET", f"{path}{suffix}?view=FULL")[1]
            shown = [basic, full] if suffix else [basic["versions"][0], full["versions"][0]]
            assert ["deployment" in version for version in shown] == [False, True]

    def test_another_project_is_forbidden(self, gae: AppEngine) -> None:
        assert call(gae, "GET", "v1/apps/not-mine")[0] == 403

    def test_a_host_name_over_63_characters_has_no_certificate(self, gae: AppEngine) -> None:
        version = "v" * 50
        assert deploy(gae, version)[0] == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            get(gae, gae.version_url(version))


class TestServing:
    """The front end and the processes behind it."""

    def test_a_version_runs_in_google_s_environment_and_no_other(
        self, gae: AppEngine, monkeypatch: pytest.MonkeyPatch
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

    def test_the_app_sees_what_google_s_front_end_adds(self, gae: AppEngine) -> None:
        headers = json.loads(get(gae, gae.url)[2])["headers"]
        assert headers["HTTP_X_FORWARDED_PROTO"] == "https"
        assert headers["HTTP_X_FORWARDED_FOR"] == "127.0.0.1, 169.254.1.1"
        assert re.fullmatch(r"[0-9a-f]{32}/\d+;o=1", headers["HTTP_X_CLOUD_TRACE_CONTEXT"])

    def test_what_a_visitor_claims_to_be_stands_in_front(self, gae: AppEngine) -> None:
        claims = {"X-Forwarded-For": "10.0.0.1, 169.254.1.1", "X-Forwarded-Proto": "http"}
        request = urllib.request.Request(gae.url, headers=claims)
        with urllib.request.urlopen(request, timeout=30, context=gae.client_tls()) as answer:
            headers = json.load(answer)["headers"]
        assert headers["HTTP_X_FORWARDED_FOR"] == "10.0.0.1, 169.254.1.1, 127.0.0.1, 169.254.1.1"
        assert headers["HTTP_X_FORWARDED_PROTO"] == "https"

    def test_static_files_come_from_handlers(self, gae: AppEngine, tmp_path: Path) -> None:
        assert Person(gae, tmp_path).deploy("static").returncode == 0
        url = gae.version_url("static")
        boots = gae.version("static").instance.boots
        status, headers, body = get(gae, f"{url}/static/style.css")
        assert (status, headers["Content-Type"], body) == (200, "text/css", b"body {}")
        assert get(gae, f"{url}/static/missing.css")[0] == 404
        assert gae.version("static").instance.boots == boots == 0, "no process was needed"

    def test_secure_always_redirects_to_tls(self, gae: AppEngine, tmp_path: Path) -> None:
        assert Person(gae, tmp_path).deploy("secure").returncode == 0
        url = gae.version_url("secure")
        status, headers, _ = get(gae, url.replace("https", "http") + "/page?x=1")
        assert (status, headers["Location"]) == (302, f"{url}/page?x=1")

    def test_requests_wait_while_a_version_boots(self, gae: AppEngine) -> None:
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

    def test_a_process_that_dies_answers_500_and_is_booted_anew(self, gae: AppEngine) -> None:
        assert deploy(gae, "mortal")[0] == 200
        url = gae.version_url("mortal")
        assert [get(gae, url)[0], get(gae, f"{url}/die")[0]] == [200, 500]
        wait_until(lambda: gae.version("mortal").instance.pid is None)
        assert get(gae, url)[0] == 200
        assert gae.version("mortal").instance.boots == 2

    def test_a_version_that_crashes_at_start_answers_502(self, gae: AppEngine) -> None:
        assert deploy(gae, "broken", files={"main.py": "raise RuntimeError('no')"})[0] == 200
        for _ in range(3):
            status, _, body = get(gae, gae.version_url("broken"))
            assert (status, b"nginx" in body) == (502, True)
        assert "RuntimeError: no" in gae.version("broken").instance.log

    def test_an_entrypoint_that_is_not_there_answers_500(self, gae: AppEngine) -> None:
        assert deploy(gae, "empty", entrypoint={"shell": "exec no-such-server"})[0] == 200
        assert get(gae, gae.version_url("empty"))[0] == 500
        assert "no-such-server" in gae.version("empty").instance.log

    def test_a_slow_start_answers_in_the_end(self, gae: AppEngine) -> None:
        slow = f"import time\ntime.sleep(1.5)\n{FILES['main.py']}"
        assert deploy(gae, "slow", files={"main.py": slow})[0] == 200
        assert get(gae, gae.version_url("slow"))[0] == 200
        assert gae.version("slow").instance.boots == 1

    def test_silence_past_the_deadline_is_a_504(self) -> None:
        with AppEngine(deadline=1.5) as gae:
            deploy(gae, "one")
            assert get(gae, gae.url)[0] == 200
            assert get(gae, f"{gae.url}/hang")[0] == 504

    def test_a_split_by_random_keeps_its_share(self, gae: AppEngine) -> None:
        split = {"allocations": {"one": 0.75, "two": 0.25}, "shardBy": "RANDOM"}
        path = "v1/apps/demo-project/services/default?updateMask=split"
        assert call(gae, "PATCH", path, {"split": split})[0] == 200
        seen = Counter(json.loads(get(gae, gae.url)[2])["version"] for _ in range(200))
        assert 50 - 3 * 6.2 < seen["two"] < 50 + 3 * 6.2, seen

    def test_a_new_split_may_take_its_time(self, gae: AppEngine) -> None:
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

    def test_a_split_by_address_keeps_a_client_with_its_version(self, gae: AppEngine) -> None:
        split = {"allocations": {"one": 0.5, "two": 0.5}, "shardBy": "IP"}
        path = "v1/apps/demo-project/services/default?updateMask=split"
        assert call(gae, "PATCH", path, {"split": split})[0] == 200
        assert len({json.loads(get(gae, gae.url)[2])["version"] for _ in range(10)}) == 1

    def test_no_request_is_lost_while_traffic_moves_and_a_version_goes(
        self, gae: AppEngine
    ) -> None:
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
        wait_until(lambda: sum(answers.values()) >= 4)
        split = {"split": {"allocations": {"new": 1}}}
        assert call(gae, "PATCH", f"{path}?updateMask=split", split)[0] == 200
        assert call(gae, "DELETE", f"{path}/versions/old")[0] == 200
        wait_until(lambda: gae.version("new").served[200] > 4)
        stop.set()
        for thread in threads:
            thread.join()
        assert answers.keys() == {200}


class TestFaults:
    """What a test can plant."""

    def test_an_error_is_answered_as_often_as_said(self, gae: AppEngine) -> None:
        gae.fail_next("GET", "/v1/apps", 503, times=2, message="Try again.")
        answers = [call(gae, "GET", "v1/apps/demo-project") for _ in range(3)]
        assert [status for status, _ in answers] == [503, 503, 200]
        assert answers[0][1]["error"]["message"] == "Try again."

    def test_a_lost_answer_may_have_taken_effect(self, gae: AppEngine) -> None:
        gae.drop_next("PATCH", "services/default", applied=True)
        split = {"split": {"allocations": {"two": 1.0}}}
        with pytest.raises(OSError, match="closed connection"):
            call(gae, "PATCH", "v1/apps/demo-project/services/default?updateMask=split", split)
        assert gae.traffic == {"two": 1.0}

    def test_a_request_waits_at_a_gate(self, gae: AppEngine) -> None:
        gate = gae.hold_next("GET", "/v1/apps")
        answers: list[int] = []
        client = threading.Thread(
            target=lambda: answers.append(call(gae, "GET", "v1/apps/demo-project")[0])
        )
        client.start()
        assert gate.reached()
        assert answers == []
        gate.release()
        client.join()
        assert answers == [200]

    def test_a_request_lost_at_a_gate_has_no_effect(self, gae: AppEngine) -> None:
        gate = gae.hold_next("PATCH", "services/default")
        split = {"split": {"allocations": {"two": 1.0}}}
        errors: list[str] = []

        def send() -> None:
            path = "v1/apps/demo-project/services/default?updateMask=split"
            with pytest.raises(OSError, match="closed connection") as lost:
                call(gae, "PATCH", path, split)
            errors.append(str(lost.value))

        client = threading.Thread(target=send)
        client.start()
        assert gate.reached()
        gate.abandon()
        client.join()
        assert errors
        assert gae.traffic == {"one": 1.0}

    def test_a_delay_is_a_delay(self, gae: AppEngine) -> None:
        gae.delay_next("GET", "/v1/apps", 0.3)
        start = time.monotonic()
        assert call(gae, "GET", "v1/apps/demo-project")[0] == 200
        assert time.monotonic() - start >= 0.3

    def test_the_public_address_fails_alone(self, gae: AppEngine) -> None:
        gae.front.faults.fail_next("GET", "/health", 500)
        assert get(gae, gae.version_url("one") + "/health")[0] == 200
        assert get(gae, f"{gae.url}/health")[0] == 500

    @pytest.mark.parametrize(
        ("permission", "words"),
        [
            ("appengine.services.list", "Permission 'appengine.services.list' denied on resource"),
            ("storage.objects.list", "does not have storage.objects.list access"),
            ("iam.serviceAccounts.actAs", "Permission 'iam.serviceAccounts.actAs' denied"),
        ],
    )
    def test_a_missing_permission_is_named(
        self, gae: AppEngine, permission: str, words: str
    ) -> None:
        paths = {
            "appengine.services.list": ("GET", "v1/apps/demo-project/services"),
            "storage.objects.list": ("GET", "storage/v1/b/staging.demo-project.appspot.com/o"),
            "iam.serviceAccounts.actAs": ("POST", "v1/apps/demo-project/services/default/versions"),
        }
        with gae.without(permission):
            status, answer = call(gae, *paths[permission])
        assert status == 403
        assert words in answer["error"]["message"]

    def test_what_is_not_modelled_is_kept(self, gae: AppEngine) -> None:
        assert call(gae, "GET", "v1/apps/demo-project/firewall/ingressRules")[0] == 404
        assert gae.unmodelled.pop().path.endswith("ingressRules")


class TestLifetime:
    """Nothing outlives the emulator."""

    def test_every_process_and_file_goes_with_it(self) -> None:
        with AppEngine() as gae:
            deploy(gae, "one")
            assert get(gae, gae.url)[0] == 200
            pid = gae.version("one").instance.pid
            assert pid is not None
            bundle = Path(gae.environment()["SSL_CERT_FILE"])
            assert bundle.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert not bundle.parent.exists()

    def test_it_runs_as_a_command_until_interrupted(self) -> None:
        command = [sys.executable, "-m", "emulators.appengine", "--credentials", "key"]
        with subprocess.Popen(command, cwd=TEMPLATE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            variables = {}
            for line in iter(process.stdout.readline, ""):
                if line.startswith("#"):
                    break
                name, _, value = shlex.split(line)[1].partition("=")
                variables[name] = value
            base = variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_APPENGINE"]
            with pytest.raises(urllib.error.HTTPError, match="401") as refused:
                urllib.request.urlopen(f"{base}v1/apps/demo-project", timeout=10)
            refused.value.close()
            key = Path(variables["GAE_KEY"])
            assert json.loads(key.read_text("utf-8"))["token_uri"] == f"{base}token"
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert not key.exists()
