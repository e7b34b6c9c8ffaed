"""The target App Engine, in terms of the commands that it gives."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from delivery.appengine import AppEngine
from delivery.errors import CommandError, MisuseError
from delivery.target import Version

from tests.delivery.fakes import ScriptedRunner, failure, scripted

V1 = {
    "id": "v1",
    "traffic_split": 0.9,
    "version": {"versionUrl": "https://v1-dot-x.test", "createTime": "2026-11-23T00:01:00Z"},
}
V2 = {"id": "v2", "traffic_split": None, "version": {"createTime": "2026-11-23T00:02:00.123Z"}}


def ready(
    folder: Path, *, app_yaml: str = "runtime: python314\n", dry_run: bool = False
) -> tuple[AppEngine, ScriptedRunner]:
    """Give a target that is logged in, on a laptop."""
    (folder / "app.yaml").write_text(app_yaml)
    runner, _ = scripted(folder, {"GAE_PROJECT": "demo-project"}, dry_run=dry_run)
    target = AppEngine(runner)
    target.login()
    return target, runner


def test_a_job_is_ready_without_a_single_command(tmp_path: Path) -> None:
    _, runner = ready(tmp_path)
    assert runner.ran == []


def test_a_laptop_uses_the_project_that_gcloud_has(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("")
    runner, _ = scripted(tmp_path)
    runner.script(("config get", '"other-project"'), ("browse", '{"url": "https://x.test"}'))
    target = AppEngine(runner)
    target.login()
    target.url()
    assert runner.ran[0] == "gcloud config get core/project --format=json"
    assert "--project=other-project" in runner.ran[1]


def test_a_laptop_without_a_project_is_told_how_to_choose_one(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("")
    runner, _ = scripted(tmp_path)
    runner.script(("config get", "[]"))
    with pytest.raises(MisuseError) as caught:
        AppEngine(runner).login()
    assert "GAE_PROJECT" in caught.value.then


def test_a_missing_app_yaml_is_named(tmp_path: Path) -> None:
    runner, _ = scripted(tmp_path, {"GAE_PROJECT": "demo-project"})
    with pytest.raises(MisuseError, match=r"app\.yaml"):
        AppEngine(runner).login()


def test_deploy_uploads_without_promoting(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("deploy", ""))
    target.deploy("v1")
    assert runner.ran == [
        (
            "gcloud app deploy app.yaml --version=v1 --no-promote --quiet"
            " --project=demo-project --format=json"
        )
    ]


@pytest.mark.parametrize(
    ("app_yaml", "service"),
    [
        ("runtime: python314\n", "default"),
        ("service: web\n", "web"),
        ("runtime: python314\nservice: 'web'  # main\n", "web"),
        ("#service: web\nx:\n  service: web\n", "default"),
    ],
)
def test_the_service_is_the_one_of_app_yaml(tmp_path: Path, app_yaml: str, service: str) -> None:
    target, runner = ready(tmp_path, app_yaml=app_yaml)
    runner.script(("list", "[]"))
    target.versions()
    assert f"--service={service} " in runner.ran[0]


def test_versions_come_with_their_share_and_their_own_address(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("versions list", json.dumps([V1, V2])))
    assert target.versions() == [
        Version("v1", "https://v1-dot-x.test", datetime(2026, 11, 23, 0, 1, tzinfo=UTC), 90),
        Version("v2", "", datetime(2026, 11, 23, 0, 2, 0, 123000, tzinfo=UTC), 0),
    ]


def test_serving_is_the_traffic_split(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("describe", json.dumps({"split": {"allocations": {"v1": 0.999, "v2": 0.001}}})))
    assert target.serving() == {"v1": 99.9, "v2": 0.1}
    runner.script(("describe", json.dumps({"id": "default"})))
    assert target.serving() == {}


def test_before_the_first_delivery_there_is_simply_nothing(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    missing = "(gcloud.app.services.describe) NOT_FOUND: Service not found."
    runner.script(
        ("versions", failure("Service [default] not found.")), ("describe", failure(missing))
    )
    assert target.versions() == []
    assert target.serving() == {}
    target.delete("v1")


def test_other_failures_are_passed_on(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("", failure("ERROR: broken")))
    for call in (target.versions, target.serving, target.url, lambda: target.delete("v1")):
        with pytest.raises(CommandError) as caught:
            call()
        assert caught.value.why == "ERROR: broken"


def test_traffic_is_set_by_weight_and_at_random(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("set-traffic", ""))
    target.set_traffic({"v2": 99.9, "v1": 0.1})
    assert runner.ran == [
        (
            "gcloud app services set-traffic default --splits=v1=0.1,v2=99.9 --split-by=random"
            " --quiet --project=demo-project --format=json"
        )
    ]


def test_traffic_is_not_moved_again_blindly(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("set-traffic", failure("ABORTED: Operation in progress")))
    with pytest.raises(CommandError):
        target.set_traffic({"v2": 100})
    assert len(runner.ran) == 1


def test_the_public_address_is_asked_for(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("browse", '{"url": "https://x.test"}'))
    assert target.url() == "https://x.test"
    assert "--no-launch-browser" in runner.ran[0]


def test_delete_names_the_version_and_its_service(tmp_path: Path) -> None:
    target, runner = ready(tmp_path)
    runner.script(("delete", ""))
    target.delete("v1")
    assert runner.ran == [
        (
            "gcloud app versions delete v1 --service=default --quiet"
            " --project=demo-project --format=json"
        )
    ]


def test_names_that_app_engine_takes_are_accepted(tmp_path: Path) -> None:
    target, _ = ready(tmp_path)
    for name in ("v20261123t163032-ff72af25", "mr-7", "a", "0"):
        target.accept(name)


@pytest.mark.parametrize(
    "name", ["", "V1", "-v1", "v1-", "v.1", "v 1", "v1,v2", "default", "latest", "ah-x", "x" * 64]
)
def test_names_that_app_engine_refuses_are_refused_first(tmp_path: Path, name: str) -> None:
    target, _ = ready(tmp_path)
    with pytest.raises(MisuseError, match="cannot be the name of a version"):
        target.accept(name)


def test_a_name_whose_host_would_have_no_certificate_is_refused(tmp_path: Path) -> None:
    target, _ = ready(tmp_path)
    target.accept("x" * (63 - len("-dot-demo-project")))
    with pytest.raises(MisuseError, match="64 characters"):
        target.accept("x" * (64 - len("-dot-demo-project")))
    target, _ = ready(tmp_path, app_yaml="service: web\n")
    with pytest.raises(MisuseError, match="-dot-web-dot-demo-project is too long"):
        target.accept("x" * (63 - len("-dot-demo-project")))
