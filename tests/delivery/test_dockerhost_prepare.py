"""The verbs prepare and doctor, with what install.py says as a script."""

import argparse
import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from delivery.dockerhost import DESTINATION
from delivery.dockerhost.prepare import add_options, doctor, prepare
from delivery.errors import CommandError, DeliveryError, MisuseError, RefusedError
from delivery.probe import NoReplyError, Reply, UnreachableError

from tests.delivery.ssh import HOST_KEY, PRIVATE_KEY, Ssh, answer, ended

pytestmark = pytest.mark.fast

DOMAIN = "www.shop.test"
OTHER_KEY = f"ecdsa-sha2-nistp256 {'B' * 140}="


def said(*states: str, keys: tuple[str, ...] = (), **more: Any) -> str:
    """Write what install.py says: a row for each state, the last one with more in it."""
    rows: list[dict[str, Any]] = [
        {"name": f"item{n}", "for": "a purpose", "state": state, "detail": f"detail of {n}"}
        for n, state in enumerate(states)
    ]
    rows[-1] |= more
    found = {"host_keys": keys or (f"{OTHER_KEY} r@h", f"{HOST_KEY} r@h"), "domain": DOMAIN}
    last = [] if "failed" in more else [found]
    return "".join(f"{json.dumps(row)}\n" for row in [*rows, *last])


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Stand in for the name servers."""
    names = {"shop.test": "203.0.113.7", "www.shop.test": "203.0.113.7"}

    def look_up(name: str, port: int) -> list[Any]:
        if name not in names:
            raise socket.gaierror(-2, "Name or service not known")
        return [(2, 1, 6, "", (names[name], port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "deploy.pub"
    file.write_text(f"{HOST_KEY}\n")
    return file


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--domain=www.shop.test", *words])


def run(ssh: Ssh, *words: str) -> str:
    return prepare(ssh.machine.runner, options(*words))


def wanted(ssh: Ssh, number: int = -1) -> dict[str, Any]:
    found = json.loads(base64.b64decode(ssh.ran[number][-1]))
    assert isinstance(found, dict)
    return found


# What is typed


def test_the_server_gets_one_program_and_what_is_wanted(ssh: Ssh, key: Path) -> None:
    ssh.answers = [said("there")]
    run(ssh, f"--key={key}", "--own-authority", "--as=ada", "--host=other.test:2222")
    (argv,) = ssh.ran
    assert argv[argv.index("-p") + 1] == "2222"
    assert argv[-6:-1] == ["ada@other.test", "sudo", "-n", "python3", "-"]
    assert ssh.stdin[0].startswith(b'"""Sets a host up')
    asked = wanted(ssh)
    assert asked["program"].startswith("#!/usr/bin/python3 -I\n")
    assert "admin off" in asked["caddyfile"]
    assert (asked["project"], asked["domain"]) == ("demo", "www.shop.test")
    assert (asked["keys"], asked["own_authority"]) == ([f"{HOST_KEY} deploy"], True)
    assert asked["apply"] is False


def test_root_needs_no_sudo_and_the_hosts_keys_are_believed(ssh: Ssh) -> None:
    ssh.machine.runner.environ = {**ssh.machine.runner.environ, "HOST_KEYS": HOST_KEY}
    ssh.answers = [said("there")]
    run(ssh)
    assert ssh.ran[0][-4:-1] == ["root@shop.test", "python3", "-"]
    assert "StrictHostKeyChecking=yes" in ssh.ran[0]


NO_DOMAINS = [
    *("shop", "Shop.test", "shop.test.", ".test", "a b.test", "-a.test", "a_b.test", "*.test"),
    *("shop.test/x", "203.0.113.7", f"{'a' * 64}.test", f"{'a.' * 100}test", "../a.test"),
]
NO_PUBLIC_KEYS = [
    *(PRIVATE_KEY, "", "ssh-ed25519", f'command="id" {HOST_KEY}', f"{HOST_KEY}\n{HOST_KEY}"),
    *(f'{HOST_KEY} a"b', f"{HOST_KEY} a\\b", f"\ufeff{HOST_KEY}"),
]


@pytest.mark.parametrize("domain", NO_DOMAINS)
def test_a_domain_that_is_none_is_refused(ssh: Ssh, domain: str) -> None:
    with pytest.raises(MisuseError, match="is no domain"):
        run(ssh, f"--domain={domain}")
    assert ssh.ran == []


