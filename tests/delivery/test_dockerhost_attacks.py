"""What a Docker host withstands: hostile words, and somebody who goes away."""

import io
import json
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.machine import Machine
from tests.delivery.ssh import Engine, Ssh, call, ended

pytest.importorskip("fcntl", reason="Windows has no such server")

import fcntl

from delivery.dockerhost import host, place, target
from delivery.dockerhost.ssh import Host
from delivery.errors import CommandError, MisuseError, UnsettledError

pytestmark = pytest.mark.fast

DIGEST = f"registry.test:5050/shop/demo@sha256:{'a' * 64}"


def run(asked: str, stdin: str = "") -> tuple[int, str]:
    code, _, err = call(host.main, "demo", asked, stdin=stdin.encode())
    return code, err


def ask(asked: str, stdin: str = "") -> Any:
    code, out, err = call(host.main, "demo", asked, stdin=stdin.encode())
    assert code == 0, err
    return json.loads(out)["answer"]


def serve(version: str) -> str:
    """Deploy a version and give it all traffic; return the tag."""
    ask(f"deploy {version} {DIGEST}")
    return str(ask(f"move {ask('look')['tag']}", json.dumps({version: 100}))["tag"])


def public() -> Path:
    return host.ROOT / "proxy/projects/demo"


def traffic() -> list[str]:
    """Return whom the slots lead to, as the proxy finds it."""
    return sorted({link.resolve().name for link in (public() / "now").glob("??")})


# Hostile words


@pytest.mark.parametrize(
    "split",
    [
        *("[]", '"v1"', "1", "null", '{"v1": "100"}', '{"v1": null}', '{"v1": [100]}'),
        *('{"v1": NaN}', '{"v1": Infinity}', '{"v1": 1e999}', '{"v1": 100, "v1/../v2": 0}'),
        *("[" * 100_000, '{"v1":' * 100_000, f'{{"v1": 100}}{" " * 2**20}', "\ufeff{}"),
    ],
    ids=lambda split: split[:20],
)
def test_a_split_of_another_form_is_refused_in_a_line(engine: Engine, split: str) -> None:
    tag = serve("v1")
    code, said = run(f"move {tag}", split)
    assert code in {host.FAILED, host.MISUSED}
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1
    assert (ask("look")["tag"], traffic()) == (tag, ["v1"])
    assert engine.containers


@pytest.mark.parametrize("image", ["-a/b", "-/b", ".x/b"])
def test_no_image_is_taken_for_an_option(engine: Engine, image: str) -> None:
    assert run(f"deploy v1 {image}@sha256:{'a' * 64}")[0] == host.MISUSED
    assert engine.ran == []


def test_of_dockers_configuration_only_the_login_is_used(engine: Engine) -> None:
    """The rest names programs, which docker would start as root."""
    login = {"registry.test": {"username": "u", "password": "p"}}
    hostile = {"auths": login, "credsStore": "x", "cliPluginsExtraDirs": ["/proc/9/cwd/x"]}
    ask(f"deploy v1 {DIGEST}", json.dumps(hostile))
    assert [json.loads(text) for text in engine.configs] == [{"auths": login}]


def test_a_login_is_kept_in_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in this moment, the program cannot remove it."""
    place_ = host.ROOT / "memory"
    place_.mkdir()
    monkeypatch.setattr(host, "MEMORY", place_)
    ask(f"deploy v1 {DIGEST}")
    pulled = next(line for line in engine.ran if line.startswith("--config"))
    assert Path(pulled.split()[1]).parent == place_


def test_what_the_owner_starts_of_an_image_is_no_version(engine: Engine) -> None:
    """It has the labels of the image."""
    serve("v1")
    engine.add("owners", {"delivery.project": "demo"})
    assert [*ask("look")["versions"]] == ["v1"]
    ask("delete v2")
    assert "owners" in engine.containers


def test_the_image_of_another_commit_is_refused(engine: Engine) -> None:
    """/health would not show it: what it answers is set from outside."""
    engine.revision = "1a2b3c4d"
    ask(f"deploy v20260101t000000-1a2b3c4d {DIGEST}")
    for other in ("v20260101t000100-5e6f7a8b", "v20260101t000100-00000000"):
        code, said = run(f"deploy {other} {DIGEST}")
        assert (code, "built of commit 1a2b3c4d" in said) == (host.FAILED, True), said
    ask(f"deploy mr-7 {DIGEST}")  # whose name has no commit
    engine.revision = "v20260101t000100-5e6f7a8b"
    ask(f"deploy v20260101t000100-5e6f7a8b {DIGEST}")


@pytest.mark.usefixtures("engine")
def test_a_move_that_is_on_its_way_does_not_reach_what_is_deployed_meanwhile() -> None:
    for version in ("v1", "v2"):
        ask(f"deploy {version} {DIGEST}")
    ask(f"move {ask('look')['tag']}", '{"v1": 100}')
    late = f"move {ask('look')['tag']}"
    ask(f"deploy v2 {DIGEST}")
    assert run(late, '{"v2": 100}')[0] == host.CONFLICT
    assert traffic() == ["v1"]


# Projects that share an engine


def test_a_build_fetches_no_address_and_has_no_login(engine: Engine) -> None:
    """The engine fetches it, from where the networks of all projects can be reached."""
    ask("deploy v1", "files")
    (policy,) = map(json.loads, engine.policies)
    rules = {rule["selector"]["identifier"]: rule["action"] for rule in policy["rules"]}
    assert {source for source, action in rules.items() if action == "DENY"} == {
        *("http://*", "https://*", "git://*")
    }


def test_an_image_has_no_name_and_is_only_found_by_its_number(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name could be guessed in another project's Dockerfile, and could be somebody's on a hub."""
    real = engine.run

    def numbered(command: list[str], *more: Any) -> str:
        said = real(command, *more)
        return "sha256:built\n" if "build" in command else said

    monkeypatch.setattr(host, "_run", numbered)
    ask("deploy v1", "files")
    build = next(line for line in engine.ran if line.startswith("build"))
    start = next(line for line in engine.ran if line.startswith("run"))
    assert "--tag" not in build
    assert "BUILDKIT_CACHE_MOUNT_NS=demo" in build
    assert start.endswith(" sha256:built")
    assert "--pull=never" in start
    assert not any(line.startswith("tag ") for line in engine.ran)


