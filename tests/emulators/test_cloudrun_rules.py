"""The rules of Cloud Run that a delivery may stumble over, kept by the emulator."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.cloudrun import CloudRun, Snapshot
from emulators.cloudrun.resources import matches
from tests.emulators.cloudrun import (
    DEMO,
    HELLO,
    KNATIVE,
    Json,
    body_of,
    call,
    condition,
    create,
    get,
    replace,
    shown,
    split,
)

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("cloudrun-rules")]

ALL_TO_LATEST = {"latestRevision": True, "percent": 100}


@pytest.fixture(scope="module")
def began() -> Iterator[tuple[CloudRun, Snapshot]]:
    """Start one emulator, with one service of Google's sample image: it needs no engine."""
    with CloudRun() as emulator:
        create(emulator, body_of(revision="demo-one"))
        yield emulator, emulator.snapshot()
        assert emulator.unmodelled == []


@pytest.fixture
def cloud(began: tuple[CloudRun, Snapshot]) -> CloudRun:
    """Return that emulator, as it was at the start."""
    emulator, start = began
    emulator.restore(start)
    return emulator


def refused(cloud: CloudRun, method: str, path: str, body: Json | None, code: int) -> Json:
    """Make a request that is refused; return the error, once it has changed nothing."""
    before = shown(cloud)
    status, answer = call(cloud, method, path, body)
    assert status == code, answer
    assert shown(cloud) == before
    error: Json = answer["error"]
    assert error["code"] == code
    return error


# Services


