"""What is particular about Cloud Run."""

import pytest

from tests.support.visitors import Load
from tests.targets.cloudrun import CloudRunWorld
from tests.targets.scenes import on

pytestmark = [pytest.mark.targets, on(CloudRunWorld)]


def test_a_laptop_builds_the_image_itself(world: CloudRunWorld) -> None:
    version = world.commit({"app/static/new.txt": "from here"})
    world.must("deploy")
    assert world.versions() == {world.first, version}
    world.must("verify")
    world.must("promote")
    assert world.traffic() == {version: 100}
    assert world.ask("/static/new.txt")[1] == "from here"


def test_the_image_that_runs_is_the_one_that_was_tested(world: CloudRunWorld) -> None:
    version = world.commit({"app/static/new.txt": "by digest"})
    image = world.build()
    world.must_run("deploy", **image)
    runs = world.cloud.revision(version).template["spec"]["containers"][0]["image"]
    assert runs.rpartition("@")[2] == image["IMAGE"].rpartition("@")[2]
    assert runs.startswith(f"{world.cloud.repository}/")


def test_a_move_that_cloud_run_cannot_make_is_taken_back(world: CloudRunWorld) -> None:
    version = world.commit()
    world.upload()
    world.cloud.run.refuse_next("Internal error while routing.")
    with Load(world.where(), visitors=1) as load:
        failed = world.run("promote")
    assert failed.code == 1, failed.said
    assert "Internal error while routing." in failed.err
    assert world.traffic() == {world.first: 100}
    assert load.lost == []
    asked = {each.get("revisionName") for each in world.cloud.service.spec["traffic"]}
    assert world.cloud.revision(version).name in asked, "its address stays"
    world.must_run("promote")
    assert world.traffic() == {version: 100}


def test_a_missing_role_is_named_and_nothing_moves(world: CloudRunWorld) -> None:
    world.commit()
    world.upload()
    with world.cloud.without("run.services.update"):
        failed = world.run("promote")
    assert failed.code == 1, failed.said
    assert "roles/run.developer" in failed.err
    assert world.traffic() == {world.first: 100}


def test_a_service_that_nobody_made_is_told_to_its_owner(world: CloudRunWorld) -> None:
    world.commit()
    failed = world.run("deploy", RUN_SERVICE="another", **world.build())
    assert failed.code == 2, failed.said
    assert "there is no service another in europe-west1" in failed.err
    assert "connect --project demo-project --region europe-west1 --service another" in failed.err


def test_a_job_without_an_image_that_was_tested_is_refused(world: CloudRunWorld) -> None:
    version = world.commit()
    failed = world.run("deploy", IMAGE="127.0.0.1:5000/client/project/app:latest")
    assert failed.code == 2, failed.said
    assert "names no digest" in failed.err
    assert version not in world.versions()