def test_the_domain_may_be_a_variable(ssh: Ssh) -> None:
    ssh.machine.runner.environ = {**ssh.machine.runner.environ, "HOST_DOMAIN": "a.test\n"}
    ssh.answers = [said("there")]
    run(ssh, "--domain=")
    assert wanted(ssh)["domain"] == "a.test"


def test_the_domain_need_not_be_said_again(ssh: Ssh) -> None:
    ssh.answers = [said("there")]
    run(ssh, "--domain=")
    assert wanted(ssh)["domain"] == ""
    assert "DNS    there  visitors\n    www.shop.test is " in ssh.machine.results.getvalue()


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        (f"{HOST_KEY} Ada Lovelace, laptop\n", f"{HOST_KEY} Ada Lovelace, laptop"),
        (OTHER_KEY, f"{OTHER_KEY} deploy"),
    ],
)
def test_a_public_key_has_a_name(ssh: Ssh, key: Path, text: str, entry: str) -> None:
    key.write_text(text)
    ssh.answers = [said("there")]
    run(ssh, f"--key={key}", f"--key={key}")
    assert wanted(ssh)["keys"] == [entry, entry]


@pytest.mark.parametrize("text", NO_PUBLIC_KEYS)
def test_a_file_without_one_public_key_is_refused_and_not_repeated(
    ssh: Ssh, key: Path, text: str
) -> None:
    key.write_text(text, "utf-8")
    with pytest.raises(MisuseError, match="is no public key") as caught:
        run(ssh, f"--key={key}")
    assert "b3BlbnNzaC1" not in f"{caught.value.what}{caught.value.why}{caught.value.then}"
    assert "ssh-keygen" in caught.value.then
    assert ssh.ran == []


def test_a_key_in_the_place_of_a_path_is_not_repeated(ssh: Ssh) -> None:
    with pytest.raises(MisuseError, match="cannot be read") as caught:
        run(ssh, f"--key={PRIVATE_KEY}")
    assert "ssh-keygen" in caught.value.then
    assert "BEGIN" not in f"{caught.value.what}{caught.value.why}"


# The plan


def test_where_everything_is_there_only_the_variables_are_said(ssh: Ssh) -> None:
    ssh.answers = [said("there", "there")]
    text = run(ssh)
    assert len(ssh.ran) == 1
    assert text.startswith("Everything is there: nothing was changed.\n")
    assert f"  HOST_KEYS     {HOST_KEY}\n" in text
    assert OTHER_KEY not in text
    assert text.endswith("  DEPLOY_KEY    what GitLab signs in with: the private key (type: file)")
    assert ssh.machine.results.getvalue().splitlines()[:2] == [
        "item0  there  a purpose",
        "    detail of 0",
    ]


def test_the_private_key_is_named(ssh: Ssh, key: Path) -> None:
    ssh.answers = [said("there")]
    text = run(ssh, f"--key={key}", f"--key={key}")
    assert f"the private key, such as {key.with_suffix('')} (type" in text


@pytest.mark.parametrize("address", ["shop.test", "shop.test:2222", "[2001:db8::7]", "[::1]:2222"])
def test_the_address_that_is_printed_is_the_one_to_set(ssh: Ssh, address: str) -> None:
    ssh.answers = [said("there", keys=(OTHER_KEY,))]
    text = run(ssh, f"--host={address}")
    assert f"  HOST_ADDRESS  {address}\n  HOST_KEYS     {OTHER_KEY}\n" in text


def test_what_only_the_owner_can_do_ends_it_before_anything_is_changed(ssh: Ssh) -> None:
    ssh.answers = [said("there", "LACKING", "to create")]
    with pytest.raises(MisuseError, match="1 in the way: item1") as caught:
        run(ssh, "--yes")
    assert caught.value.exit_code == 2
    assert caught.value.why == "item1: detail of 1"
    assert "nothing was changed" in caught.value.then
    assert len(ssh.ran) == 1


def test_a_dry_run_shows_the_plan(ssh: Ssh) -> None:
    ssh.machine.runner.dry_run = True
    ssh.answers = [said("to create", "there", "differs")]
    assert run(ssh, "--yes") == "2 to do; nothing was changed."
    assert len(ssh.ran) == 1
    assert len(ssh.machine.said) < 100  # not the program


