"""What a revision's container gets, and what its visitors meet."""

import json
import subprocess
import threading
import time
from typing import Any

import pytest

from emulators.cloudrun import CloudRun
from tests.emulators.cloudrun import (
    KNATIVE,
    Json,
    body_of,
    call,
    condition,
    get,
    replace,
    shown,
    split,
)
from tests.support.tools import require
from tests.support.waiting import until

pytestmark = [
    pytest.mark.delivery,
    pytest.mark.containers,
    pytest.mark.xdist_group("cloudrun"),
]

ONE: Json = {"revisionName": "demo-one", "percent": 100}
PROBE = {
    "httpGet": {"path": "/health"},
    "periodSeconds": 1,
    "timeoutSeconds": 1,
    "failureThreshold": 2,
}


def deploy(cloud: CloudRun, image: str, revision: str = "demo-two", **options: Any) -> Json:
    """Add a revision, without traffic; return the service once it is settled."""
    targets: list[Json] = [ONE, {"revisionName": "demo-one", "tag": "one"}]
    return replace(cloud, body_of(image, revision=revision, traffic=targets, **options))


def asked(cloud: CloudRun, url: str, path: str = "/") -> Any:
    """Return what the application says of itself."""
    status, body = get(cloud, url, path)
    assert status == 200, body
    return json.loads(body)


def words(cloud: CloudRun, revision: str, log: str = "") -> list[str]:
    """Return what the log has of a revision."""
    query = f'resource.labels.revision_name="{revision}" AND logName:"{log}"'
    body = {"resourceNames": ["projects/demo-project"], "filter": query}
    entries = call(cloud, "POST", "v2/entries:list", body)[1].get("entries", [])
    return [entry["textPayload"] for entry in entries]


def inspect(cloud: CloudRun, revision: str) -> Any:
    """Return what Docker tells of a revision's container."""
    name = cloud.revision(revision).instance.name
    done = subprocess.run(
        [require("docker"), "inspect", name], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)[0]


def test_a_container_finds_its_environment(cloud: CloudRun, image: str) -> None:
    limits = {"resources": {"limits": {"memory": "256Mi"}}}
    ports = {"ports": [{"containerPort": 9000}]}
    deploy(cloud, image, env={"COLOUR": "blue"}, container=limits | ports)
    split(cloud, {"revisionName": "demo-two", "percent": 100})
    env = asked(cloud, cloud.url)["env"]
    assert env["PORT"] == "9000"
    assert env["K_SERVICE"] == env["K_CONFIGURATION"] == "demo"
    assert env["K_REVISION"] == "demo-two"
    assert env["COLOUR"] == "blue"
    assert inspect(cloud, "demo-two")["HostConfig"]["Memory"] == 256 * 2**20


def test_a_command_and_arguments_replace_those_of_the_image(cloud: CloudRun, image: str) -> None:
    program = "import sys; sys.argv = ['x']; exec(open('app.py').read())"
    deploy(cloud, image, container={"command": ["python"], "args": ["-u", "-c", program]})
    started = inspect(cloud, "demo-two")
    assert started["Path"] == "python"
    assert started["Args"] == ["-u", "-c", program]


def test_a_visitor_is_forwarded_with_what_google_adds(cloud: CloudRun) -> None:
    headers = asked(cloud, cloud.url)["headers"]
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert "X-Cloud-Trace-Context" in headers


def test_reserved_paths_never_arrive(cloud: CloudRun) -> None:
    assert get(cloud, cloud.url, "/healthz")[0] == 404


def test_visitors_are_split_by_per_cent(cloud: CloudRun, image: str) -> None:
    deploy(cloud, image)
    split(
        cloud,
        {"revisionName": "demo-one", "percent": 80},
        {"revisionName": "demo-two", "percent": 20, "tag": "two"},
    )
    assert cloud.traffic == {"demo-one": 80, "two": 20}
    found = [asked(cloud, cloud.url)["env"]["K_REVISION"] for _ in range(100)]
    assert 10 <= found.count("demo-two") <= 32
    tagged = [asked(cloud, cloud.version_url("two"))["env"]["K_REVISION"] for _ in range(3)]
    assert set(tagged) == {"demo-two"}