@pytest.mark.parametrize("new", ["sha256:demo--mr-7", "sha256:other"])
def test_an_image_that_is_replaced_is_removed_unless_it_is_the_same(
    engine: Engine, new: str
) -> None:
    ask(f"deploy mr-7 {DIGEST}")
    engine.pulled = new
    ask(f"deploy mr-7 {DIGEST}")
    removed = "image rm --force sha256:demo--mr-7" in engine.ran
    assert removed == (new == "sha256:other")


def test_what_a_version_wrote_on_the_disk_goes_with_it(engine: Engine) -> None:
    ask(f"deploy v1 {DIGEST}")
    ask("delete v1")
    assert "rm --force --volumes demo--v1" in engine.ran


@pytest.mark.parametrize("words", ["builder prune", "image prune"])
def test_two_projects_may_tidy_up_at_once(engine: Engine, words: str) -> None:
    """https://github.com/antrea-io/antrea/pull/493: the engine refuses the second one."""
    ask(f"deploy v1 {DIGEST}")
    engine.failing[words] = host.RefusedError("a prune operation is already running")
    ask("delete v1")
    assert engine.containers == {}


# Somebody who goes away


class Stalled(io.BytesIO):
    """Is sent by somebody of whom nothing comes: nobody else may have to wait for that."""

    def __init__(self, lock: str) -> None:
        super().__init__()
        self.lock = lock

    def read(self, _size: int | None = -1) -> bytes:
        with (host.ROOT / "projects/demo" / self.lock).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise ConnectionError("gone")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("asked", "lock"),
    [("move none", host.SPLIT), ("write-record none", host.RECORD), ("deploy v1", host.VERSIONS)],
)
def test_no_lock_is_held_for_what_has_not_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str, lock: str
) -> None:
    stdin = io.TextIOWrapper(Stalled(lock))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert host.main(["demo", asked]) == host.FAILED
    assert "gone" in capsys.readouterr().err


def test_a_deployment_that_breaks_off_leaves_the_version_that_was_there(engine: Engine) -> None:
    """Such a command may start late, when the next one has deployed the version already."""
    ask("deploy v1", "files")
    for failing, asked in (("build", "deploy v1"), ("--config", f"deploy v1 {DIGEST}")):
        engine.failing[failing] = host.RefusedError("unexpected EOF")
        assert run(asked)[0] == host.FAILED
        assert [*engine.containers] == ["demo--v1"]
        assert (public() / "versions/v1/demo--v1").is_file()


def test_a_part_of_the_files_is_no_archive(machine: Machine, tmp_path: Path) -> None:
    """A tar that breaks off between two files is one: the server would build without the rest."""
    source = tmp_path / "source"
    source.mkdir()
    for name in "abc":
        (source / name).write_text(name * 512)
    with machine.private:
        packed = target.DockerHost(machine.runner)._pack(source).read_bytes()
    whole = []
    for length in range(len(packed) + 1):
        with (
            suppress(EOFError, tarfile.ReadError),
            tarfile.open(fileobj=io.BytesIO(packed[:length])) as tar,
        ):
            whole.append(sorted(tar.getnames()))
    assert whole
    assert all(names == [".", "./a", "./b", "./c"] for names in whole)


@pytest.mark.usefixtures("engine")
def test_the_first_move_can_come_too_late_as_well() -> None:
    ask(f"deploy v1 {DIGEST}")
    ask("settle")
    assert ask("look")["split"] == {}
    assert run("move none", '{"v1": 100}')[0] == host.CONFLICT
    assert traffic() == []


@pytest.mark.parametrize("exited", [137, 143, 255])
def test_what_was_killed_on_the_host_may_have_happened(ssh: Ssh, exited: int) -> None:
    """By the kernel, say, which had no memory left."""
    ssh.answers = [ended(exited, "Killed")]
    asked = Host(ssh.machine.runner, place.Place("shop.test", 22, "demo"))
    with pytest.raises(UnsettledError):
        asked.change("settle", doing="waiting")
    with pytest.raises(CommandError) as failure:
        asked.ask("look", doing="looking")
    assert not isinstance(failure.value, MisuseError)


@pytest.mark.parametrize(
    ("said", "prepared"),
    [
        ("sudo: a password is required", False),
        ("sudo-rs: I'm sorry deploy-demo. I'm afraid I can't do that", False),
        ("sudo: /usr/local/sbin/delivery-host: command not found", False),
        ("sudo: unable to resolve host v1: Name or service not known\nit failed", True),
        ("v1 has ended (exit code 1):\nsh: 1: sudo: not found", True),
    ],
)
def test_only_what_sudo_refuses_is_not_prepared(ssh: Ssh, said: str, *, prepared: bool) -> None:
    ssh.answers = [ended(1, said)]
    with pytest.raises(CommandError if prepared else MisuseError) as failure:
        Host(ssh.machine.runner, place.Place("shop.test", 22, "demo")).change("settle", doing="x")
    assert ("not prepared" in failure.value.what) != prepared
