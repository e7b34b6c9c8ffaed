"""What every target promises: nothing unverified gets traffic, no request is lost, and every verb
can be repeated after a kill.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.clone import CRASHES, FAILS, HANGS, REDIRECTS, ended, impostor, wait_until
from tests.support.sample import scenarios, seeded
from tests.support.visitors import Load
from tests.targets.appengine import AppEngineWorld
from tests.targets.cloudrun import CloudRunWorld
from tests.targets.dockerhost import DockerHostWorld
from tests.targets.scenes import agree, another, on, start_over
from tests.targets.world import World

WORLDS: list[type[World]] = [AppEngineWorld, CloudRunWorld, DockerHostWorld]
pytestmark = [pytest.mark.targets, on(*WORLDS)]

TIMEOUT = ("--timeout", "5")
VERBS = ("deploy", "verify", "promote", "canary", "rollback", "prune", "review", "stop")


def test_the_second_delivery_loses_no_request(world: World) -> None:
    with Load(world.where()) as load:
        version = world.commit({"app/static/new.txt": "second"})
        world.upload()
        assert world.traffic() == {world.first: 100}
        world.must_run("verify")
        world.must_run("promote", "--canary", "10")
        world.must_run("promote")
        assert world.traffic() == {version: 100}
        world.must_run("rollback")
        assert world.traffic() == {world.first: 100}
        held = world.run("promote", version)
        assert held.code == 3, held.said
        world.must_run("promote", "--force", version)
        world.must_run("prune", "--keep", "1")
    assert load.lost == []
    assert set(load.revisions) == {world.first, version}
    assert world.versions() == {world.first, version}
    agree(world)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        pytest.param(CRASHES, "no start", id="crashes"),
        pytest.param(HANGS, "answer|50[034]|ready|startup", id="hangs"),
        pytest.param(impostor("v20200101t000000-00000000"), "v20200101t", id="is another"),
        pytest.param(FAILS, "500", id="500 on the page"),
        pytest.param(REDIRECTS, "elsewhere.example", id="sends its visitors elsewhere"),
    ],
)
def test_a_version_that_does_not_work_gets_no_traffic_and_is_deleted(
    world: World, files: dict[str, str], reason: str
) -> None:
    version = world.commit(files)
    with Load(world.where(), visitors=1) as load:
        failed = world.run("deploy", **world.build())
        if failed.code == 0:
            failed = world.run("verify", *TIMEOUT)
    assert failed.code == 1, failed.said
    assert re.search(reason, failed.err), failed.err
    assert re.search(r"production: +unchanged", failed.err)
    assert version not in world.versions()
    assert world.traffic() == {world.first: 100}
    assert load.lost == []
    assert set(load.revisions) == {world.first}


def test_a_canary_gets_its_share_and_a_rollback_takes_it_away(world: World) -> None:
    version = world.commit()
    world.upload()
    world.must_run("promote", "--canary", "30")
    assert world.traffic() == {world.first: 70, version: 30}
    with Load(world.where(), pause=0.01) as load:
        wait_until(lambda: load.revisions.total() > 200)
    assert load.lost == []
    share = load.revisions[version] / load.revisions.total()
    assert 0.15 < share < 0.45, load.revisions
    world.must_run("rollback")
    assert world.traffic() == {world.first: 100}
    held = world.run("promote")
    assert held.code == 3, held.said
    agree(world)


def test_a_review_app_lives_beside_production(world: World) -> None:
    world.git("checkout", "--quiet", "-b", "topic")
    world.commit({"app/static/new.txt": "review"})
    image = world.build()
    url = world.must_run("review", "7", **image).out.strip()
    assert (world.path / "review.env").read_text() == f"REVIEW_URL={url}\n"
    world.must_run("review", "7", **image)  # the next push
    assert world.versions() == {world.first, "mr-7"}
    assert world.traffic() == {world.first: 100}
    refused = world.run("promote", "mr-7")
    assert refused.code == 3, refused.said
    assert "mr-7" in world.must_run("status").out
    world.must_run("prune", "--keep", "1")
    world.must_run("stop", "7")
    world.must_run("stop", "7")
    assert world.versions() == {world.first}


def test_logs_shows_what_a_version_wrote(world: World) -> None:
    version = world.commit(
        {"gunicorn.conf.py": (world.path / "gunicorn.conf.py").read_text("utf-8") + LOUD}
    )
    world.upload()
    world.must_run("verify")
    wait_until(lambda: "as loud as can be" in world.must_run("logs", version).out)


LOUD = """

def when_ready(server):
    server.log.info("as loud as can be")