def test_what_is_not_stated_is_completed(cloud: CloudRun) -> None:
    body = body_of()
    del body["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
    spec = replace(cloud, body)["spec"]["template"]["spec"]
    assert spec["containerConcurrency"] == 80
    assert spec["timeoutSeconds"] == 300
    container = spec["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "1000m", "memory": "512Mi"}
    assert container["ports"] == [{"name": "http1", "containerPort": 8080}]
    assert container["startupProbe"]["tcpSocket"] == {"port": 8080}
    assert shown(cloud)["spec"]["traffic"] == [ALL_TO_LATEST]


def test_scaling_and_concurrency_are_kept_and_shown(cloud: CloudRun) -> None:
    body = body_of(spec={"containerConcurrency": 16, "timeoutSeconds": 60})
    scale = {"autoscaling.knative.dev/maxScale": "4", "autoscaling.knative.dev/minScale": "1"}
    body["spec"]["template"]["metadata"]["annotations"] = scale
    template = replace(cloud, body)["spec"]["template"]
    assert template["spec"]["containerConcurrency"] == 16
    assert template["metadata"]["annotations"] == scale


def test_a_service_is_created_once(cloud: CloudRun) -> None:
    error = refused(cloud, "POST", f"{KNATIVE}/services", body_of(), 409)
    assert error["status"] == "ALREADY_EXISTS"


def test_only_a_service_that_is_there_is_replaced(cloud: CloudRun) -> None:
    path = f"{KNATIVE}/services/other"
    error = refused(cloud, "PUT", path, body_of(name="other"), 404)
    assert error["details"][0]["domain"] == "run.googleapis.com"


@pytest.mark.parametrize("name", ["Upper", "9lives", "end-", "x" * 50, ""])
def test_some_names_of_services_are_refused(cloud: CloudRun, name: str) -> None:
    refused(cloud, "POST", f"{KNATIVE}/services", body_of(name=name), 400)


def test_another_project_is_refused(cloud: CloudRun) -> None:
    path = "apis/serving.knative.dev/v1/namespaces/foreign/services/demo"
    assert call(cloud, "GET", path)[0] == 403


def test_the_projects_number_stands_for_it(cloud: CloudRun) -> None:
    path = "apis/serving.knative.dev/v1/namespaces/123456789012/services/demo"
    assert call(cloud, "GET", path) == (200, shown(cloud))


def test_a_service_that_is_deleted_is_gone(cloud: CloudRun) -> None:
    url = cloud.url
    assert call(cloud, "DELETE", DEMO)[0] == 200
    assert call(cloud, "GET", DEMO)[0] == 404
    assert get(cloud, url)[0] == 404


@pytest.mark.parametrize(
    ("container", "spec", "words"),
    [
        ({"image": "example.com/app"}, {}, "Expected an image path like"),
        ({"resources": {"limits": {"memory": "64Mi"}}}, {}, "between 128Mi and 32Gi"),
        ({"resources": {"limits": {"memory": "much"}}}, {}, "memory"),
        ({"resources": {"limits": {"cpu": "500m"}}}, {}, "cpu < 1 is not supported"),
        ({"env": [{"name": "PORT", "value": "1"}]}, {}, "reserved env names"),
        ({"env": [{"name": "K_REVISION", "value": "x"}]}, {}, "reserved env names"),
        ({}, {"containerConcurrency": 1001}, "1 to 1000"),
        ({}, {"timeoutSeconds": 3601}, "1 to 3600"),
        ({}, {"containers": []}, "exactly one container"),
        ({"startupProbe": {"tcpSocket": {}, "timeoutSeconds": 11}}, {}, "greater than period"),
        ({"startupProbe": {"tcpSocket": {}, "failureThreshold": 25}}, {}, "at most 240"),
    ],
)
def test_some_containers_are_refused(
    cloud: CloudRun, container: Json, spec: Json, words: str
) -> None:
    body = body_of(container=container, spec=spec)
    assert words in refused(cloud, "PUT", DEMO, body, 400)["message"]


# Versions of a resource


def test_a_replacement_names_the_newest_version_or_none(cloud: CloudRun) -> None:
    seen = shown(cloud)
    replace(cloud, body_of(env={"A": "1"}))
    error = refused(cloud, "PUT", DEMO, seen, 409)
    assert error["status"] == "ABORTED"
    stated = seen["metadata"]["resourceVersion"]
    assert f"version '{stated}' was specified but current version is" in error["message"]
    del seen["metadata"]["resourceVersion"]
    replace(cloud, seen)


def test_each_change_of_spec_or_status_makes_a_version(cloud: CloudRun) -> None:
    before = shown(cloud)["metadata"]
    gate = cloud.run.hold_next()
    held = replace(cloud, body_of(env={"A": "1"}), settle=False)["metadata"]
    assert held["generation"] == before["generation"] + 1
    gate.release()
    cloud.run.settle()
    after = shown(cloud)["metadata"]
    assert after["generation"] == held["generation"]
    versions = {each["resourceVersion"] for each in (before, held, after)}
    assert len(versions) == 3


def test_a_dry_run_changes_nothing(cloud: CloudRun) -> None:
    before = shown(cloud)
    assert call(cloud, "PUT", f"{DEMO}?dryRun=all", body_of(env={"A": "1"}))[0] == 200
    assert shown(cloud) == before


# Revisions


def test_a_change_of_the_template_makes_a_revision(cloud: CloudRun) -> None:
    service = replace(cloud, body_of(env={"A": "1"}))
    latest = service["status"]["latestReadyRevisionName"]
    assert latest not in ("", "demo-one")
    assert latest.startswith("demo-00002-")
    split(cloud, {"revisionName": "demo-one", "percent": 100})
    assert shown(cloud)["status"]["latestCreatedRevisionName"] == latest, "traffic makes none"


def test_the_name_of_a_revision_stays_taken(cloud: CloudRun) -> None:
    again = replace(cloud, body_of(revision="demo-one"))
    assert len(cloud.service.revisions) == 1
    assert condition(again)["status"] == "True"
    body = body_of(revision="demo-one", env={"A": "1"})
    error = refused(cloud, "PUT", DEMO, body, 409)
    words = "Revision named 'demo-one' with different configuration already exists."
    assert error["message"] == words


@pytest.mark.parametrize("name", ["other-one", "demo", "demo-One", "demo-", f"demo-{'x' * 60}"])
def test_some_names_of_revisions_are_refused(cloud: CloudRun, name: str) -> None:
    refused(cloud, "PUT", DEMO, body_of(revision=name, env={"A": "1"}), 400)


def test_revisions_are_listed_by_service_in_pages(cloud: CloudRun) -> None:
    for number in range(2):
        replace(cloud, body_of(revision=f"demo-{number}", env={"A": str(number)}))
    query = "labelSelector=serving.knative.dev%2Fservice%20%3D%20demo&limit=2"
    first = call(cloud, "GET", f"{KNATIVE}/revisions?{query}")[1]
    assert [each["metadata"]["name"] for each in first["items"]] == ["demo-1", "demo-0"]
    more = first["metadata"]["continue"]
    rest = call(cloud, "GET", f"{KNATIVE}/revisions?{query}&continue={more}")[1]
    assert [each["metadata"]["name"] for each in rest["items"]] == ["demo-one"]
    assert "continue" not in rest["metadata"]
    other = call(cloud, "GET", f"{KNATIVE}/revisions?labelSelector=serving.knative.dev%2Fservice=x")
    assert "items" not in other[1]


def test_a_selector_may_have_several_parts() -> None:
    assert matches("a=1, b = 2", {"a": "1", "b": "2", "c": "3"})
    assert not matches("a=1,b=2", {"a": "1"})
    assert matches("", {})


def test_a_revision_is_deleted_when_nothing_needs_it(cloud: CloudRun) -> None:
    replace(cloud, body_of(revision="demo-two", env={"A": "2"}))
    replace(cloud, body_of(revision="demo-three", env={"A": "3"}))
    split(
        cloud,
        {"revisionName": "demo-two", "percent": 100},
        {"revisionName": "demo-one", "tag": "one"},
    )
    for name, words in (
        ("demo-one", "actively serving"),  # a tag leads to it
        ("demo-two", "actively serving"),
        ("demo-three", "latest"),
    ):
        error = refused(cloud, "DELETE", f"{KNATIVE}/revisions/{name}", None, 400)
        assert error["status"] == "FAILED_PRECONDITION"
        assert words in error["message"]
    split(cloud, {"revisionName": "demo-two", "percent": 100})
    assert call(cloud, "DELETE", f"{KNATIVE}/revisions/demo-one")[0] == 200
    assert call(cloud, "GET", f"{KNATIVE}/revisions/demo-one")[0] == 404
    assert call(cloud, "DELETE", f"{KNATIVE}/revisions/demo-one")[0] == 404


# Traffic


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([{"latestRevision": True, "percent": 99}], "sum of percent must be 100"),
        ([{"revisionName": "demo-one", "percent": 99.5}], "whole number"),
        ([{"revisionName": "demo-one", "percent": 101}], "whole number"),
        ([{"percent": 100}], "exactly one of latestRevision and revisionName"),
        ([ALL_TO_LATEST | {"revisionName": "demo-one"}], "exactly one of"),
        ([ALL_TO_LATEST | {"tag": "Tag"}], "lowercase"),
        ([ALL_TO_LATEST | {"tag": "x" * 43}], "46"),
        ([ALL_TO_LATEST | {"tag": "a"}, {"revisionName": "demo-one", "tag": "a"}], "more than one"),
    ],
)
def test_some_splits_are_refused(cloud: CloudRun, targets: list[Json], words: str) -> None:
    error = refused(cloud, "PUT", DEMO, body_of(revision="demo-one", traffic=targets), 400)
    assert words in error["message"]


