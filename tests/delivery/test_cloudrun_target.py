"""The target Cloud Run, in terms of what its service then is."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from delivery.cloudrun import service as service_
from delivery.cloudrun.settings import place
from delivery.cloudrun.target import CloudRun
from delivery.errors import CommandError, MisuseError, UnsettledError
from delivery.google import rest
from delivery.google.rest import Answer, ApiError

from tests.delivery.knative import HELLO, NEW, OLD, Knative
from tests.delivery.machine import Machine, lost, posix, refused

pytestmark = posix  # for the stand-in for gcloud

V1, V2 = "v20261101t120000-00000001", "v20261101t130000-00000002"
R1, R2 = f"demo-{V1}-aaaa", f"demo-{V2}-bbbb"
DIGEST = "sha256:" + "a" * 64
HELPER = {
    "credential": {"access_token": "ya29.token"},
    "configuration": {
        "properties": {"core": {"project": "demo-project"}, "run": {"region": "europe-west1"}}
    },
}


class Target:
    """Cloud Run for a person at a laptop, and what it runs on."""

    def __init__(self, machine: Machine, google: Knative) -> None:
        self.machine, self.google = machine, google
        machine.stop_the_clock()
        self.gcloud()

    def gcloud(self, deploys: str = "") -> None:
        """Install one, which notes what it was told; `deploys` is what it does to deploy."""
        log = self.machine.folder / "ran"
        self.machine.install(
            "gcloud",
            f'echo "$*" >> {log}\n'
            f"case \"$1\" in run) {deploys or ':'} ;; *) echo '{json.dumps(HELPER)}' ;; esac",
        )

    def ready(self, *, dry_run: bool = False, **environ: str) -> CloudRun:
        (self.machine.project / "pyproject.toml").write_text('[project]\nname = "demo"\n')
        (self.machine.project / "cloudrun.yaml").write_text("--memory: 512Mi\n")
        self.machine.runner.environ = {**self.machine.runner.environ, **environ}
        object.__setattr__(self.machine.runner, "dry_run", dry_run)
        made = CloudRun(self.machine.runner)
        made.login()
        return made

    @property
    def ran(self) -> list[str]:
        file = self.machine.folder / "ran"
        return [line for line in file.read_text().splitlines() if line.startswith("run")]


@pytest.fixture
def laptop(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    google = Knative()
    monkeypatch.setattr(rest, "_send", google.send)
    google.serve({R1: 100}, {V1: R1, V2: R2})
    yield Target(machine, google)
    machine.private.close()


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the image be there already."""
    name = f"europe-west1-docker.pkg.dev/demo-project/demo/app@{DIGEST}"
    monkeypatch.setattr("delivery.cloudrun.target.Image.bring", lambda *_: name)
    return name


# Signing in, names


def test_a_login_takes_what_gcloud_is_set_to(laptop: Target) -> None:
    target = laptop.ready()
    assert target.url() == "https://demo.a.run.app"
    assert laptop.google.asked[0].endswith("/namespaces/demo-project/services/demo")
    assert laptop.google.asked[0].startswith("GET https://europe-west1-run.googleapis.com/")


def test_a_region_that_is_none_is_named(laptop: Target) -> None:
    with pytest.raises(MisuseError, match="RUN_REGION is 'Belgium'"):
        laptop.ready(RUN_REGION="Belgium")
    with pytest.raises(MisuseError, match="no region is chosen") as caught:
        place({}, Path(), "demo-project", "")
    assert "gcloud run regions list" in caught.value.then


@pytest.mark.parametrize("name", ["Demo", "1demo", "demo-", "a" * 22])
def test_a_service_whose_name_cannot_be_is_refused(laptop: Target, name: str) -> None:
    with pytest.raises(MisuseError, match="cannot be the name of the service"):
        laptop.ready(RUN_SERVICE=name)


def test_a_repository_that_is_none_is_named(laptop: Target) -> None:
    with pytest.raises(MisuseError, match="RUN_REPOSITORY"):
        laptop.ready(RUN_REPOSITORY="just words")


def test_without_a_name_the_service_must_be_set(laptop: Target) -> None:
    laptop.ready()
    (laptop.machine.project / "pyproject.toml").unlink()
    with pytest.raises(MisuseError, match="names no project"):
        CloudRun(laptop.machine.runner).login()


