"""What each end of ssh means for a delivery. The texts are OpenSSH's, sudo's and a shell's own."""

from pathlib import Path

import pytest
from delivery.dockerhost.place import Place
from delivery.dockerhost.ssh import ATTEMPTS, DOCTOR, Host
from delivery.errors import (
    CommandError,
    ConflictError,
    DeliveryError,
    MisuseError,
    UnsettledError,
)

from tests.delivery.ssh import Ssh, answer, ended

pytestmark = pytest.mark.fast

ONCE = 1


def host(ssh: Ssh, *options: str, address: str = "shop.test") -> Host:
    return Host(ssh.machine.runner, Place(address, 2222, "demo"), options)


def attempt(ssh: Ssh, *, changes: bool) -> DeliveryError:
    """Ask, in vain; return the error."""
    made = host(ssh)
    with pytest.raises(DeliveryError) as caught:
        (made.change if changes else made.ask)("verb", doing="asking")
    return caught.value


def transient(error: DeliveryError) -> bool:
    return isinstance(error, CommandError) and error.transient


def test_a_question_is_one_ssh_without_a_terminal_or_a_prompt(ssh: Ssh, tmp_path: Path) -> None:
    ssh.answers = [answer(["an answer"])]
    ssh.machine.runner.environ = {
        **ssh.machine.runner.environ,
        "LC_ALL": "de_DE",
        "DEPLOY_KEY": "secret",
        "CI_REGISTRY_PASSWORD": "secret",
    }
    (tmp_path / "data").write_text("data")
    made = host(ssh, "-i", "key")
    assert made.change("verb", "word", doing="asking", stdin=tmp_path / "data") == ["an answer"]
    (argv,) = ssh.ran
    assert argv[:6] == ["ssh", "-T", "-i", "key", "-p", "2222"]
    assert argv[-3:] == ["deploy-demo@shop.test", "verb", "word"]
    assert {"BatchMode=yes", "ConnectTimeout=15", "ServerAliveInterval=10"} <= {*argv}
    assert ssh.stdin == [b"data"]
    assert ssh.environ[0]["LC_ALL"] == "C"  # the texts below are looked for
    assert "secret" not in ssh.environ[0].values()


NOT_NOW = [
    "ssh: connect to host shop.test port 22: Connection refused",
    "ssh: connect to host shop.test port 22: Connection timed out",
    "ssh: connect to host shop.test port 22: Operation timed out",
    "ssh: connect to host shop.test port 22: No route to host",
    "ssh: connect to host 2001:db8::7 port 22: Network is unreachable",
    "ssh: Could not resolve hostname shop.test: Temporary failure in name resolution",
    "kex_exchange_identification: Connection closed by remote host",
    "kex_exchange_identification: read: Connection reset by peer\nConnection reset by ::1 port 22",
    "Connection closed by 203.0.113.7 port 22",
    "Connection timed out during banner exchange\r\nConnection to 203.0.113.7 port 22 timed out",
]
BROKE_OFF = [
    "",  # no answer to ServerAlive: said at LogLevel=INFO only
    "Connection to shop.test closed by remote host.",
    "Read from remote host shop.test: Connection reset by peer",
    "Read from remote host shop.test: Connection timed out",
    "Read from remote host shop.test: No route to host",
    "Connection reset by 203.0.113.7 port 22",
    "client_loop: send disconnect: Broken pipe",
]


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("why", NOT_NOW)
def test_a_host_that_nothing_was_asked_of_is_asked_again(
    ssh: Ssh, why: str, *, changes: bool
) -> None:
    ssh.answers = [ended(255, why)]
    error = attempt(ssh, changes=changes)
    assert len(ssh.ran) == ATTEMPTS
    assert ssh.machine.clock.pauses == [0.5, 1, 2]
    assert type(error) is CommandError
    assert (transient(error), error.why) == (True, why)
    assert "is ssh on port 2222?" in error.then


def test_an_answer_to_a_later_attempt_is_an_answer(ssh: Ssh) -> None:
    ssh.answers = [ended(255, NOT_NOW[0])] * 3 + [answer(7)]
    assert host(ssh).change("verb", doing="asking") == 7