def test_a_split_may_take_time_to_be_everywhere(cloud: CloudRun, image: str) -> None:
    deploy(cloud, image)
    asked(cloud, cloud.url)
    cloud.front.propagation = 60.0
    split(cloud, {"revisionName": "demo-two", "percent": 100})
    found = {asked(cloud, cloud.url)["env"]["K_REVISION"] for _ in range(20)}
    assert "demo-one" in found
    cloud.front.propagation = 0.0
    assert asked(cloud, cloud.url)["env"]["K_REVISION"] == "demo-two"


# Starting


def test_a_container_that_does_not_listen_is_not_ready(cloud: CloudRun, image: str) -> None:
    service = deploy(cloud, image, env={"MODE": "deaf"}, container={"startupProbe": None})
    ready = condition(service)
    assert (ready["status"], ready["reason"]) == ("False", "HealthCheckContainerError")
    assert ready["message"].startswith(
        "Revision 'demo-two' is not ready and cannot serve traffic. The user-provided container "
        "failed to start and listen on the port defined provided by the PORT=8080 environment "
        "variable within the allocated timeout."
    )
    assert condition(service, "ConfigurationsReady")["status"] == "False"
    assert condition(service, "RoutesReady")["status"] == "True", "its traffic is elsewhere"
    assert service["status"]["latestCreatedRevisionName"] == "demo-two"
    assert service["status"]["latestReadyRevisionName"] == "demo-one"
    assert "mode is deaf" in words(cloud, "demo-two", "stdout")
    assert any("probe failed" in line for line in words(cloud, "demo-two", "varlog"))
    assert asked(cloud, cloud.url)["env"]["K_REVISION"] == "demo-one"


def test_a_container_that_ends_is_not_ready(cloud: CloudRun, image: str) -> None:
    service = deploy(cloud, image, env={"MODE": "exit"}, container={"startupProbe": None})
    assert condition(service)["status"] == "False"
    assert "Container called exit(4)." in words(cloud, "demo-two", "varlog")


def test_a_startup_probe_needs_a_good_answer(cloud: CloudRun, image: str) -> None:
    started = time.monotonic()
    service = deploy(cloud, image, env={"MODE": "ill"}, container={"startupProbe": PROBE})
    assert time.monotonic() - started < 5
    assert "failed the configured startup probe checks" in condition(service)["message"]
    words_of_the_log = words(cloud, "demo-two", "varlog")
    assert (
        'STARTUP HTTP probe failed 2 times consecutively for container "demo-1" on port 8080 '
        'path "/health". The instance was not started.' in words_of_the_log
    )
    good = deploy(cloud, image, "demo-three", container={"startupProbe": PROBE})
    assert condition(good)["status"] == "True"
    assert "asked for /health" in words(cloud, "demo-three", "stderr")


def test_without_a_startup_probe_it_is_enough_to_listen(cloud: CloudRun, image: str) -> None:
    plain = {"startupProbe": None}
    service = deploy(cloud, image, "demo-plain", env={"MODE": "ill"}, container=plain)
    assert condition(service)["status"] == "True"
    assert words(cloud, "demo-plain", "stderr") == []


def test_an_image_that_is_not_there_is_not_found(cloud: CloudRun, image: str) -> None:
    absent = f"{image.partition('@')[0]}@sha256:{'0' * 64}"
    ready = condition(deploy(cloud, absent))
    assert (ready["status"], ready["reason"]) == ("False", "ContainerMissing")
    assert f"Image '{absent}' not found." in ready["message"]