def test_a_version_must_fit_into_a_host_name_with_the_service(laptop: Target) -> None:
    target = laptop.ready(RUN_SERVICE="a" * 21)
    target.accept(V1)
    with pytest.raises(MisuseError, match="47 characters together"):
        target.accept(f"{V1}x")
    with pytest.raises(MisuseError, match="cannot be the name of a version"):
        target.accept("V1")


# Looking


def test_versions_are_what_has_a_tag(laptop: Target) -> None:
    first, second = laptop.ready().versions()
    assert (first.id, first.share, second.id, second.share) == (V1, 100, V2, 0)
    assert first.url == f"https://{V1}---demo.a.run.app"
    assert first.created.isoformat() == "2026-11-01T12:00:00+00:00"


def test_before_the_owner_made_the_service_there_is_nothing(laptop: Target) -> None:
    laptop.google.there = False
    target = laptop.ready()
    assert target.versions() == []
    assert target.serving() == {}
    target.settle()
    with pytest.raises(MisuseError, match="there is no service demo") as caught:
        target.url()
    assert "python -m delivery connect" in caught.value.then


def test_googles_sample_is_nothing_to_go_back_to(laptop: Target) -> None:
    laptop.google.serve({"demo-00001-abc": 100}, {})
    laptop.google.revisions["demo-00001-abc"] = (NEW, HELLO)
    assert laptop.ready().serving() == {}


def test_a_revision_without_a_tag_shows_under_its_name(laptop: Target) -> None:
    laptop.google.serve({"demo-00002-abc": 100}, {})
    assert laptop.ready().serving() == {"demo-00002-abc": 100}


def test_of_several_tags_the_one_of_a_commit_counts(laptop: Target) -> None:
    laptop.google.serve({R1: 100}, {"blue": R1, V1: R1})
    assert laptop.ready().serving() == {V1: 100}


def test_another_error_than_missing_is_passed_on(laptop: Target) -> None:
    def deny(*_: object) -> Answer:
        raise ApiError(403, "Permission 'run.services.get' denied")

    laptop.google._service = deny  # type: ignore[method-assign,assignment]
    target = laptop.ready()
    for look in (target.serving, target.url):
        with pytest.raises(CommandError, match=r"run\.services\.get") as caught:
            look()
        assert "roles/run.developer" in caught.value.then


# Deploying


def test_a_deployment_makes_a_revision_without_traffic_then_its_tag(
    laptop: Target, image: str
) -> None:
    version = "v20261101t140000-00000003"
    laptop.ready().deploy(version, laptop.machine.project)
    (ran,) = laptop.ran
    assert f"--image={image}" in ran
    assert "--no-traffic" in ran
    assert "--flags-file=cloudrun.yaml" in ran
    assert f"--update-env-vars=APP_REVISION={version}" in ran
    tags = {each["tag"]: each["revisionName"] for each in laptop.google.traffic if "tag" in each}
    assert tags[version].startswith(f"demo-{version}-")
    assert {each["revisionName"]: each["percent"] for each in laptop.google.traffic[:1]} == {
        R1: 100
    }


@pytest.mark.usefixtures("image")
def test_what_an_earlier_attempt_left_is_deleted(laptop: Target) -> None:
    laptop.google.revisions |= {
        f"demo-{V2}-cccc": (NEW, ""),
        "demo-v20200101t000000-00000009-dddd": (OLD, ""),
        "demo-v20261101t000000-00000008-eeee": ("2126-11-01T12:00:00Z", ""),
        "demo-00001-abc": (OLD, ""),
    }
    laptop.ready().deploy(V2, laptop.machine.project)
    # The one before is deleted as well: the tag leads to a new one.
    assert {*laptop.google.revisions} & {
        f"demo-{V2}-cccc", "demo-v20200101t000000-00000009-dddd"
    } == set()  # fmt: skip
    assert {"demo-v20261101t000000-00000008-eeee", "demo-00001-abc"} <= {*laptop.google.revisions}


@pytest.mark.usefixtures("image")
def test_a_revision_that_does_not_start_brings_its_log(laptop: Target) -> None:
    laptop.gcloud("echo 'ERROR: is not ready' >&2; exit 1")
    laptop.google.script(("entries:list", {"entries": [{"textPayload": "no module named x"}]}))
    with pytest.raises(CommandError, match="starting") as caught:
        laptop.ready().deploy(V2, laptop.machine.project)
    assert caught.value.log == "no module named x"
    assert laptop.google.traffic == laptop.google.asked_for


