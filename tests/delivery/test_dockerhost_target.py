"""The target Docker host, with the real delivery-host on the other side."""

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from delivery.dockerhost.target import NEVER, DockerHost
from delivery.errors import CommandError, ConflictError, MisuseError, UnsettledError

from tests.delivery.ssh import HOST_KEY, PRIVATE_KEY, Engine, Host, Ssh, ended

pytestmark = pytest.mark.fast

DIGEST = f"registry.test:5050/shop/demo@sha256:{'a' * 64}"
REGISTRY = {
    "CI_REGISTRY": "registry.test:5050",
    "CI_REGISTRY_USER": "gitlab-ci-token",
    "CI_REGISTRY_PASSWORD": "glcbt-secret",
}


@pytest.fixture
def ssh(ssh: Ssh, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Host:
    assert not engine.ran
    made = Host(ssh.machine)
    monkeypatch.setattr(ssh.machine.runner, "_run", made.run)
    return made


def ready(ssh: Ssh, **environ: str) -> DockerHost:
    runner = ssh.machine.runner
    runner.environ = {**runner.environ, **environ}
    made = DockerHost(runner)
    made.login()
    return made


def with_versions(ssh: Ssh, *versions: str) -> DockerHost:
    """Deliver versions; the first one gets the traffic."""
    made = ready(ssh, IMAGE=DIGEST)
    for version in versions:
        made.deploy(version, Path())
    assert made.serving() == {}
    made.set_traffic({versions[0]: 100})
    return made


# Signing in, names


def test_a_login_asks_no_server_and_signs_in_with_the_key(ssh: Host) -> None:
    made = ready(ssh, CI="true", DEPLOY_KEY=PRIVATE_KEY, HOST_KEYS=HOST_KEY)
    assert ssh.ran == []
    made.serving()
    assert "-i" in ssh.ran[0]
    assert "StrictHostKeyChecking=yes" in ssh.ran[0]
    assert PRIVATE_KEY not in str(ssh.ran) + str(ssh.environ)
    with pytest.raises(MisuseError, match="not set: DEPLOY_KEY"):
        ready(ssh, DEPLOY_KEY="")


@pytest.mark.parametrize("version", ["v20261101t120000-00000001", "mr-7", "a" * 36])
def test_a_version_may_be_a_commit_or_a_review(ssh: Host, version: str) -> None:
    DockerHost(ssh.machine.runner).accept(version)


@pytest.mark.parametrize(
    "version", ["", "V1", "1a", "a--b", "a-", "a_b", "../a", "-a", "a\n", "a" * 37]
)
def test_a_version_must_fit_into_a_host_name(ssh: Host, version: str) -> None:
    with pytest.raises(MisuseError, match="cannot be the name of a version"):
        DockerHost(ssh.machine.runner).accept(version)


# Looking


def test_before_the_first_delivery_there_is_nothing_but_an_address(ssh: Host) -> None:
    made = ready(ssh)
    assert made.url() == "https://shop.test"
    assert (made.versions(), made.serving()) == ([], {})
    assert made.url() == "https://shop.test"
    assert ssh.asked() == "look"
    assert len(ssh.ran) == 3  # an address that is known is not asked for again


def test_each_version_has_an_address_of_its_own(ssh: Host) -> None:
    made = with_versions(ssh, "v1", "v2", "mr-7")
    review, first, second = made.versions()
    assert (first.id, first.share, first.url) == ("v1", 100, "https://shop.test/.delivery/v1")
    assert (second.id, second.share, second.url) == ("v2", 0, "https://shop.test/.delivery/v2")
    assert review.url == "https://mr-7.shop.test"
    assert first.created.isoformat() == "2026-11-27T16:54:48.123456+00:00"


def test_what_has_traffic_is_listed_even_without_a_container(ssh: Host, engine: Engine) -> None:
    made = with_versions(ssh, "v1")
    engine.containers.clear()
    (only,) = made.versions()
    assert (only.id, only.share, only.created) == ("v1", 100, NEVER)


# Moving traffic


def test_traffic_is_moved_once_from_what_was_seen(ssh: Host) -> None:
    made, other = with_versions(ssh, "v1", "v2"), ready(ssh)
    assert made.serving() == other.serving() == {"v1": 100}
    made.set_traffic({"v1": 90, "v2": 10})
    assert (ssh.asked().split()[0], json.loads(ssh.stdin[-1])) == ("move", {"v1": 90, "v2": 10})
    count = len(ssh.ran)
    with pytest.raises(CommandError, match="moved by someone else") as caught:
        other.set_traffic({"v2": 100})
    assert len(ssh.ran) == count + 1
    assert caught.value.transient
    assert not isinstance(caught.value, ConflictError)  # which would be about the record
    assert other.serving() == {"v1": 90, "v2": 10}
    other.set_traffic({"v2": 100})
    assert made.serving() == {"v2": 100}


def test_after_settling_an_old_move_comes_too_late(ssh: Host) -> None:
    made, late = with_versions(ssh, "v1", "v2"), ready(ssh)
    late.serving()
    made.settle()
    with pytest.raises(CommandError, match="moved by someone else"):
        late.set_traffic({"v2": 100})


def test_a_move_whose_answer_is_lost_is_not_known(
    ssh: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_versions(ssh, "v1", "v2")
    made.serving()
    silent = Ssh(ssh.machine, [ended(255)])
    monkeypatch.setattr(ssh.machine.runner, "_run", silent.run)
    with pytest.raises(UnsettledError):
        made.set_traffic({"v2": 100})
    assert len(silent.ran) == 1


def test_a_dry_run_changes_nothing(ssh: Host) -> None:
    made = with_versions(ssh, "v1", "v2")
    ssh.machine.runner.dry_run = True
    made.settle()
    made.set_traffic({"v2": 100})
    made.deploy("v3", ssh.machine.project)
    made.delete(["v2"])
    shown = ssh.machine.results.getvalue().splitlines()
    assert [line.split()[2] for line in shown] == ["move", "deploy", "delete"]
    assert shown[1] == f"ssh deploy-demo@shop.test deploy v3 {DIGEST} <docker.json"
    assert made.serving() == {"v1": 100}
    assert len(made.versions()) == 2


# Deploying, deleting, log


@pytest.mark.parametrize(
    ("image", "environ", "logs_in"),
    [
        (DIGEST, REGISTRY, True),
        (DIGEST.replace("registry", "other"), REGISTRY, False),
        (DIGEST.replace(":5050", ":50501"), REGISTRY, False),
        (DIGEST, REGISTRY | {"CI_REGISTRY_PASSWORD": ""}, False),
        (DIGEST, REGISTRY | {"CI_REGISTRY": ""}, False),
        (DIGEST, {}, False),
    ],
    ids=["GitLab's", "another's", "alike", "no password", "no registry", "a laptop"],
)
def test_only_gitlabs_registry_gets_the_jobs_password(
    ssh: Host, engine: Engine, image: str, environ: dict[str, str], *, logs_in: bool
) -> None:
    made = ready(ssh, **environ, IMAGE=f"{image}\n")
    made.deploy("v1", Path())
    made.deploy("v1", Path())
    assert ssh.asked() == f"deploy v1 {image}"
    login = {"username": "gitlab-ci-token", "password": "glcbt-secret"}
    auths = {"registry.test:5050": login} if logs_in else {}
    assert json.loads(ssh.stdin[-1]) == {"auths": auths}
    assert engine.configs == [ssh.stdin[-1].decode()] * 2
    assert "glcbt-secret" not in str(ssh.ran) + str(ssh.environ) + str(engine.ran)


@pytest.mark.parametrize(
    ("why", "then"),
    [("v1 has ended", "deliver a commit that fixes it"), ("no space left on device", "prune")],
)
def test_a_version_that_does_not_start_needs_a_commit_or_room(
    ssh: Host, engine: Engine, why: str, then: str
) -> None:
    from delivery.dockerhost.host import RefusedError  # noqa: PLC0415 - not on Windows

    engine.failing["run"] = RefusedError(why)
    with pytest.raises(CommandError, match="starting v1: it failed on the server") as caught:
        ready(ssh, IMAGE=DIGEST).deploy("v1", Path())
    assert caught.value.why == f"{why}\n"
    assert then in caught.value.then


def test_without_an_image_the_files_are_sent_and_nothing_else(
    ssh: Host, engine: Engine, tmp_path: Path
) -> None:
    """The same commit is the same archive, whoever has it: the host then builds the same image."""
    made, sent = ready(ssh), list[bytes]()
    for number, umask in enumerate((0o022, 0o000, 0o077)):
        source = tmp_path / f"source{number}"
        before = os.umask(umask)
        try:
            (source / "app").mkdir(parents=True)
            for name in ("b.py", "app/ä.py", "a.py")[:: 1 - 2 * (number % 2)]:
                (source / name).write_text(name, "utf-8")
            (source / "a.py").chmod(0o777 & ~umask)
        finally:
            os.umask(before)
        os.utime(source / "b.py", (number, number))
        if os.geteuid() == 0:
            os.chown(source / "b.py", 1000 + number, 1000)
        (source / "link").symlink_to("a.py")
        made.deploy("v1", source)
        sent.append(ssh.stdin[-1])
    assert ssh.asked() == "deploy v1"
    assert (
        sent[0]
        == sent[1]
        == sent[2]
        == engine.stdin[
            next(number for number, line in enumerate(engine.ran) if line.startswith("build"))
        ]
    )
    with tarfile.open(fileobj=io.BytesIO(sent[0])) as tar:
        members = {member.name: member for member in tar}
    assert {*members} == {".", "./app", "./app/ä.py", "./a.py", "./b.py", "./link"}
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members.values()} == {
        (0, 0, "", "", 0)
    }
    assert (members["./a.py"].mode, members["./b.py"].mode) == (0o755, 0o644)


def test_deleting_is_for_what_has_no_traffic(ssh: Host) -> None:
    made = with_versions(ssh, "v1", "v2", "v3")
    made.delete(["v2", "v3", "v9"])
    assert [version.id for version in made.versions()] == ["v1"]
    with pytest.raises(CommandError) as caught:
        made.delete(["v1"])
    assert "not with traffic: v1" in caught.value.why


def test_the_log_is_that_of_the_container(ssh: Host) -> None:
    assert ready(ssh).log("v1") == ["demo--v1 said this"]


# The record


def test_the_record_is_replaced_by_whoever_saw_it_last(ssh: Host) -> None:
    made = ready(ssh)
    empty = made.read_record()
    assert empty.text == ""
    tag = made.write_record('{"ä": 1}', empty.tag)
    stored = made.read_record()
    assert (stored.text, stored.tag) == ('{"ä": 1}', tag)
    with pytest.raises(ConflictError) as caught:
        made.write_record("{}", empty.tag)
    assert not caught.value.transient
    assert made.write_record("{}", tag) == made.read_record().tag


@pytest.mark.parametrize("code", [1, 255])
def test_a_record_that_could_not_be_written_is_worth_another_attempt(
    ssh: Host, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    made = ready(ssh)
    monkeypatch.setattr(ssh.machine.runner, "_run", Ssh(ssh.machine, [ended(code)]).run)
    with pytest.raises(CommandError) as caught:
        made.write_record("{}", "none")
    assert caught.value.transient
