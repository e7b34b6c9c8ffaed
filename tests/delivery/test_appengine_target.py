"""The target App Engine, in terms of the requests that it makes."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from delivery.appengine import operations
from delivery.appengine import target as appengine
from delivery.appengine.target import AppEngine
from delivery.errors import CommandError, MisuseError, UnsettledError
from delivery.google.rest import Answer, ApiError
from delivery.target import Stored, Version

from tests.delivery.machine import Google, Machine, lost, posix, refused

pytestmark = posix  # for the stand-in for gcloud

SERVICE = "https://appengine.googleapis.com/v1/apps/demo-project/services/default"
OPERATION = {"name": "apps/demo-project/operations/1"}
DONE = OPERATION | {"done": True}
MISSING = refused(404, "NOT_FOUND: Could not find Service 'default'.")
# What config-helper prints: the access token, and what gcloud is set to.
HELPER = {
    "credential": {"access_token": "ya29.token"},
    "configuration": {"properties": {"core": {"project": "other-project"}}},
}
WEB = "runtime: python314\nservice: web\n"


class Target:
    """App Engine for a person at a laptop, and what it runs on."""

    def __init__(self, machine: Machine, google: Google) -> None:
        self.machine, self.google = machine, google
        machine.stop_the_clock()
        self.machine.install(
            "gcloud", f"echo \"$*\" >> {machine.folder}/ran; echo '{json.dumps(HELPER)}'"
        )

    def ready(self, app_yaml: str = "runtime: python314\n", **environ: str) -> AppEngine:
        (self.machine.project / "app.yaml").write_text(app_yaml)
        given = {"GAE_PROJECT": "demo-project"} | environ
        self.machine.runner.environ = {**self.machine.runner.environ, **given}
        made = AppEngine(self.machine.runner)
        made.login()
        return made

    @property
    def ran(self) -> list[str]:
        file = self.machine.folder / "ran"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def laptop(machine: Machine, google: Google) -> Iterator[Target]:
    yield Target(machine, google)
    machine.private.close()


def serving(split: dict[str, float]) -> dict[str, Any]:
    return {"id": "default", "split": {"allocations": split}}


# Signing in


def test_a_login_asks_nobody(laptop: Target) -> None:
    laptop.ready()
    assert laptop.ran == []
    assert laptop.google.asked == []


def test_one_start_of_gcloud_gives_token_and_project(laptop: Target) -> None:
    laptop.google.script(("", serving({"v1": 1})))
    target = laptop.ready(GAE_PROJECT="")
    target.serving()
    target.serving()
    assert laptop.ran == ["config config-helper --format=json --min-expiry=30m"]
    assert "/apps/other-project/" in laptop.google.asked[0]
    assert laptop.google.requests[0].headers["Authorization"] == "Bearer ya29.token"


def test_a_laptop_without_a_project_is_told_how_to_choose_one(laptop: Target) -> None:
    laptop.machine.install("gcloud", "echo '{\"credential\": {}}'")
    with pytest.raises(MisuseError, match="no Google Cloud project is chosen") as caught:
        laptop.ready(GAE_PROJECT="")
    assert "GAE_PROJECT" in caught.value.then


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        '{"credential": {"access_token": ""}}',
        '{"credential": {"access_token": "ya29.two\\u000alines"}}',
        '{"credential": {"access_token": "ya29.\\u2028"}}',
    ],
)
def test_a_gcloud_without_a_token_is_told_to_sign_in(laptop: Target, answer: str) -> None:
    laptop.machine.install("gcloud", f"printf '%s' '{answer}'")
    with pytest.raises(CommandError, match="no access token") as caught:
        laptop.ready().serving()
    assert "gcloud auth login" in caught.value.then


def test_a_missing_app_yaml_is_named(laptop: Target) -> None:
    with pytest.raises(MisuseError, match=r"app\.yaml") as caught:
        AppEngine(laptop.machine.runner).login()
    assert "bring it back" in caught.value.then


def test_an_app_yaml_that_is_no_text_is_named(laptop: Target) -> None:
    (laptop.machine.project / "app.yaml").write_bytes("runtime: python314".encode("utf-16"))
    with pytest.raises(MisuseError, match=r"app\.yaml cannot be read"):
        AppEngine(laptop.machine.runner).login()


@pytest.mark.parametrize(
    ("app_yaml", "service"),
    [
        ("runtime: python314\n", "default"),
        (WEB, "web"),
        ("runtime: python314\nservice: 'web'  # main\n", "web"),
        ("#service: web\nx:\n  service: web\n", "default"),
    ],
)
def test_the_service_is_the_one_of_app_yaml(laptop: Target, app_yaml: str, service: str) -> None:
    laptop.google.script(("", serving({})))
    laptop.ready(app_yaml).serving()
    assert laptop.google.asked[0].endswith(f"/services/{service}")


# Names


def test_names_that_app_engine_takes_are_accepted(laptop: Target) -> None:
    target = laptop.ready()
    for name in ("v20261123t163032-ff72af25", "mr-7", "a", "0"):
        target.accept(name)


@pytest.mark.parametrize(
    "name", ["", "V1", "-v1", "v1-", "v.1", "v 1", "v1,v2", "default", "latest", "ah-x", "x" * 64]
)
def test_names_that_app_engine_refuses_are_refused_first(laptop: Target, name: str) -> None:
    with pytest.raises(MisuseError, match="cannot be the name of a version"):
        laptop.ready().accept(name)


def test_a_name_whose_host_would_have_no_certificate_is_refused(laptop: Target) -> None:
    target = laptop.ready()
    target.accept("x" * (63 - len("-dot-demo-project")))
    with pytest.raises(MisuseError, match="64 characters"):
        target.accept("x" * (64 - len("-dot-demo-project")))
    with pytest.raises(MisuseError, match="-dot-web-dot-demo-project is too long"):
        laptop.ready(WEB).accept("x" * (63 - len("-dot-demo-project")))


# Uploading


def test_a_folder_is_uploaded_without_promoting_it(laptop: Target) -> None:
    laptop.machine.install(
        "gcloud", f'echo "$* $(pwd) $GIT_CEILING_DIRECTORIES" > {laptop.machine.folder}/ran'
    )
    source = laptop.machine.folder / "source"
    source.mkdir()
    laptop.ready().deploy("v1", source)
    assert laptop.ran == [
        (
            "app deploy app.yaml --version=v1 --no-promote --quiet --project=demo-project"
            f" --format=json {source.resolve()} {source.parent}"
        )
    ]


def test_an_upload_that_is_refused_says_so(laptop: Target) -> None:
    laptop.machine.install("gcloud", "echo 'ERROR: PERMISSION_DENIED: no' >&2; exit 1")
    with pytest.raises(CommandError, match="uploading and building v1") as caught:
        laptop.ready().deploy("v1", laptop.machine.folder)
    assert appengine.DEPLOYER in caught.value.then


def test_gcloud_sees_no_secret(laptop: Target) -> None:
    laptop.machine.install("gcloud", f"env > {laptop.machine.folder}/ran")
    secrets = dict.fromkeys(("GITLAB_OIDC_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN"), "s3cr3t")
    laptop.ready(**secrets).deploy("v1", laptop.machine.folder)
    assert "CLOUDSDK_CORE_DISABLE_PROMPTS=1" in laptop.ran
    assert "s3cr3t" not in "".join(laptop.ran)


# Looking


def row(name: str, **more: str) -> dict[str, str]:
    return {"id": name, "createTime": "2026-11-23T00:01:00Z"} | more


def test_versions_come_with_their_share_and_their_own_address(laptop: Target) -> None:
    rows = [
        row("v1", versionUrl="https://v1-dot-x.test"),
        row("v2", createTime="2026-11-23T00:02:00.123456789Z"),
    ]
    laptop.google.script(
        ("/versions", {"versions": rows}), ("/default", serving({"v1": 0.9, "v0": 0.1}))
    )
    assert laptop.ready().versions() == [
        Version("v1", "https://v1-dot-x.test", datetime(2026, 11, 23, 0, 1, tzinfo=UTC), 90),
        Version("v2", "", datetime(2026, 11, 23, 0, 2, 0, 123456, tzinfo=UTC), 0),
    ]


def test_every_page_of_versions_is_read(laptop: Target) -> None:
    laptop.google.script(
        ("pageToken=two", {"versions": [row("v3")]}),
        ("pageToken=one", {"nextPageToken": "two"}),
        ("/versions", {"versions": [row("v1"), row("v2")], "nextPageToken": "one"}),
        ("/default", serving({"v1": 1})),
    )
    assert [version.id for version in laptop.ready().versions()] == ["v1", "v2", "v3"]
    assert f"GET {SERVICE}/versions?view=BASIC&pageSize=100&pageToken=two" in laptop.google.asked


def test_serving_is_the_traffic_split(laptop: Target) -> None:
    target = laptop.ready()
    laptop.google.script(("", serving({"v1": 0.999, "v2": 0.001, "v3": 0})))
    assert target.serving() == {"v1": 99.9, "v2": 0.1}
    laptop.google.script(("", {"id": "default"}))
    assert target.serving() == {}


def test_before_the_first_delivery_there_is_simply_nothing(laptop: Target) -> None:
    laptop.google.script(("", MISSING))
    target = laptop.ready()
    assert target.serving() == {}
    assert target.versions() == []
    target.delete(["v1"])


@pytest.mark.parametrize(
    "failure", [refused(404, "NOT_FOUND: Could not find Application 'demo-project'."), refused(403)]
)
def test_other_failures_are_passed_on(laptop: Target, failure: ApiError) -> None:
    laptop.google.script(("", failure))
    target = laptop.ready()
    looks: list[Callable[[], object]] = [
        *(target.versions, target.serving, target.url, target.settle, target.read_record),
        lambda: target.log("v1"),
    ]
    for look in looks:
        with pytest.raises(ApiError) as caught:
            look()
        assert caught.value.status == failure.status


@pytest.mark.parametrize(
    ("app_yaml", "url"),
    [("", "https://demo.ew.r.appspot.com"), (WEB, "https://web-dot-demo.ew.r.appspot.com")],
)
def test_the_public_address_is_asked_for_once(laptop: Target, app_yaml: str, url: str) -> None:
    laptop.google.script(("/apps/demo-project", {"defaultHostname": "demo.ew.r.appspot.com"}))
    target = laptop.ready(app_yaml)
    assert target.url() == target.url() == url
    assert len(laptop.google.asked) == 1


def test_the_last_lines_of_a_version_are_read_from_its_log(laptop: Target) -> None:
    entries = [
        {"jsonPayload": {"message": "third", "stack_trace": "Traceback\n  boom\n"}},
        {"jsonPayload": {"message": "second"}},
        {"textPayload": "first\n"},
        {"jsonPayload": {"odd": 1}},
        {},
    ]
    laptop.google.script(
        ("POST https://logging.googleapis.com/v2/entries:list", {"entries": entries})
    )
    assert laptop.ready(WEB).log("v1") == [
        "{}",
        '{"odd": 1}',
        "first",
        "second",
        "Traceback\n  boom",
    ]
    asked = laptop.google.body()
    assert asked["resourceNames"] == ["projects/demo-project"]
    assert 'module_id="web"' in asked["filter"]
    assert 'version_id="v1"' in asked["filter"]
    laptop.google.script(("POST", {}))
    assert laptop.ready().log("v1") == []


def test_the_record_is_in_the_applications_own_bucket(laptop: Target) -> None:
    laptop.google.script(
        ("/upload/storage/v1/b/demo.appspot.com/o", {"generation": "8"}),
        (
            "/b/demo.appspot.com/o/delivery%2Fweb.json",
            Answer(200, b"{}", {"x-goog-generation": "7"}),
        ),
        ("/apps/demo-project", {"defaultBucket": "demo.appspot.com"}),
    )
    target = laptop.ready(WEB)
    assert target.read_record() == Stored("{}", "7")
    assert target.write_record("{ }", "7") == "8"


def test_an_application_without_its_bucket_is_told_how_to_get_it(laptop: Target) -> None:
    laptop.google.script(("/apps/demo-project", {}))
    with pytest.raises(MisuseError, match="has no bucket") as caught:
        laptop.ready().read_record()
    assert "gcloud beta app repair --project=demo-project" in caught.value.then


def test_an_application_without_a_bucket_of_its_own_records_in_the_one_for_staging(
    laptop: Target,
) -> None:
    laptop.google.script(
        ("/b/staging.x.appspot.com/o/", Answer(200, b"{}", {"x-goog-generation": "7"})),
        ("/apps/demo-project", {"codeBucket": "staging.x.appspot.com"}),
    )
    assert laptop.ready().read_record() == Stored("{}", "7")


def test_an_answer_of_another_shape_is_no_mistake_of_ours(laptop: Target) -> None:
    laptop.google.script(("/versions", {"versions": None}), (SERVICE, {"split": None}))
    assert laptop.ready().versions() == []


# Moving traffic

WANTED = {"v2": 90.0, "v1": 10.0}
BEFORE, AFTER = serving({"v1": 1}), serving({"v2": 0.9, "v1": 0.1})


def test_traffic_is_set_at_random_in_thousandths(laptop: Target) -> None:
    laptop.google.script(("PATCH", DONE))
    laptop.ready().set_traffic({"v2": 99.9, "v1": 0.1})
    assert laptop.google.asked == [f"PATCH {SERVICE}?updateMask=split"]
    assert laptop.google.body() == {
        "split": {"shardBy": "RANDOM", "allocations": {"v2": 0.999, "v1": 0.001}}
    }


def under_way(times: int) -> list[tuple[str, Any]]:
    """List the operation that many times, and no more."""
    busy = {"operations": [{"metadata": {"target": "apps/demo-project/services/default"}}]}
    return [*[("/operations?", busy)] * times, ("/operations?", {})]


POLL = "/operations/1"
LOST = ("PATCH", lost())
OUTCOMES: dict[str, tuple[list[tuple[str, Any]], type[CommandError] | None]] = {
    "accepted and done": ([("PATCH", DONE)], None),
    "accepted and done later": ([("PATCH", OPERATION), (POLL, OPERATION), (POLL, DONE)], None),
    "accepted, one look lost": (
        [("PATCH", OPERATION), (POLL, refused(403)), (POLL, DONE), ("GET", BEFORE)],
        None,
    ),
    "accepted, no look allowed, moved": (
        [("PATCH", OPERATION), (POLL, refused(403)), (SERVICE, AFTER)],
        None,
    ),
    "accepted, no look allowed, not moved": (
        [("PATCH", OPERATION), (POLL, refused(403)), (SERVICE, BEFORE)],
        UnsettledError,
    ),
    "accepted, and nothing can be seen": (
        [("PATCH", OPERATION), (POLL, refused(403)), (SERVICE, refused(403))],
        UnsettledError,
    ),
    "accepted and never done": ([("PATCH", OPERATION), (POLL, OPERATION)], UnsettledError),
    "accepted and failed": (
        [("PATCH", OPERATION | {"done": True, "error": {"message": "no"}})],
        CommandError,
    ),
    "answered by somebody else, moved": (
        [("PATCH", {"odd": 1}), ("/operations?", {}), (SERVICE, AFTER)],
        None,
    ),
    "answered by somebody else, not moved": (
        [("PATCH", {"odd": 1}), ("/operations?", {}), (SERVICE, BEFORE)],
        ApiError,
    ),
    "refused": ([("PATCH", refused(400))], ApiError),
    "not allowed": ([("PATCH", refused(403))], ApiError),
    "something else is under way": (
        [("PATCH", refused(409)), *under_way(2), (SERVICE, BEFORE)],
        ApiError,
    ),
    "lost on the way there": ([LOST, *under_way(0), (SERVICE, BEFORE)], ApiError),
    "lost on the way back": ([LOST, *under_way(0), (SERVICE, AFTER)], None),
    "lost, and landing late": ([LOST, *under_way(4), (SERVICE, AFTER)], None),
    "lost, and failing late": ([LOST, *under_way(4), (SERVICE, BEFORE)], ApiError),
    "lost, and never landing": (
        [LOST, ("/operations?", under_way(1)[0][1]), (SERVICE, BEFORE)],
        UnsettledError,
    ),
    "lost, and so are the looks": ([LOST, ("/operations?", lost())], UnsettledError),
    "lost, and so is the last look": ([LOST, *under_way(0), (SERVICE, lost())], UnsettledError),
    "answered by a proxy": ([("PATCH", b"<html>"), *under_way(0), (SERVICE, AFTER)], None),
    "answered by a proxy, unheard": (
        [("PATCH", b"<html>"), *under_way(0), (SERVICE, BEFORE)],
        ApiError,
    ),
}


@pytest.mark.parametrize(("answers", "error"), OUTCOMES.values(), ids=OUTCOMES)
def test_what_became_of_a_move_is_told_truly(
    laptop: Target, answers: list[tuple[str, Any]], error: type[CommandError] | None
) -> None:
    target = laptop.ready()
    laptop.google.script(*answers)
    if error is None:
        target.set_traffic(WANTED)
    else:
        with pytest.raises(CommandError) as caught:
            target.set_traffic(WANTED)
        assert type(caught.value) is error
    patches = [asked for asked in laptop.google.asked if asked.startswith("PATCH")]
    assert len(patches) == 1, "it is never repeated"


def test_a_move_that_is_only_reported_as_failed_is_a_warning(laptop: Target) -> None:
    target = laptop.ready()
    laptop.google.script(LOST, *under_way(0), (SERVICE, AFTER))
    target.set_traffic(WANTED)
    assert "the traffic has moved" in laptop.machine.said


@pytest.mark.parametrize(("failure", "transient"), [(refused(409), True), (refused(400), False)])
def test_who_asked_learns_whether_asking_again_may_help(
    laptop: Target, failure: ApiError, transient: bool
) -> None:
    target = laptop.ready()
    laptop.google.script(("PATCH", failure), *under_way(0), (SERVICE, BEFORE))
    with pytest.raises(CommandError) as caught:
        target.set_traffic(WANTED)
    assert caught.value.transient is transient
    assert appengine.SERVICE_ADMIN not in caught.value.then


def test_a_missing_role_for_the_traffic_is_named(laptop: Target) -> None:
    laptop.google.script(("PATCH", refused(403, "PERMISSION_DENIED: no")))
    with pytest.raises(ApiError) as caught:
        laptop.ready().set_traffic(WANTED)
    assert caught.value.what == "moving the traffic: HTTP 403"
    assert appengine.SERVICE_ADMIN in caught.value.then


def test_others_changes_of_the_service_are_waited_for(laptop: Target) -> None:
    laptop.google.script(*under_way(3))
    laptop.ready().settle()
    assert len(laptop.google.asked) == 4


# Deleting


def test_all_deletions_are_asked_for_before_any_is_waited_for(laptop: Target) -> None:
    names = [f"v{number}" for number in range(115)]
    laptop.google.script(
        *[("DELETE", {"name": f"apps/demo-project/operations/{name}"}) for name in names],
        ("GET", DONE),
    )
    laptop.ready().delete(names)
    asked = laptop.google.asked
    assert asked[:115] == [f"DELETE {SERVICE}/versions/{name}" for name in names]
    assert all(each.startswith("GET") for each in asked[115:])
    assert len(asked) == 230
    assert laptop.machine.clock.pauses == [], "what has ended meanwhile costs no pause"


def test_a_version_that_is_gone_already_is_no_error(laptop: Target) -> None:
    laptop.google.script(("/v1", refused(404)), ("/v2", DONE))
    laptop.ready().delete(["v1", "v2"])
    assert len(laptop.google.asked) == 2


def test_a_deletion_whose_answer_was_lost_is_asked_for_again(laptop: Target) -> None:
    laptop.google.script(("DELETE", lost()), ("DELETE", refused(409)), ("DELETE", refused(404)))
    laptop.ready().delete(["v1"])
    assert len(laptop.google.asked) == 3


def test_a_version_with_traffic_is_not_deleted_in_silence(laptop: Target) -> None:
    laptop.google.script(("DELETE", refused(400, "it has traffic")))
    with pytest.raises(ApiError) as caught:
        laptop.ready().delete(["v1"])
    assert caught.value.what == "deleting v1: HTTP 400"
    laptop.google.script(("DELETE", OPERATION | {"done": True, "error": {"message": "no"}}))
    with pytest.raises(CommandError, match="deleting v1"):
        laptop.ready().delete(["v1"])
    laptop.google.script(("DELETE", OPERATION), ("GET", OPERATION))
    with pytest.raises(UnsettledError, match="deleting v1"):
        laptop.ready().delete(["v1"])
    assert laptop.machine.clock.now - 1000 < operations.PATIENCE + 10


# A dry run


def test_a_dry_run_prints_the_commands_that_a_person_could_type(
    tmp_path: Path, google: Google
) -> None:
    machine = Machine(tmp_path, dry_run=True)
    with machine.private:
        target = Target(machine, google).ready(WEB)
        target.deploy("v1", tmp_path)
        target.set_traffic({"v2": 99.9, "v1": 0.1})
        target.delete(["v1", "v2"])
    assert machine.results.getvalue().splitlines() == [
        (
            "gcloud app deploy app.yaml --version=v1 --no-promote --quiet --project=demo-project"
            " --format=json"
        ),
        (
            "gcloud app services set-traffic web --splits=v1=0.001,v2=0.999 --split-by=random"
            " --project=demo-project --quiet"
        ),
        "gcloud app versions delete v1 v2 --service=web --project=demo-project --quiet",
    ]
    assert google.asked == []