@pytest.mark.usefixtures("image")
def test_a_log_that_cannot_be_read_says_so(laptop: Target) -> None:
    laptop.gcloud("exit 1")
    laptop.google.script(("entries:list", refused(403, "logging.logEntries.list denied")))
    with pytest.raises(CommandError) as caught:
        laptop.ready().deploy(V2, laptop.machine.project)
    assert caught.value.log is not None
    assert caught.value.log.startswith("it could not be read")


def test_without_a_file_of_flags_nothing_is_deployed(laptop: Target, tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"cloudrun\.yaml"):
        laptop.ready().deploy(V2, tmp_path)


def test_a_dry_run_changes_nothing(laptop: Target, image: str) -> None:
    target = laptop.ready(dry_run=True)
    target.deploy(V2, laptop.machine.project)
    target.set_traffic({V2: 100})
    target.delete([V1])
    said = laptop.machine.results.getvalue()
    assert f"--image={image}" in said
    assert f"--to-tags={V2}=100" in said
    assert f"--remove-tags={V1}" in said
    assert not [words for words in laptop.google.asked if not words.startswith("GET")]


# Moving traffic


def test_traffic_moves_and_tags_stay(laptop: Target) -> None:
    laptop.google.lag = 3
    target = laptop.ready()
    assert target.serving() == {V1: 100}
    target.set_traffic({V1: 90, V2: 10})
    assert target.serving() == {V1: 90, V2: 10}
    assert {each["tag"] for each in laptop.google.traffic if "tag" in each} == {V1, V2}


def test_whoever_was_faster_wins(laptop: Target) -> None:
    target = laptop.ready()
    target.serving()
    laptop.google.version += 1
    with pytest.raises(CommandError, match="Conflict"):
        target.set_traffic({V2: 100})
    assert target.serving() == {V1: 100}


def test_a_lost_answer_is_no_lost_move(laptop: Target) -> None:
    laptop.google.faults, laptop.google.applied = [lost()], True
    target = laptop.ready()
    target.set_traffic({V2: 100})
    assert target.serving() == {V2: 100}


def test_a_lost_question_moved_nothing(laptop: Target) -> None:
    laptop.google.faults = [lost()]
    target = laptop.ready()
    with pytest.raises(CommandError, match="no answer"):
        target.set_traffic({V2: 100})
    assert target.serving() == {V1: 100}


def test_a_move_that_cannot_be_is_taken_back(laptop: Target) -> None:
    laptop.google.refusal = "Revision is not ready."
    target = laptop.ready()
    with pytest.raises(CommandError, match="could not do it") as caught:
        target.set_traffic({V2: 100})
    assert caught.value.why == "Revision is not ready."
    assert target.serving() == {V1: 100}
    assert [each.get("percent") for each in laptop.google.asked_for][:1] == [100]


def test_a_move_that_cannot_be_taken_back_is_not_known(laptop: Target) -> None:
    laptop.google.refusal = "Revision is not ready."
    target = laptop.ready()
    real = laptop.google._replace

    def once(request: object) -> None:
        real(request)  # type: ignore[arg-type]
        laptop.google.faults = [refused(403, "no more")]

    laptop.google._replace = once  # type: ignore[method-assign]
    with pytest.raises(UnsettledError, match="still asked for"):
        target.set_traffic({V2: 100})


def test_a_move_that_takes_too_long_is_not_known(laptop: Target) -> None:
    laptop.google.lag = 10_000
    with pytest.raises(UnsettledError, match="still under way after 9"):
        laptop.ready().set_traffic({V2: 100})
    assert laptop.machine.clock.now > 1000 + service_.PATIENCE
    assert "moving the traffic" in laptop.machine.said


def test_somebody_else_s_change_in_the_middle_is_told(laptop: Target) -> None:
    laptop.google.lag = 5
    target = laptop.ready()
    real = laptop.google._replace

    def overtaken(request: object) -> None:
        real(request)  # type: ignore[arg-type]
        laptop.google.asked_for = [{"revisionName": R1, "percent": 100}]

    laptop.google._replace = overtaken  # type: ignore[method-assign]
    laptop.google.refusal = "later"
    with pytest.raises(CommandError) as caught:
        target.set_traffic({V2: 100})
    assert "someone else has changed the service" in caught.value.why


def test_what_was_asked_for_in_vain_is_taken_back_first(laptop: Target) -> None:
    laptop.google.asked_for = [{"revisionName": R2, "percent": 100}]
    laptop.google.refusal = "Revision is not ready."
    laptop.ready().settle()
    assert laptop.google.asked_for[0] == {"revisionName": R1, "percent": 100}
    assert "Taken back: Revision is not ready." in laptop.machine.said


