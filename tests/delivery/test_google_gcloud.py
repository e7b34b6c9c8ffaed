"""Running gcloud, with stand-ins for it: what is tried again, and what it is told."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery.errors import CommandError, MisuseError
from delivery.google import gcloud

from tests.delivery.machine import Machine, posix
from tests.delivery.test_google_advice import FORBIDDEN, HTTP_503

pytestmark = posix


@pytest.fixture(autouse=True)
def _no_pauses(machine: Machine) -> Iterator[None]:
    machine.stop_the_clock()
    yield
    machine.private.close()


def run(machine: Machine, *args: str, changes_in: Path | None = None) -> str:
    environ = {**machine.runner.environ, "GREETING": "hello"}
    return gcloud.run(
        machine.runner,
        *args,
        environ=environ,
        doing="looking",
        role="roles/x",
        changes_in=changes_in,
    )


def failing(machine: Machine, words: str, times: int = 99) -> Path:
    """Install a gcloud that fails some times with these words; return where it counts."""
    count, said = machine.folder / "count", machine.folder / "words"
    said.write_text(words)
    machine.install(
        "gcloud",
        f'echo >> "{count}"; [ "$(wc -l < "{count}")" -gt {times} ] && exec echo done\n'
        f'cat "{said}" >&2; exit 1',
    )
    return count


def attempts(count: Path) -> int:
    return len(count.read_text().splitlines())


def test_gcloud_gets_its_arguments_and_its_environment(machine: Machine) -> None:
    machine.install("gcloud", 'echo "$GREETING $* $(pwd)"')
    assert run(machine, "app", "list") == f"hello app list {machine.project.resolve()}\n"
    assert run(machine, "app", "deploy", changes_in=machine.folder).endswith(
        f"app deploy {machine.folder.resolve()}\n"
    )


def test_a_dry_run_prints_what_changes_something_and_asks_who_we_are(tmp_path: Path) -> None:
    machine = Machine(tmp_path, dry_run=True)
    machine.install("gcloud", "echo account")
    with machine.private:
        assert run(machine, "app", "deploy", changes_in=tmp_path) == ""
        assert run(machine, "config") == "account\n"
    assert machine.results.getvalue() == "gcloud app deploy\n"
    assert machine.said == ""


@pytest.mark.parametrize(
    "words",
    [
        HTTP_503,
        HTTP_503.replace("503", "409"),
        "Issue setting traffic on service(s): default\n\nABORTED: Operation in progress",
        "[default/v3]: RESOURCE_EXHAUSTED: slow down",
        "INTERNAL: oops",
        "UNAVAILABLE: oops",
        "DEADLINE_EXCEEDED: oops",
        "('Connection aborted.', RemoteDisconnected())",
        "The read operation timed out",
        "ERROR: (gcloud.app.deploy) Error Response: [14] unavailable",
    ],
)
def test_what_passes_by_itself_is_recognised(words: str) -> None:
    assert gcloud.is_transient(words)


@pytest.mark.parametrize(
    "words",
    [
        FORBIDDEN,
        "ERROR: Error Response: [9] Cloud build failed.\npip: HTTP 503 UNAVAILABLE",
        "PERMISSION_DENIED: You may not. Later: UNAVAILABLE",
        "ERROR: (gcloud.app.deploy) Error Response: [13] An internal error occurred",
        "Version [v1] is currently serving",
        "NameResolutionError: Failed to resolve 'appengine.googleapis.com'",
        "",
    ],
)
def test_what_does_not_pass_by_itself_is_recognised(words: str) -> None:
    assert not gcloud.is_transient(words)


def test_what_passes_is_tried_again(machine: Machine) -> None:
    count = failing(machine, "UNAVAILABLE: oops", times=2)
    assert run(machine) == "done\n"
    assert attempts(count) == 3
    assert machine.clock.pauses == [1, 2]
    assert "looking: UNAVAILABLE: oops; trying again in 2 s" in machine.said


def test_trying_again_comes_to_an_end(machine: Machine) -> None:
    count = failing(machine, HTTP_503)
    with pytest.raises(CommandError, match="looking: gcloud failed") as caught:
        run(machine)
    assert 5 < attempts(count) < 12
    assert 60 < machine.clock.now - 1000 <= 90
    assert caught.value.transient
    assert "can be repeated" in caught.value.then
    assert "(from https://x.test" in caught.value.why


def test_what_does_not_pass_is_not_tried_again_and_says_what_is_missing(machine: Machine) -> None:
    count = failing(machine, FORBIDDEN)
    with pytest.raises(CommandError) as caught:
        run(machine)
    assert attempts(count) == 1
    assert not caught.value.transient
    assert "grant the deploying account roles/x" in caught.value.then


def test_a_gcloud_that_hangs_is_stopped_once_and_not_tried_again(machine: Machine) -> None:
    machine.console.beat = 0.01
    count = machine.folder / "count"
    machine.install("gcloud", f'echo >> "{count}"; echo UNAVAILABLE >&2; sleep 60')
    machine.runner.clock = iter(range(0, 10_000, 50)).__next__
    with pytest.raises(CommandError, match="no answer within 90 s") as caught:
        run(machine)
    assert caught.value.timed_out
    assert not caught.value.transient
    assert caught.value.why == "it said nothing"


def test_a_gcloud_that_is_missing_is_named(machine: Machine) -> None:
    machine.runner.environ = {"PATH": "/nowhere"}
    with pytest.raises(MisuseError, match="gcloud is not on the PATH"):
        run(machine)