def test_a_tag_and_the_service_may_have_46_characters(cloud: CloudRun) -> None:
    split(cloud, ALL_TO_LATEST | {"tag": "x" * 42})
    assert cloud.versions == ["x" * 42]


def test_traffic_to_the_latest_follows_it(cloud: CloudRun) -> None:
    replace(cloud, body_of(revision="demo-two", env={"A": "2"}))
    assert cloud.service.shares == {"demo-two": 100}


def test_traffic_to_a_named_revision_stays(cloud: CloudRun) -> None:
    pinned = [{"revisionName": "demo-one", "percent": 100}]
    replace(cloud, body_of(revision="demo-two", env={"A": "2"}, traffic=pinned))
    assert cloud.service.shares == {"demo-one": 100}


def test_tags_have_addresses_that_stay(cloud: CloudRun) -> None:
    tagged = {"revisionName": "demo-one", "tag": "one"}
    first = split(cloud, ALL_TO_LATEST, tagged)["status"]["traffic"][1]
    assert first["url"] == cloud.version_url("one") != cloud.url
    assert get(cloud, first["url"])[0] == 200
    split(cloud, ALL_TO_LATEST)
    assert get(cloud, first["url"])[0] == 404
    again = split(cloud, ALL_TO_LATEST, tagged)["status"]["traffic"][1]
    assert again == first


def test_a_split_that_names_a_revision_that_is_not_there_is_never_made(cloud: CloudRun) -> None:
    service = split(cloud, {"revisionName": "demo-none", "percent": 100})
    assert service["spec"]["traffic"] == [{"revisionName": "demo-none", "percent": 100}]
    assert service["status"]["traffic"][0]["revisionName"] == "demo-one"
    routes = condition(service, "RoutesReady")
    assert (routes["status"], routes["reason"]) == ("False", "RevisionMissing")
    assert "does not exist or is deleted" in condition(service)["message"]
    assert get(cloud, cloud.url)[0] == 200
    settled = split(cloud, ALL_TO_LATEST)
    assert condition(settled)["status"] == "True"


# Who may