def test_settling_without_an_answer_is_not_known(laptop: Target) -> None:
    target = laptop.ready()
    real = laptop.google._service
    answers = iter([real(), lost()])

    def answer() -> object:
        found = next(answers, lost())
        if isinstance(found, Exception):
            raise found
        return found

    laptop.google._service = answer  # type: ignore[method-assign,assignment]
    with pytest.raises(UnsettledError):
        target.settle()


# Deleting


def test_a_deleted_version_loses_tag_and_revision(laptop: Target) -> None:
    laptop.google.latest = R1
    laptop.ready().delete([V2])
    assert [each.get("tag") for each in laptop.google.traffic] == [None, V1]
    assert {*laptop.google.revisions} == {R1}


def test_the_latest_revision_stays_without_its_tag(laptop: Target) -> None:
    laptop.ready().delete([V2])
    assert [each.get("tag") for each in laptop.google.traffic] == [None, V1]
    assert R2 in laptop.google.revisions


def test_what_has_traffic_is_not_deleted(laptop: Target) -> None:
    with pytest.raises(CommandError, match="cannot delete what has traffic"):
        laptop.ready().delete([V1])


def test_what_gets_traffic_meanwhile_is_not_deleted(laptop: Target) -> None:
    target, google = laptop.ready(), laptop.google
    plain = google._replace

    def overtaken(_: object) -> None:  # by somebody who moves traffic to it
        google._replace = plain  # type: ignore[method-assign]
        google.traffic = google.asked_for = [
            {"revisionName": R2, "percent": 100},
            {"revisionName": R1, "tag": V1},
            {"revisionName": R2, "tag": V2},
        ]
        raise refused(409, "Conflict")

    google._replace = overtaken  # type: ignore[assignment,method-assign]
    with pytest.raises(CommandError, match="cannot delete what has traffic"):
        target.delete([V2])
    assert V2 in [each.get("tag") for each in google.traffic]
    assert R2 in google.revisions


def test_a_conflict_of_tags_is_tried_again(laptop: Target) -> None:
    laptop.google.faults = [refused(409, "Conflict")] * 2
    laptop.ready().delete([V2])
    assert V2 not in [each.get("tag") for each in laptop.google.traffic]


def test_conflicts_without_end_are_passed_on(laptop: Target) -> None:
    laptop.google.faults = [refused(409, "Conflict")] * 20
    with pytest.raises(CommandError, match="Conflict"):
        laptop.ready().delete([V2])
    laptop.ready().delete(["v20200101t000000-00000000"])  # gone already


def revision_that(error: ApiError) -> Callable[..., object]:
    def refuse(*_: object) -> object:
        raise error

    return refuse


@pytest.mark.parametrize(("status", "fails"), [(404, False), (403, True)])
def test_a_revision_that_is_gone_is_no_error(laptop: Target, status: int, fails: bool) -> None:
    target = laptop.ready()
    laptop.google._revisions = revision_that(refused(status))  # type: ignore[method-assign,assignment]
    if fails:
        with pytest.raises(CommandError):
            target._services.delete_revision(R2)
    else:
        target._services.delete_revision(R2)


# Log, record


def test_the_log_is_that_of_the_revision(laptop: Target) -> None:
    laptop.google.script(
        ("entries:list", {"entries": [{"textPayload": "two"}, {"textPayload": "one"}]})
    )
    assert laptop.ready().log(V2) == ["one", "two"]
    assert f'revision_name="{R2}"' in laptop.google.body()["filter"]


def test_the_record_is_in_a_bucket_of_its_own(laptop: Target) -> None:
    laptop.google.script(
        ("GET", Answer(200, b"{}", {"x-goog-generation": "7"})),
        ("POST", {"generation": "8"}),
    )
    target = laptop.ready()
    stored = target.read_record()
    assert "/b/demo-project-delivery-europe-west1/o/demo.json" in laptop.google.asked[-1]
    assert target.write_record("{}", stored.tag)


def test_a_bucket_that_is_missing_is_made_by_the_owner(laptop: Target) -> None:
    laptop.google.script(("storage", refused(404, "The specified bucket does not exist.")))
    with pytest.raises(ApiError) as caught:
        laptop.ready().read_record()
    assert "python -m delivery connect --project demo-project" in caught.value.then