def test_traffic_for_a_revision_that_failed_holds_up_every_other_change(
    cloud: CloudRun, image: str
) -> None:
    deploy(cloud, image)
    deploy(cloud, image, "demo-bad", env={"MODE": "exit"})
    bad = {"revisionName": "demo-bad", "tag": "bad"}
    two = {"revisionName": "demo-two", "percent": 100}
    service = split(cloud, two, bad)
    assert condition(service, "RoutesReady")["status"] == "False"
    assert cloud.service.shares == {"demo-one": 100}, "one target fails, and none is changed"
    service = split(cloud, two)
    assert condition(service, "RoutesReady")["status"] == "True"
    assert cloud.service.shares == {"demo-two": 100}
    assert condition(service)["status"] == "False", "the latest revision has still failed"


def test_the_latest_gets_its_traffic_once_it_is_ready(cloud: CloudRun, image: str) -> None:
    latest = [{"latestRevision": True, "percent": 100}]
    replace(cloud, body_of(image, revision="demo-bad", traffic=latest, env={"MODE": "exit"}))
    assert cloud.service.shares == {"demo-one": 100}
    service = replace(cloud, body_of(image, revision="demo-two", traffic=latest))
    assert condition(service)["status"] == "True"
    assert cloud.service.shares == {"demo-two": 100}


# Instances


def test_a_visitor_waits_while_an_instance_starts(cloud: CloudRun) -> None:
    instance = cloud.revision("one").instance
    cloud.stop_instances()
    assert not instance.running
    boots = instance.boots
    found: list[int] = []
    visitors = [
        threading.Thread(target=lambda: found.append(get(cloud, cloud.url)[0])) for _ in range(5)
    ]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert found == [200] * 5
    assert instance.boots == boots + 1


def test_an_instance_that_dies_fails_its_visitor_alone(cloud: CloudRun) -> None:
    assert get(cloud, cloud.url, "/die")[0] == 503
    assert get(cloud, cloud.url)[0] == 200
    assert any(
        "connection to the instance had an error" in line
        for line in words(cloud, "demo-one", "varlog")
    )


def test_a_request_ends_after_its_timeout(cloud: CloudRun, image: str) -> None:
    deploy(cloud, image, spec={"timeoutSeconds": 1})
    split(cloud, {"revisionName": "demo-two", "percent": 100})
    started = time.monotonic()
    assert get(cloud, cloud.url, "/hang")[0] == 504
    assert 0.9 < time.monotonic() - started < 4
    assert get(cloud, cloud.url)[0] == 200, "the instance is not ended for it"


def test_a_revision_that_is_deleted_loses_its_container(cloud: CloudRun, image: str) -> None:
    deploy(cloud, image)
    deploy(cloud, image, "demo-three")
    name = cloud.revision("demo-two").instance.name
    assert call(cloud, "DELETE", f"{KNATIVE}/revisions/demo-two")[0] == 200

    def listed() -> str:
        command = [require("docker"), "ps", "--all", "--quiet", f"--filter=name={name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    until(lambda: not listed(), "the container's end")


# Going back


def test_a_snapshot_is_restored_fast(cloud: CloudRun, image: str) -> None:
    before = shown(cloud)
    cloud.storage.write(cloud.bucket, "demo.json", b"{}")
    snapshot = cloud.snapshot()
    deploy(cloud, image)
    split(cloud, {"revisionName": "demo-two", "percent": 100})
    cloud.storage.write(cloud.bucket, "demo.json", b"other")
    cloud.storage.write(cloud.bucket, "more.json", b"more")
    cloud.fail_next("GET", "/services", 503)
    started = time.monotonic()
    cloud.restore(snapshot)
    assert time.monotonic() - started < 0.5
    after = shown(cloud)
    assert after["status"] == before["status"]
    assert after["spec"] == before["spec"]
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    assert cloud.storage.contents() == [b"{}"]
    assert asked(cloud, cloud.url)["env"]["K_REVISION"] == "demo-one"