def test_a_service_is_closed_until_it_is_opened(cloud: CloudRun) -> None:
    body = body_of(revision="demo-one")
    body["metadata"]["annotations"] = {}
    replace(cloud, body)
    status, page = get(cloud, cloud.url)
    assert status == 403
    assert b"does not have permission to get URL" in page
    place = "v1/projects/demo-project/locations/europe-west1/services/demo"
    policy = call(cloud, "GET", f"{place}:getIamPolicy")[1]
    policy["bindings"] = [{"role": "roles/run.invoker", "members": ["allUsers"]}]
    status, changed = call(cloud, "POST", f"{place}:setIamPolicy", {"policy": policy})
    assert status == 200
    assert get(cloud, cloud.url)[0] == 200
    assert call(cloud, "POST", f"{place}:setIamPolicy", {"policy": policy})[0] == 409
    assert changed["etag"] != policy["etag"]


def test_the_deployer_may_do_what_its_roles_allow(cloud: CloudRun) -> None:
    token = cloud.tokens.issue(cloud.service_account)
    service = call(cloud, "GET", DEMO, token=token)[1]
    assert call(cloud, "PUT", DEMO, service, token=token)[0] == 200
    cloud.run.settle()
    service = shown(cloud)
    service["metadata"]["annotations"].pop("run.googleapis.com/invoker-iam-disabled")
    status, answer = call(cloud, "PUT", DEMO, service, token=token)
    assert status == 403, "who may visit is the owner's to say"
    assert "run.services.setIamPolicy" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("role", "method", "words"),
    [
        ("roles/run.developer", "GET", "'run.services.get' denied on resource"),
        ("roles/iam.serviceAccountUser", "PUT", "'iam.serviceaccounts.actAs' denied on service"),
    ],
)
def test_a_missing_role_is_named_by_a_permission(
    cloud: CloudRun, role: str, method: str, words: str
) -> None:
    service = shown(cloud)
    someone = "someone@demo-project.iam.gserviceaccount.com"
    cloud.roles[someone] = cloud.roles[cloud.service_account] - {role}
    token = cloud.tokens.issue(someone)
    status, answer = call(cloud, method, DEMO, service if method == "PUT" else None, token=token)
    assert status == 403
    assert words in answer["error"]["message"]


def test_a_caller_without_a_token_is_refused(cloud: CloudRun) -> None:
    status, answer = call(cloud, "GET", DEMO, token="made-up")
    assert status == 401
    assert answer["error"]["status"] == "UNAUTHENTICATED"


def test_a_caller_can_ask_what_it_may_do(cloud: CloudRun) -> None:
    place = "v1/projects/demo-project/locations/europe-west1/services"
    wanted = {"permissions": ["run.services.get", "run.services.setIamPolicy"]}
    token = cloud.tokens.issue(cloud.service_account)
    answer = call(cloud, "POST", f"{place}/demo:testIamPermissions", wanted, token=token)
    assert answer == (200, {"permissions": ["run.services.get"]})
    assert call(cloud, "POST", f"{place}/none:testIamPermissions", wanted) == (200, {})


# Other resources


def test_a_service_has_a_configuration_and_a_route(cloud: CloudRun) -> None:
    parts: dict[str, Any] = {}
    for kind in ("configurations", "routes"):
        status, parts[kind] = call(cloud, "GET", f"{KNATIVE}/{kind}/demo")
        assert status == 200
    assert parts["configurations"]["status"]["latestReadyRevisionName"] == "demo-one"
    assert parts["routes"]["status"]["traffic"][0]["revisionName"] == "demo-one"


def test_an_operation_ends_with_the_change(cloud: CloudRun) -> None:
    gate = cloud.run.hold_next()
    service = replace(cloud, body_of(env={"A": "1"}), settle=False)
    name = service["metadata"]["annotations"]["run.googleapis.com/operation-id"]
    path = f"v1/projects/demo-project/locations/europe-west1/operations/{name}"
    assert "done" not in call(cloud, "POST", f"{path}:wait", {"timeout": "0.1s"})[1]
    gate.release()
    done = call(cloud, "POST", f"{path}:wait", {"timeout": "30s"})[1]
    assert done["done"] is True
    assert done["response"]["status"]["observedGeneration"] == 2
    assert call(cloud, "GET", path)[1]["done"] is True
    assert call(cloud, "GET", f"{path}x")[0] == 404


def test_the_sample_image_needs_no_registry(cloud: CloudRun) -> None:
    assert shown(cloud)["spec"]["template"]["spec"]["containers"][0]["image"] == HELLO
    assert get(cloud, cloud.url) == (200, b"Congratulations | Cloud Run\nIt's running!\n")
    assert cloud.traffic == {}
    assert cloud.versions == []
