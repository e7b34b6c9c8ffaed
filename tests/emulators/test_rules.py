"""The rules of App Engine that a project may stumble over, kept by the emulator."""

import re
from typing import Any

import pytest

from emulators.appengine import AppEngine
from tests.emulators.clients import FILES, call, deploy, get, pending
from tests.support.waiting import until

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-rules")]


def test_the_first_service_is_default() -> None:
    with AppEngine() as gae:
        status, answer = deploy(gae, "one", service="extra")
        assert status == 400
        assert "must be the 'default' service" in answer["error"]["message"]


@pytest.mark.parametrize("version", ["default", "latest", "ah-1", "Upper", "x" * 64, "-a"])
def test_some_version_ids_are_refused(gae: AppEngine, version: str) -> None:
    assert deploy(gae, version)[0] == 400


def test_an_unknown_runtime_is_refused(gae: AppEngine) -> None:
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
    gae: AppEngine, files: dict[str, str | None], reason: str
) -> None:
    status, operation = deploy(gae, "three", files=files)
    assert (status, operation["done"]) == (200, True)
    assert reason in operation["error"]["message"]


def test_an_entrypoint_needs_gunicorn_in_the_lock(gae: AppEngine) -> None:
    lock = str(FILES["requirements.txt"])
    name = re.search(r"^itsdangerous==.*(?:\n .*)*\n", lock, re.MULTILINE)
    assert name, "the lock has this small package"
    operation = deploy(gae, "three", files={"requirements.txt": name.group()})[1]
    assert "add gunicorn to requirements.txt" in operation["error"]["message"]


def test_a_version_with_traffic_stays(gae: AppEngine) -> None:
    path = "v1/apps/demo-project/services/default/versions/one"
    status, answer = call(gae, "DELETE", path)
    assert status == 400
    assert "currently receiving traffic" in answer["error"]["message"]


def test_one_operation_at_a_time_on_a_version() -> None:
    with AppEngine(latency=0.3) as gae:
        assert "done" not in deploy(gae, "one")[1]
        status, answer = deploy(gae, "one")
        assert status == 409
        assert "already in progress" in answer["error"]["message"]


def test_versions_can_be_deleted_at_the_same_time() -> None:
    with AppEngine() as gae:
        for version in ("one", "two", "three"):
            assert deploy(gae, version)[0] == 200
        gae.admin.latency = 0.5
        path = f"apps/{gae.project}/services/default/versions"
        for version in ("two", "three"):
            assert call(gae, "DELETE", f"v1/{path}/{version}")[0] == 200
        assert call(gae, "DELETE", f"v1/{path}/two")[0] == 409
        assert sorted(pending(gae)) == [f"{path}/three", f"{path}/two"]
        until(lambda: not pending(gae), "the operations to end")
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
    gae: AppEngine, split: dict[str, Any], status: int
) -> None:
    before = gae.traffic
    path = "v1/apps/demo-project/services/default?updateMask=split&migrateTraffic=false"
    assert call(gae, "PATCH", path, {"split": split})[0] == status
    assert (gae.traffic == before) is (status != 200)


def test_a_list_comes_in_pages(gae: AppEngine) -> None:
    path = "v1/apps/demo-project/services/default/versions?pageSize=1"
    answer = call(gae, "GET", path)[1]
    seen = [version["id"] for version in answer["versions"]]
    while token := answer.get("nextPageToken"):
        answer = call(gae, "GET", f"{path}&pageToken={token}")[1]
        seen += [version["id"] for version in answer["versions"]]
    assert seen == gae.versions
    assert len(seen) >= 2


def test_the_full_view_alone_has_what_was_deployed(gae: AppEngine) -> None:
    path = "v1/apps/demo-project/services/default/versions"
    for suffix in ("/one", ""):
        basic = call(gae, "GET", path + suffix)[1]
        full = call(gae, "GET", f"{path}{suffix}?view=FULL")[1]
        shown = [basic, full] if suffix else [basic["versions"][0], full["versions"][0]]
        assert ["deployment" in version for version in shown] == [False, True]


def test_another_project_is_forbidden(gae: AppEngine) -> None:
    assert call(gae, "GET", "v1/apps/not-mine")[0] == 403


def test_a_host_name_over_63_characters_has_no_certificate(gae: AppEngine) -> None:
    version = "v" * 50
    assert deploy(gae, version)[0] == 200
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        get(gae, gae.version_url(version))
