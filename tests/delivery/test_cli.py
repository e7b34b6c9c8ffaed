"""The command line, from what is typed to the exit code."""

import os
import runpy
import signal
from pathlib import Path

import pytest
from delivery import cli
from delivery.check import Reply
from delivery.errors import AlarmError, DeliveryError, Interrupted, MisuseError
from delivery.process import Runner
from delivery.target import Target

from tests.delivery.fakes import NEW, OLD, PUBLIC, FakeTarget, program

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    """Give a target on which OLD serves and NEW waits, and which answers over the network."""
    made = FakeTarget().having(NEW, **{OLD.replace("-", "_"): 100})

    def fetch(url: str, timeout: float) -> Reply:
        assert timeout > 0
        host = url.split("/")[2].removesuffix(".test")
        revision = next(iter(made.serving())) if host == "app" else host
        return Reply(200, b'{"revision": "%s"}' % revision.encode())

    monkeypatch.setattr(cli, "fetch", fetch)
    return made


def run(target: FakeTarget, *argv: str, environ: dict[str, str] | None = None) -> int:
    return cli.main(argv, environ=environ or {}, create_target=lambda _: target)


def test_a_delivery_from_deploy_to_prune(
    target: FakeTarget, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(target, "deploy", "--version", "trial") == 0
    assert run(target, "verify", NEW, "--timeout", "5") == 0
    assert run(target, "promote", NEW, "--canary", "10") == 0
    assert run(target, "promote", NEW) == 0
    assert run(target, "rollback") == 0
    assert run(target, "prune", "--keep", "1") == 0
    assert target.done == [
        "deploy trial",
        f"traffic {OLD}=90 {NEW}=10",
        f"traffic {NEW}=100",
        f"traffic {OLD}=100",
    ]
    assert capsys.readouterr().out.splitlines()[-1] == PUBLIC


def test_status_review_and_stop(
    target: FakeTarget, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(target, "status") == 0
    assert capsys.readouterr().out.splitlines()[-1] == PUBLIC
    code = cli.main(
        ["review", "7"], environ={"CI": "true"}, root=tmp_path, create_target=lambda _: target
    )
    assert code == 0
    assert (tmp_path / "review.env").read_text() == "REVIEW_URL=https://mr-7.test\n"
    assert run(target, "stop", "7") == 0


def test_a_laptop_gets_no_file_about_its_review_app(target: FakeTarget, tmp_path: Path) -> None:
    assert cli.main(["review", "7"], environ={}, root=tmp_path, create_target=lambda _: target) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["explode"],
        ["promote", "--canary", "0"],
        ["promote", "--canary", "100"],
        ["promote", "--canary", "ten"],
        ["verify", "--timeout", "0"],
        ["verify", "--timeout", "soon"],
        ["prune", "--keep", "all"],
        ["review"],
        ["deploy", "--vers", "x"],
    ],
)
def test_wrong_usage_ends_with_2_and_touches_nothing(target: FakeTarget, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(target, *argv)
    assert caught.value.code == 2
    assert target.done == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(DeliveryError("x"), 1), (MisuseError("x"), 2), (AlarmError("x"), 5)],
)
def test_each_kind_of_failure_has_its_exit_code(
    target: FakeTarget, error: DeliveryError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    target.failures["login"] = [error]
    assert run(target, "status") == code
    output = capsys.readouterr()
    assert output.out == ""
    assert "FAILED: x" in output.err
    assert "production: unchanged" in output.err


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_command_and_says_what_became_of_production(
    target: FakeTarget, signum: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    tidied_up = []

    def interrupted(_: object) -> None:
        try:
            os.kill(os.getpid(), signum)
        finally:
            os.kill(os.getpid(), signum)  # impatience does not cut the tidying up short
            tidied_up.append(True)

    target.set_traffic = interrupted  # type: ignore[assignment,method-assign]
    before = signal.getsignal(signum)
    assert run(target, "promote", NEW) == 128 + signum
    assert signal.getsignal(signum) is before
    assert tidied_up
    said = capsys.readouterr().err
    assert f"stopped by {signum.name}" in said
    assert f"traffic was being moved to {NEW} 100 %, from {OLD} 100 %" in said


def test_a_signal_before_the_verb_has_begun_is_no_crash(target: FakeTarget) -> None:
    def create(_: Runner) -> Target:
        raise Interrupted(15)

    assert cli.main(["status"], environ={}, create_target=create) == 143
    assert target.done == []


@pytest.mark.parametrize(("function", "code"), [("url", 1), ("done", 5)])
def test_a_mistake_in_this_code_does_not_hide_the_state_of_production(
    target: FakeTarget, function: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    if function == "url":
        target.url = broken  # type: ignore[assignment]
    else:
        target.failures["set_traffic"] = [None]
        original = target.set_traffic

        def set_traffic(split: dict[str, float]) -> None:
            original(split)
            target.deployed.clear()
            raise ZeroDivisionError

        target.set_traffic = set_traffic  # type: ignore[assignment,method-assign]
    assert run(target, "promote", NEW) == code
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "production: " + ("unchanged" if code == 1 else "traffic was being moved") in said


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for word in (
        *("deploy", "verify", "promote", "rollback", "prune", "status", "review", "stop"),
        *("GAE_PROJECT", "GAE_KEY", "GCP_SERVICE_ACCOUNT", "exit codes:", "--dry-run"),
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_python_m_delivery_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["delivery", "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("delivery", run_name="__main__")
    assert caught.value.code == 0


def test_a_job_that_lacks_a_variable_stops_before_any_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.yaml").write_text("")
    assert cli.main(["deploy"], environ={"CI": "true"}, root=tmp_path) == 2
    assert "not set: GAE_PROJECT" in capsys.readouterr().err


posix = pytest.mark.skipif(os.name == "nt", reason="the stand-in for gcloud is a shell script")
GCLOUD = """\
case "$*" in
  *versions\\ list*) echo '[{"id": "v1", "traffic_split": 1, "version":
    {"versionUrl": "https://v1.test", "createTime": "2026-11-23T00:01:00Z"}}]' ;;
  *browse*) echo '{"url": "https://app.test"}' ;;
  *) echo '{}' ;;
esac
"""


@posix
@pytest.mark.parametrize("order", [["--dry-run", "deploy"], ["deploy", "--dry-run"]])
def test_a_dry_run_prints_the_command_that_a_person_could_type(
    tmp_path: Path, order: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.yaml").write_text("")
    program(tmp_path / "bin", "gcloud", GCLOUD)
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "GAE_PROJECT": "demo-project"}
    assert cli.main([*order, "--version", "v2"], environ=environ, root=root) == 0
    output = capsys.readouterr()
    assert output.out == (
        "gcloud app deploy app.yaml --version=v2 --no-promote --quiet"
        " --project=demo-project --format=json\n"
    )
    assert "$ gcloud app versions list" in output.err


@posix
def test_credentials_are_gone_and_unseen_when_the_command_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "app.yaml").write_text("")
    note = tmp_path / "note"
    program(
        tmp_path / "bin",
        "gcloud",
        f'ls "$CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE" > {note}; env >> {note}\n{GCLOUD}',
    )
    environ = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "CI": "true",
        "GAE_PROJECT": "demo-project",
        "GCP_WORKLOAD_IDENTITY_PROVIDER": (
            "projects/1/locations/global/workloadIdentityPools/pool/providers/gitlab"
        ),
        "GCP_SERVICE_ACCOUNT": "d@demo-project.iam.gserviceaccount.com",
        "GITLAB_OIDC_TOKEN": "secret-token",
    }
    assert cli.main(["status"], environ=environ, root=root) == 0
    file, *seen = note.read_text().splitlines()
    assert file.endswith("credentials.json")
    assert not Path(file).parent.exists()
    output = capsys.readouterr()
    assert "secret-token" not in "".join([*seen, output.out, output.err])
    assert list(root.iterdir()) == [root / "app.yaml"]
