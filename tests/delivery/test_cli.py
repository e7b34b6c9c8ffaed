"""The command line, from what is typed to the exit code."""

import http.server
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from delivery import cli
from delivery.appengine import DESTINATION
from delivery.destination import Destination
from delivery.errors import (
    AlarmError,
    DeliveryError,
    Interrupted,
    MisuseError,
    RefusedError,
    RestoredError,
)
from delivery.process import Runner
from delivery.target import Target

from tests.conftest import Bake
from tests.delivery.machine import ROOT, posix, program
from tests.delivery.memory import NEW, OLD, PUBLIC, MemoryTarget, failing
from tests.support.tools import require

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> MemoryTarget:
    """Make a target on which OLD serves and NEW waits, and which answers over the network."""
    made = MemoryTarget()
    monkeypatch.setattr(cli, "fetch", made.fetch)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    return made


def run(
    target: MemoryTarget, root: Path, *argv: str, environ: Mapping[str, str] | None = None
) -> int:
    given = {"PATH": os.environ["PATH"]} | dict(environ or {})
    return cli.main(Destination(lambda _: target, ""), argv, environ=given, root=root)


def git(root: Path, *args: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *args], cwd=root, check=True, capture_output=True)


@pytest.fixture
def clone(root: Path) -> Path:
    """Make the project a clone with a commit."""
    require("git")
    git(root, "init", "-q")
    (root / "app.yaml").write_text("runtime: python314\n")
    git(root, "add", "--all")
    git(root, "commit", "-qm", "One")
    return root


def test_every_verb_runs(
    target: MemoryTarget, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        "promote --timeout 5 " + OLD,  # so that the record knows it
        "deploy --version trial",
        f"verify {NEW} --timeout 5",
        f"promote {NEW} --canary 10",
        f"promote {NEW}",
        "rollback",
        "prune --keep 1",
        "status",
        "log -n 3",
    ):
        assert run(target, clone, *command.split()) == 0, command
    assert target.done == [
        "deploy trial",
        f"traffic {OLD}=90 {NEW}=10",
        f"traffic {NEW}=100",
        f"traffic {OLD}=100",
    ]
    printed = capsys.readouterr().out
    assert PUBLIC in printed
    assert "rollback" in printed


def test_review_leaves_its_address_and_stop_deletes_it(target: MemoryTarget, clone: Path) -> None:
    assert run(target, clone, "review", "7", environ={"CI": "true"}) == 0
    assert (clone / "review.env").read_text() == "REVIEW_URL=https://mr-7.test\n"
    assert run(target, clone, "stop", "7") == 0
    assert target.done == ["deploy mr-7", "delete mr-7"]


def test_a_laptop_gets_no_file_about_its_review_app(target: MemoryTarget, clone: Path) -> None:
    assert run(target, clone, "review", "7") == 0
    assert {path.name for path in clone.iterdir()} == {".git", "app.yaml"}