@pytest.mark.parametrize(
    ("words", "typed", "goes_on"),
    [
        (["--yes"], None, True),
        ([], "y", True),
        ([], "Yes", True),
        ([], "n", False),
        ([], "", False),
    ],
)
def test_it_asks_before_it_changes_anything(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch, words: list[str], typed: str | None, *, goes_on: bool
) -> None:
    asked: list[str] = []

    def ask(question: str) -> str | None:
        asked.append(question)
        return typed

    monkeypatch.setattr(ssh.machine.console, "ask", ask)
    ssh.answers = [said("to create", "differs"), said("to create", "differs", done=True)]
    if goes_on:
        made = run(ssh, *words)
        assert "HOST_ADDRESS  shop.test" in made
        assert made.splitlines()[-1] == "Then: git push --set-upstream origin main"
        assert [wanted(ssh, 0)["apply"], wanted(ssh, 1)["apply"]] == [False, True]
        assert ssh.machine.said == "  item1\n"
    else:
        with pytest.raises(RefusedError, match="nothing was changed"):
            run(ssh, *words)
        assert len(ssh.ran) == 1
    assert asked == ([] if typed is None else ["Make these 2? [y/N]"])


@pytest.mark.parametrize(
    ("state", "more", "why"),
    [("differs", {"failed": "docker: no"}, "docker: no"), ("LACKING", {}, "detail of 1")],
)
def test_what_cannot_be_made_is_named_and_what_to_type(
    ssh: Ssh, state: str, more: dict[str, Any], why: str
) -> None:
    ssh.answers = [said("to create", "to create"), said("there", state, **more)]
    with pytest.raises(CommandError, match="item1: it could not be made") as caught:
        run(ssh, "--yes")
    assert (caught.value.why, caught.value.then) == (why, "run this again: it goes on from there")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], "ssh root@shop.test true"),
        (["--host=shop.test:2222", "--as=ada"], "ssh -p 2222 ada@shop.test sudo -n true"),
    ],
)
def test_what_must_work_first_is_said(ssh: Ssh, words: list[str], command: str) -> None:
    ssh.answers = [ended(255, "Host key verification failed.")]
    with pytest.raises(CommandError) as caught:
        run(ssh, *words)
    first, second = caught.value.then.splitlines()
    assert first == f"this must work, and ask nothing: {command}"
    assert "asks about the server's key" in second


def test_other_host_keys_than_those_of_the_server_are_in_the_way(ssh: Ssh) -> None:
    ssh.machine.runner.environ = {**ssh.machine.runner.environ, "HOST_KEYS": HOST_KEY}
    ssh.answers = [ended(255, "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @")]
    with pytest.raises(CommandError) as caught:
        run(ssh)
    assert caught.value.then.startswith("unset HOST_KEYS")


@pytest.mark.parametrize("noise", ["Welcome!\n", ""])
def test_a_shell_that_speaks_is_said(ssh: Ssh, noise: str) -> None:
    ssh.answers = [noise + (said("there") if noise else "")]
    with pytest.raises(MisuseError, match="something else") as caught:
        run(ssh)
    assert "must be silent" in caught.value.then


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        ("203.0.113.7", "www.shop.test is 203.0.113.7"),
        ("203.0.113.8", "is 203.0.113.8\nmake an A record of it, and one of *.www.shop.test"),
        ("", "Name or service not known\nmake an A record of it"),
    ],
)
def test_whether_visitors_find_it_is_said_and_keeps_nobody(
    ssh: Ssh, names: dict[str, str], found: str, detail: str
) -> None:
    del names["www.shop.test"]
    if found:
        names["www.shop.test"] = found
    ssh.answers = [said("there")]
    run(ssh)
    plan = ssh.machine.results.getvalue().replace("\n    ", "\n")
    assert f"DNS    {'there' if found == '203.0.113.7' else 'not found'}" in plan
    assert detail in plan
    assert ("A record" in plan) == (found != "203.0.113.7")


# The doctor


SERVING = answer({"domain": DOMAIN, "split": {"v1": 100}})