@pytest.mark.parametrize("why", BROKE_OFF)
def test_a_connection_that_broke_off_leaves_a_change_unknown(ssh: Ssh, why: str) -> None:
    ssh.answers = [ended(255, why)]
    error = attempt(ssh, changes=True)
    assert (len(ssh.ran), type(error), error.why) == (ONCE, UnsettledError, why)
    ssh.ran.clear()
    error = attempt(ssh, changes=False)
    assert (len(ssh.ran), type(error), transient(error)) == (ATTEMPTS, CommandError, True)


@pytest.mark.parametrize(
    "end", [ended(None, timed_out=True), ended(-9), ended(-15)], ids=["time", "-9", "-15"]
)
def test_an_ssh_that_was_stopped_leaves_a_change_unknown(ssh: Ssh, end: CommandError) -> None:
    ssh.answers = [end]
    assert type(attempt(ssh, changes=True)) is UnsettledError
    error = attempt(ssh, changes=False)
    assert (type(error), transient(error), len(ssh.ran)) == (CommandError, False, 2)


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize(
    ("code", "why", "what", "then"),
    [
        (
            255,
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!\nHost key verification failed.",
            "shows another key",
            "somebody may be in between",
        ),
        (255, "Host key verification failed.", "is not known here", "export HOST_KEYS="),
        (255, "deploy-demo@shop.test: Permission denied (publickey).", "not accept", "--key FILE"),
        (255, "ssh: Could not resolve hostname x: Name or service not known", "no such", "ADDRESS"),
        (1, "sudo: a password is required", "not prepared", "delivery prepare"),
        (2, "there is no project demo here", "not prepared", "delivery prepare"),
        (126, "sh: 1: sudo: Permission denied", "not prepared", "delivery prepare"),
        (127, "sh: 1: sudo: not found", "not prepared", "delivery prepare"),
    ],
)
def test_what_no_repetition_mends_is_said_once(  # noqa: PLR0913
    ssh: Ssh, code: int, why: str, what: str, then: str, *, changes: bool
) -> None:
    ssh.answers = [ended(code, why)]
    error = attempt(ssh, changes=changes)
    assert (type(error), len(ssh.ran), error.why) == (MisuseError, ONCE, why)
    assert error.what.startswith("asking: ")
    assert what in error.what
    assert then in error.then


@pytest.mark.parametrize("changes", [False, True])
def test_what_the_host_refuses_is_an_error_without_a_change(ssh: Ssh, *, changes: bool) -> None:
    ssh.answers = [ended(1, "not with traffic: v1")]
    error = attempt(ssh, changes=changes)
    assert (type(error), transient(error), len(ssh.ran)) == (CommandError, False, ONCE)
    assert (error.what, error.then) == ("asking: it failed on the server", DOCTOR)
    ssh.answers = [ended(3, "by someone else")]
    error = attempt(ssh, changes=changes)
    assert (type(error), str(error), len(ssh.ran)) == (ConflictError, "asking: by someone else", 2)


def test_a_full_disk_is_told_what_empties_it(ssh: Ssh) -> None:
    ssh.answers = [ended(1, "OSError: [Errno 28] No space left on device")]
    assert "prune" in attempt(ssh, changes=True).then


@pytest.mark.parametrize("said", ["", "Welcome!\n{}", "[]", "null", "{}", "7"])
def test_another_answer_than_the_hosts_is_shown(ssh: Ssh, said: str) -> None:
    ssh.answers = [said]
    error = attempt(ssh, changes=False)
    assert (type(error), error.why) == (MisuseError, said)
    assert "prepare" in error.then


def test_a_host_with_another_protocol_is_brought_up_to_date_first(ssh: Ssh) -> None:
    ssh.answers = [answer({}, protocol=2)]
    error = attempt(ssh, changes=False)
    assert "version 2" in str(error)
    assert "prepare" in error.then


def test_a_dry_run_looks_and_prints_what_would_change(ssh: Ssh, tmp_path: Path) -> None:
    ssh.machine.runner.dry_run = True
    ssh.answers = [answer("seen")]
    made = host(ssh, "-i", "key", "-o", "UserKnownHostsFile=x")
    assert made.ask("look", doing="looking") == "seen"
    assert ssh.machine.said == "  $ ssh deploy-demo@shop.test look\n"
    assert made.change("move", "tag", doing="moving", stdin=tmp_path / "split.json") is None
    assert made.change("settle", doing="settling") is None
    assert ssh.machine.results.getvalue() == (
        "ssh deploy-demo@shop.test move tag <split.json\nssh deploy-demo@shop.test settle\n"
    )
    assert len(ssh.ran) == ONCE