"""


def test_dry_runs_change_nothing(world: World) -> None:
    world.commit()
    for command in (["deploy"], ["promote", world.first], ["prune"], ["stop", "7"]):
        world.must_run("--dry-run", *command, **world.build())
    assert world.versions() == {world.first}
    assert world.traffic() == {world.first: 100}


class TestKilled:
    """By SIGKILL, and repeated: the end is that of one clean run, and no request is lost."""

    @pytest.mark.parametrize("verb", ["deploy", "verify", "promote", "rollback", "prune"])
    def test_at_each_step_that_it_says(self, world: World, verb: str) -> None:
        command, done, codes = prepare(world, verb)
        back = world.bookmark()
        with Load(world.where(), visitors=2) as load:
            line = 1
            while kill_at_line(world, line, *command):
                assert sum(world.traffic().values()) == pytest.approx(100)
                outcome = world.run(*command, **world.build())
                assert outcome.code in codes, outcome.said
                assert done(), outcome.said
                back()
                line += 1
        assert load.lost == []
        agree(world)

    @pytest.mark.scenario
    @scenarios(VERBS, 1)
    def test_at_some_moment(self, world: World, name: str, seed: str) -> None:
        moments = seeded(f"{name} {seed}")
        command, done, codes = prepare(world, name)
        with Load(world.where(), visitors=2) as load:
            for _ in range(2):
                kill_after(world, moments.uniform(0.05, 2.5), *command)
                assert sum(world.traffic().values()) == pytest.approx(100)
            outcome = world.run(*command, **world.build())
        assert outcome.code in codes, outcome.said
        assert done(), outcome.said
        assert load.lost == []
        agree(world)


AT_ONCE = {
    "two promotions": ("promote", "promote"),
    "promotion and rollback": ("promote", "rollback"),
    "two rollbacks": ("rollback", "rollback"),
    "promotion and prune": ("promote", "prune"),
}


@pytest.mark.scenario
@scenarios(AT_ONCE, 2)
def test_two_at_once(world: World, name: str, seed: str) -> None:
    """The record tells the truth, whoever comes first; a newer commit is not undone."""
    moments = seeded(f"{name} {seed}")
    versions = [another(world, 5), another(world, 6), another(world, 7)]
    world.must_run("promote", versions[0])
    verbs = AT_ONCE[name]
    with Load(world.where(), visitors=2) as load:
        started = []
        for verb, version in zip(verbs, versions[1:], strict=True):
            named = [version] if verb == "promote" else []
            started.append(world.start(verb, *named, **world.job()))
            time.sleep(moments.uniform(0, 1.2))  # the moment is what the scenario is about
        said = [ended(process) for process in started]
    assert load.lost == []
    assert set(world.traffic().values()) == {100}, said
    if set(verbs) == {"promote"}:
        assert world.traffic() == {versions[2]: 100}, said
    agree(world)


# What the tests do


Work = tuple[list[str], Callable[[], bool], set[int]]


def prepare(world: World, verb: str) -> Work:
    """Bring about what a verb can work on; return the command, what is true after it, its codes."""
    start_over(world)
    first = world.first
    if verb == "deploy":
        version = world.commit({"app/static/new.txt": "deployed"})
        return ["deploy"], lambda: world.versions() == {first, version}, {0}
    if verb == "review":
        world.commit({"app/static/new.txt": "reviewed"})
        return ["review", "7"], lambda: world.versions() == {first, "mr-7"}, {0}
    if verb == "stop":
        world.must_run("review", "7", **world.build())
        return ["stop", "7"], lambda: world.versions() == {first}, {0}
    if verb == "verify":
        version = world.commit(FAILS)
        world.upload()
        # Repeated, `verify` finds that the failed version is gone, and must not call that success.
        return ["verify", *TIMEOUT], lambda: version not in world.versions(), {1, 3}
    return prepare_move(world, verb)


def prepare_move(world: World, verb: str) -> Work:
    """Do so for a verb that needs a version beside the first."""
    first, version = world.first, another(world, 5)
    if verb == "promote":
        return ["promote", version], lambda: world.traffic() == {version: 100}, {0}
    if verb == "canary":
        split = {first: 80.0, version: 20.0}
        return ["promote", version, "--canary", "20"], lambda: world.traffic() == split, {0}
    world.must_run("promote", version)
    if verb == "rollback":
        return ["rollback"], lambda: world.traffic() == {first: 100}, {0}
    newest = another(world, 6)
    world.must_run("promote", newest)
    return ["prune", "--keep", "1"], lambda: world.versions() == {version, newest}, {0}


@contextmanager
def started(world: World, *command: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a verb as a job does; kill it at the end, and see that nothing of it is left."""
    with world.start(*command, **world.job(), **world.build()) as process:
        try:
            yield process
        finally:
            process.kill()
            out, err = process.communicate(timeout=30)
    wait_until(lambda: world.left_over() == [])
    world.expect_no_credential(out + err)


def kill_at_line(world: World, number: int, *command: str) -> bool:
    """Kill a verb as soon as it has said so many lines; return whether it was still at work."""
    with started(world, *command) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(number)]
        return all(said) and not any(line.startswith(("FAILED", "  ...")) for line in said)


def kill_after(world: World, seconds: float, *command: str) -> None:
    """Kill a verb after so many seconds, if it has not ended by then."""
    with started(world, *command) as process:
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return