@pytest.fixture(autouse=True)
def visits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Answer a visitor; the last answer is the next one."""
    visits: list[Any] = [Reply(200)]

    def visit(url: str, _: float) -> Reply:
        assert url == f"https://{DOMAIN}/health"
        if isinstance(visits[-1], Exception):
            raise visits[-1]
        reply: Reply = visits[-1]
        return reply

    monkeypatch.setitem(doctor.__globals__, "fetch", visit)
    return visits


def look(ssh: Ssh, *words: str) -> str:
    return doctor(ssh.machine.runner, options(*words))


def test_the_doctor_looks_the_way_that_a_delivery_goes(ssh: Ssh) -> None:
    ssh.answers = [SERVING, said("there", "there", detail="")]
    assert look(ssh, "--domain=") == "All is well."
    assert ssh.asked(0) == "look"
    assert (wanted(ssh)["domain"], wanted(ssh)["apply"]) == ("", False)
    assert ssh.machine.results.getvalue().splitlines() == [
        "ok  delivery as deploy-demo",
        "ok  https://www.shop.test",
        "ok  item0: detail of 0",
        "ok  item1",
        "ok  DNS: www.shop.test is 203.0.113.7",
    ]


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (Reply(502), "answers 502 instead of 200: python -m delivery logs, or rollback; or"),
        (Reply(200, b'{"revision": "v0"}'), "answers as v0, which does not serve here"),
        (Reply(404), "answers 404"),
        (UnreachableError("no such name"), ": no such name\n    on the server, this may say why: "),
        (NoReplyError("timed out"), "docker logs delivery-proxy\n"),
    ],
)
def test_the_doctor_asks_as_a_visitor_does(
    ssh: Ssh, visits: list[Any], reply: Reply | Exception, line: str
) -> None:
    visits.append(reply)
    ssh.answers = [SERVING, said("there")]
    with pytest.raises(DeliveryError, match="1 not as it should be"):
        look(ssh)
    text = ssh.machine.results.getvalue()
    assert "\nNOT https://www.shop.test: " in text
    assert line in text


def test_before_the_first_delivery_a_page_is_not_missed(ssh: Ssh, visits: list[Any]) -> None:
    visits.append(Reply(404))
    ssh.answers = [answer({"domain": DOMAIN, "split": {}}), said("there")]
    assert look(ssh) == "All is well."


def test_another_address_than_the_servers_may_be_meant(ssh: Ssh, names: dict[str, str]) -> None:
    names[DOMAIN] = "203.0.113.8"  # of a proxy at another firm, say
    ssh.answers = [SERVING, said("there")]
    assert look(ssh) == "All is well."
    assert "\n?   DNS: not found: www.shop.test is 203.0.113.8\n    make" in (
        ssh.machine.results.getvalue()
    )


def test_the_doctor_names_all_that_is_wrong(ssh: Ssh) -> None:
    ssh.answers = [ended(255, "Permission denied"), said("there", "differs", "LACKING")]
    with pytest.raises(DeliveryError, match="3 not as it should be") as caught:
        look(ssh)
    assert caught.value.exit_code == 1
    text = ssh.machine.results.getvalue()
    assert "NOT delivery as deploy-demo: signing in: the server does not accept the key\n" in text
    assert "all that may deliver:\n    python -m delivery prepare --key" in text
    assert "NOT item1: differs: detail of 1\n" in text
    assert "NOT item2: LACKING: detail of 2\n" in text


def test_the_doctor_does_not_send_to_itself(ssh: Ssh) -> None:
    ssh.answers = [ended(1, "Cannot connect to the Docker daemon"), said("there", "LACKING")]
    with pytest.raises(DeliveryError, match="2 not as it should be") as caught:
        look(ssh)
    assert "delivery doctor" not in ssh.machine.results.getvalue() + caught.value.then
    assert "delivery prepare makes" in caught.value.then


def test_a_job_cannot_look_as_root(ssh: Ssh) -> None:
    environ = {"CI": "true", "DEPLOY_KEY": PRIVATE_KEY, "HOST_KEYS": HOST_KEY}
    ssh.machine.runner.environ = {**ssh.machine.runner.environ, **environ}
    ssh.answers = [SERVING]
    assert look(ssh) == "All is well."
    assert len(ssh.ran) == 1


def test_the_destination_has_these_verbs(ssh: Ssh) -> None:
    made = DESTINATION.target(ssh.machine.runner)
    assert made.FIRST_SERVES is False
    assert [*DESTINATION.set_up] == ["prepare", "doctor"]
    assert all(name in DESTINATION.settings for name in ("HOST_ADDRESS", "DEPLOY_KEY", "IMAGE"))