@pytest.mark.parametrize(
    "command",
    [
        "",
        "explode",
        *("promote --canary 0", "promote --canary 100", "promote --canary ten"),
        *("verify --timeout 0", "verify --timeout 3601", "verify --timeout soon"),
        "verify --timeout nan",
        "prune --keep all",
        *("log -n 0", "log -n many"),
        "review",
        "deploy --vers x",
        "promote a b",
    ],
)
def test_wrong_usage_ends_with_2_and_touches_nothing(
    target: MemoryTarget, root: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(target, root, *command.split())
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "usage: python -m delivery" in said
    assert "invalid _" not in said  # argparse's own words name a function of ours
    assert target.done == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DeliveryError("x"), 1),
        (MisuseError("x"), 2),
        (RefusedError("x"), 3),
        (RestoredError("x"), 4),
        (AlarmError("x"), 5),
    ],
)
def test_each_kind_of_failure_has_its_exit_code(
    root: Path, error: DeliveryError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), root, "status") == code
    output = capsys.readouterr()
    assert output.out == ""
    assert "FAILED: x" in output.err
    assert "production: unchanged" in output.err


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_command_and_says_what_became_of_production(
    target: MemoryTarget,
    root: Path,
    signum: signal.Signals,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tidied_up = []

    def interrupted(_: object) -> None:
        try:
            os.kill(os.getpid(), signum)
        finally:
            os.kill(os.getpid(), signum)  # impatience does not cut the tidying up short
            tidied_up.append(True)

    monkeypatch.setattr(target, "set_traffic", interrupted)
    before = signal.getsignal(signum)
    assert run(target, root, "promote", NEW) == 128 + signum
    assert signal.getsignal(signum) is before
    assert tidied_up
    said = capsys.readouterr().err
    assert f"stopped by {signum.name}" in said
    assert f"traffic was being moved to {NEW} 100 %, from {OLD} 100 %" in said


def test_a_signal_before_the_verb_has_begun_is_no_crash(root: Path) -> None:
    def create(_: Runner) -> Target:
        raise Interrupted(15)

    assert cli.main(Destination(create, ""), ["status"], environ={}, root=root) == 143


@pytest.mark.parametrize(("function", "code"), [("url", 1), ("set_traffic", 5)])
def test_a_mistake_in_this_code_does_not_hide_the_state_of_production(
    target: MemoryTarget,
    root: Path,
    function: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target.failures[function] = ZeroDivisionError()
    assert run(target, root, "promote", NEW) == code
    said = capsys.readouterr().err
    assert "a mistake in delivery/ itself" in said
    assert "Traceback" in said
    assert "production: " + ("unchanged" if code == 1 else "NOT KNOWN: traffic was being") in said


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(DESTINATION, ["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (
        *("deploy", "verify", "promote", "rollback", "prune", "status", "review", "stop", "log"),
        *("GAE_PROJECT", "GAE_KEY", "GCP_SERVICE_ACCOUNT", "exit codes:", "--dry-run"),
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_job_that_lacks_a_variable_stops_before_any_command(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "app.yaml").write_text("")
    assert cli.main(DESTINATION, ["deploy"], environ={"CI": "true"}, root=root) == 2
    assert "not set: GAE_PROJECT" in capsys.readouterr().err


# Readers that go away: real programs, real pipes

AS_USUAL, BROKEN, CLOSED = "as usual", "broken", "closed"


def speak(
    root: Path, *argv: str, out: str = AS_USUAL, err: str = AS_USUAL, **environ: str
) -> tuple[int, str, list[str]]:
    """Run a verb on a target in memory, with streams that nobody reads any more, or without them.

    Return its exit code, what could be read of both streams, and what it changed.
    """
    gate, opened = os.pipe()
    done = root.parent / "done"
    redirect = "".join(f" {number}>&-" for number, state in ((1, out), (2, err)) if state == CLOSED)
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",
        "ROOT": str(root),
        "DONE": str(done),
        "GATE": str(gate),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT.parent, ROOT))),
    }
    verb = shlex.join([sys.executable, "-m", "tests.delivery.memory", *argv])
    with subprocess.Popen(
        ["sh", "-c", f"exec {verb}{redirect}"],
        cwd=root,
        env=given | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(gate,),
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for stream, state in ((process.stdout, out), (process.stderr, err)):
            if state == BROKEN:
                stream.close()
        os.close(gate)
        os.close(opened)  # now it begins
        said = "".join(s.read() for s in (process.stdout, process.stderr) if not s.closed)
        code = process.wait(30)
    return code, said, done.read_text().splitlines()


STREAMS = [(AS_USUAL, BROKEN), (BROKEN, BROKEN), (CLOSED, CLOSED)]


@posix
@pytest.mark.parametrize(("out", "err"), STREAMS)
@pytest.mark.parametrize(
    ("argv", "ill", "expected", "changes"),
    [
        (["status"], "", 0, []),
        (["--help"], "", 0, []),
        (["explode"], "", 2, []),
        (["promote", NEW], "", 0, [f"traffic {NEW}=100"]),
        (
            ["promote", NEW, "--timeout", "0.4"],
            NEW,
            4,
            [f"traffic {NEW}=100", f"traffic {OLD}=100"],
        ),
        (["rollback"], "", 3, []),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and value else None,
)
def test_a_line_that_cannot_be_written_changes_nothing(  # noqa: PLR0913, PLR0917
    root: Path, out: str, err: str, argv: list[str], ill: str, expected: int, changes: list[str]
) -> None:
    """Least of all the way back: production must not stay broken because nobody listens."""
    code, said, done = speak(root, *argv, out=out, err=err, ILL=ill)
    assert code == expected
    assert done == changes
    assert "Exception" not in said
    assert "Error" not in said


def admin(path: str) -> object:
    """Answer as the Admin API and Cloud Storage do, for one version that serves."""
    if path.endswith("/versions?view=BASIC&pageSize=100"):
        one = {"id": OLD, "versionUrl": "https://v.test", "createTime": "2026-11-23T00:01:00Z"}
        return {"versions": [one]}
    if "/services/" in path:
        return {"split": {"allocations": {OLD: 1}}}
    if "/o/" in path:
        return {"format": 1, "moves": [], "held": {}}
    return {"defaultHostname": "app.test", "defaultBucket": "bucket"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Stands in for Google."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Goog-Generation", "1")
        self.end_headers()
        self.wfile.write(json.dumps(admin(self.path)).encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def google() -> Iterator[dict[str, str]]:
    """Return the variables that lead to a stand-in for Google."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.server_port}/"
        yield {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_APPENGINE": url,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": url + "storage/v1/",
            "no_proxy": "127.0.0.1",
        }
        listening.shutdown()
        thread.join()


GCLOUD = """\
[ -z "$CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE" ] ||
  ls "$CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE" > "$NOTE"
env >> "$NOTE"
echo '{"credential": {"access_token": "ya29.t0k3n"}}'
"""


@posix
def test_python_m_delivery_status_head_1_ends_well(
    tmp_path: Path, google: dict[str, str], render: Bake
) -> None:
    """The whole command, its App Engine included, in a project whose shell minds pipes."""
    (tmp_path / "app.yaml").write_text("runtime: python314\n")
    (tmp_path / "delivery").symlink_to(render().path / "delivery")
    program(tmp_path / "bin", "gcloud", GCLOUD)
    environ = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "GAE_PROJECT": "demo-project",
        "NOTE": str(tmp_path / "note"),
    }
    verb = f"{shlex.quote(sys.executable)} -m delivery status; echo $? > code"
    done = subprocess.run(
        ["sh", "-c", f"{{ {verb}; }} | head -1"],
        cwd=tmp_path,
        env=environ | google,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (tmp_path / "code").read_text() == "0\n", done.stderr
    assert done.stdout.split() == ["VERSION", "TRAFFIC", "KNOWN", "AGE", "URL"]
    assert "Exception" not in done.stderr


@posix
def test_credentials_are_gone_and_unseen_when_the_command_has_ended(
    root: Path,
    google: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (root / "app.yaml").write_text("")
    note = root.parent / "note"
    program(root.parent / "bin", "gcloud", GCLOUD)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    key = dict.fromkeys(("client_email", "private_key_id", "token_uri"), "x")
    key |= {"type": "service_account", "private_key": "s3cr3t"}
    environ = {
        "PATH": f"{root.parent / 'bin'}:/usr/bin:/bin",
        "NOTE": str(note),
        "CI": "true",
        "GAE_PROJECT": "demo-project",
        "GAE_KEY": json.dumps(key),
    }
    assert cli.main(DESTINATION, ["status"], environ=environ | google, root=root) == 0
    file, *seen = note.read_text().splitlines()
    assert file.endswith("credentials.json")
    assert not Path(file).parent.exists()
    output = capsys.readouterr()
    for secret in ("s3cr3t", "ya29"):
        assert secret not in "".join([*seen, output.out, output.err])
    assert list(root.iterdir()) == [root / "app.yaml"]


@posix
@pytest.mark.parametrize("order", [["--dry-run", "deploy"], ["deploy", "--dry-run"]])
def test_a_dry_run_prints_the_command_that_a_person_could_type(
    clone: Path,
    google: dict[str, str],
    order: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program(clone.parent / "bin", "gcloud", GCLOUD)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    environ = {
        "PATH": f"{clone.parent / 'bin'}:{os.environ['PATH']}",
        "NOTE": os.devnull,
        "GAE_PROJECT": "demo-project",
    }
    assert (
        cli.main(DESTINATION, [*order, "--version", "v2"], environ=environ | google, root=clone)
        == 0
    )
    assert capsys.readouterr().out.splitlines()[0] == (
        "gcloud app deploy app.yaml --version=v2 --no-promote --quiet"
        " --project=demo-project --format=json"
    )


@pytest.mark.parametrize("verb", ["promote", "rollback", "verify"])
def test_an_empty_version_is_not_the_same_as_none(
    root: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """A script's variable that is not set must not promote whatever is checked out."""
    with pytest.raises(SystemExit) as stopped:
        run(MemoryTarget(), root, verb, "")
    assert stopped.value.code == 2
    assert "name a version, or leave it out" in capsys.readouterr().err
