"""What delivery-host does on the server, in a folder, with Docker replaced."""

import errno
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from tests.delivery.ssh import Engine, call

pytest.importorskip("fcntl", reason="Windows has no such server")

import fcntl

from delivery.dockerhost import host, place, ssh, target

pytestmark = [pytest.mark.fast, pytest.mark.usefixtures("engine")]

DIGEST = f"registry.test:5050/shop/demo@sha256:{'a' * 64}"
SLOTS = host.SLOTS
NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def run(asked: str, stdin: str = "", project: str = "demo") -> tuple[int, str]:
    """Return the exit code and what was said on stderr."""
    code, _, err = call(host.main, project, asked, stdin=stdin.encode())
    return code, err


def ask(asked: str, stdin: str = "", project: str = "demo") -> Any:
    code, out, err = call(host.main, project, asked, stdin=stdin.encode())
    assert code == 0, err
    said = json.loads(out)
    assert said["protocol"] == host.PROTOCOL
    return said["answer"]


def serve(**split: float) -> str:
    """Deploy the versions, and split the traffic between them; return the tag."""
    for version in split:
        ask(f"deploy {version} {DIGEST}")
    tag = ask("look")["tag"]
    return str(ask(f"move {tag}", json.dumps(split))["tag"])


@pytest.fixture
def public() -> Path:
    return Path(host.ROOT / "proxy/projects/demo")


@pytest.fixture
def sites() -> Path:
    return Path(host.ROOT / "proxy/sites")


def slots(folder: Path) -> dict[str, int]:
    """Count the slots of each version, as a request finds them."""
    links = [f"{n:02x}" for n in range(host.SLOTS)]
    assert {each.name for each in (folder / "now").iterdir()} - {"split.json"} == {*links}
    found = [(folder / "now" / link).resolve() for link in links]
    assert all(each.parent == folder.resolve() / "versions" for each in found)
    names = [each.name for each in found]
    return {name: names.count(name) for name in names}


def test_both_sides_mean_the_same() -> None:
    assert (host.PROTOCOL, host.FAILED, host.CONFLICT) == (ssh.PROTOCOL, ssh.FAILED, ssh.CONFLICT)
    assert host.LONGEST == target.LONGEST
    assert target._VERSION.pattern == host._VERSION.pattern
    assert place._PROJECT.pattern == host._PROJECT.pattern
    # As a container's name, which is a label of DNS as well: 63 characters.
    assert place.LONGEST_PROJECT + len("--") + host.LONGEST < 64


# What it cannot be asked


@pytest.mark.parametrize(
    "asked", ["", " ", "rm -rf /", "--help", "look;id", "LOOK", "main", "../x"]
)
def test_only_its_own_verbs_are_known(asked: str, engine: Engine) -> None:
    code, said = run(asked)
    assert (code, engine.ran) == (host.MISUSED, [])
    assert "known are: look" in said


@pytest.mark.parametrize(
    "version", ["../x", "--", "-f", "V1", "1a", "a--b", "a-", "a" * 37, "a;id", "ä"]
)
@pytest.mark.parametrize("verb", ["deploy", "log", "delete v1"])
def test_a_word_that_is_no_version_is_refused(verb: str, version: str, engine: Engine) -> None:
    code, said = run(f"{verb} {version}")
    assert (code, said) == (host.MISUSED, f"{version!r} is no version\n")
    assert engine.ran == []


@pytest.mark.parametrize("asked", ["deploy", "log", "move", "write-record"])
def test_a_word_that_is_lacking_is_misuse(asked: str, engine: Engine) -> None:
    assert run(asked, "{}") == (host.MISUSED, f"'{asked}' lacks a word\n")
    assert engine.ran == []


@pytest.mark.parametrize(
    "image", ["demo", "-v@sha256:x", f"a/b:{'a' * 64}", DIGEST.upper(), f"{DIGEST}0", f"a;{DIGEST}"]
)
def test_only_an_image_by_digest_is_pulled(image: str) -> None:
    code, said = run(f"deploy v1 {image}")
    assert code == host.MISUSED
    assert "is no image" in said


@pytest.mark.parametrize(
    "line", [b"export A=s3cret", b"A B=s3cret", b"=s3cret", b"s3cret", b"A: s3cret", b"A=\xff3cret"]
)
def test_a_setting_of_another_form_is_named_and_not_repeated(line: bytes, engine: Engine) -> None:
    """What docker says repeats it, and it would stand in the log of a job."""
    serve(v1=100)
    file = host.SETTINGS / "demo.env"
    file.write_bytes(file.read_bytes() + line + b"\nB=1\n")
    engine.ran.clear()
    code, said = run(f"deploy v2 {DIGEST}")
    assert (code, said) == (
        host.FAILED,
        f"{file}, line 4: not of the form NAME=value; mend it there\n",
    )
    assert engine.ran == []


@pytest.mark.parametrize("verb", ["move", "write-record"])
@pytest.mark.parametrize("tag", ["0", "NONE", "../x", "a" * 17, "A" * 16])
def test_a_word_that_is_no_tag_is_refused(verb: str, tag: str) -> None:
    code, said = run(f"{verb} {tag}", "{}")
    assert (code, said) == (host.MISUSED, f"{tag!r} is no tag\n")


@pytest.mark.parametrize(
    "project", ["", "../projects/demo", "Demo", "a b", "--", "a" * 37, "other"]
)
def test_another_project_is_not_there(project: str) -> None:
    assert run("look", project=project)[0] == host.MISUSED


# Splitting the traffic


def test_the_slots_are_the_shares_as_exactly_as_256_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "SLOTS", SLOTS)
    chance = random.Random(1)  # noqa: S311 - the same chance in every run
    splits: list[list[float]] = [[1, 99], [33, 33, 34], [1] * 100, [1.1] * 90 + [1], [100]]
    for _ in range(200):
        cuts = sorted(chance.sample(range(1, 100), chance.randint(1, 9)))
        splits.append([b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)])
    for shares in splits:
        split = {f"v{number:03}": share for number, share in enumerate(shares)}
        found = host._slots(split)
        assert len(found) == SLOTS == 256
        for version, share in split.items():
            assert abs(found.count(version) / SLOTS * 100 - share) < 0.4
            assert found.count(version)


def test_a_move_leads_each_slot_to_a_version(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SLOTS", SLOTS)
    tag = serve(v1=90, v2=10)
    assert slots(public) == {"v1": 230, "v2": 26}
    assert (public / "now/00").resolve().joinpath("demo--v1").is_file()
    assert ask("look") == {
        "domain": "shop.test",
        "versions": dict.fromkeys(["v1", "v2"], "2026-11-27T16:54:48.123456789Z"),
        "split": {"v1": 90, "v2": 10},
        "tag": tag,
    }


def test_only_the_split_that_was_seen_is_replaced(public: Path) -> None:
    tag = serve(v1=100)
    ask(f"deploy v2 {DIGEST}")
    new = ask(f"move {tag}", '{"v2": 100}')["tag"]
    for old in (tag, "none", "0" * 16):
        code, said = run(f"move {old}", '{"v1": 100}')
        assert code == host.CONFLICT
        assert "by someone else: {'v2': 100}" in said
    assert slots(public) == {"v2": 16}
    assert [each.name for each in (public / "splits").iterdir()] == [new]


def test_to_settle_makes_a_move_that_is_on_its_way_come_too_late(public: Path) -> None:
    ask("settle")
    assert run("move none", '{"v1": 100}')[0] == host.CONFLICT
    tag = serve(v1=60, v2=40)
    before = slots(public)
    new = ask("settle")["tag"]
    assert new != tag
    assert slots(public) == before
    assert ask("look")["tag"] == new
    assert run(f"move {tag}", '{"v1": 100}')[0] == host.CONFLICT


@pytest.mark.parametrize(
    "split",
    [
        *('{"v3": 100}', '{"v1": 50, "v3": 50}', '{"v1": 99}', '{"v1": 101}', "{}", ""),
        *('{"v1": 100, "v2": 0}', '{"v1": 110, "v2": -10}', '{"../v1": 100}', '{"v1": 10'),
    ],
)
def test_a_split_that_cannot_be_is_refused(public: Path, split: str) -> None:
    tag = serve(v1=60, v2=40)
    code, _ = run(f"move {tag}", split)
    assert code in {host.FAILED, host.MISUSED}
    assert ask("look")["tag"] == tag
    assert [each.name for each in (public / "splits").iterdir()] == [tag]


def breaking(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """Let something work a number of times, and then find the disk full."""
    left = [after]

    def attempt(*args: Any, **kwargs: Any) -> Any:
        if not left[0]:
            raise NO_ROOM
        left[0] -= 1
        return function(*args, **kwargs)

    return attempt


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (Path, "mkdir", 0),
        (Path, "symlink_to", 0),
        (Path, "symlink_to", 15),
        (os, "fsync", 0),
        (Path, "symlink_to", 16),
        (Path, "replace", 1),
    ],
)
def test_a_disk_that_is_full_leaves_the_old_split(
    public: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, after: int
) -> None:
    tag = serve(v1=60, v2=40)
    before = slots(public)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, breaking(getattr(owner, name), after))
        code, said = run(f"move {tag}", '{"v1": 100}')
    assert code == host.FAILED
    assert "No space left on device" in said
    assert (ask("look")["tag"], slots(public)) == (tag, before)
    assert [each.name for each in (public / "splits").iterdir()] == [tag]


def test_a_split_that_was_replaced_is_no_failure(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step only makes it outlive a loss of power."""
    tag = serve(v1=60, v2=40)
    with monkeypatch.context() as patch:
        patch.setattr(host, "_sync", breaking(host._sync, 2))
        assert ask(f"move {tag}", '{"v1": 100}')
    assert slots(public) == {"v1": 16}


def test_a_look_while_the_split_is_replaced_sees_one_of_the_two(
    public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(v1=60, v2=40)
    real, moved = Path.readlink, list[str]()

    def overtaken(path: Path) -> Path:
        link = real(path)
        if path.name == "now" and not moved:
            moved.append(host.Project("demo")._switch({"v2": 100}))
        return link

    monkeypatch.setattr(Path, "readlink", overtaken)
    found = ask("look")
    assert (found["split"], [found["tag"]]) == ({"v2": 100}, moved)
    shutil.rmtree(public / "splits")
    assert run("look") == (host.FAILED, f"{public / 'now'} leads nowhere\n")


def test_each_kind_of_change_waits_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[str] = []

    def lock(file: IO[str], how: int) -> None:
        assert how == fcntl.LOCK_EX
        locked.append(Path(file.name).name)

    monkeypatch.setattr(fcntl, "flock", lock)
    both = [host.VERSIONS, host.SPLIT]  # in this order, always
    asked = {"look": [], "read-record": [], "log v1": [], "write-record none": [host.RECORD]}
    asked |= {f"deploy v1 {DIGEST}": both, "move none": [host.SPLIT], "settle": [host.SPLIT]}
    for words, locks in (asked | {"delete v2": both}).items():
        ask(words, '{"v1": 100}')
        assert (words, locked) == (words, locks)
        locked.clear()


# Versions


def test_an_image_is_pulled_with_a_login_that_is_nowhere_afterwards(engine: Engine) -> None:
    ask(f"deploy v1 {DIGEST}", '{"auths": 1}')
    pulled = next(line for line in engine.ran if line.startswith("--config"))
    assert pulled.endswith(f"pull --quiet {DIGEST}")
    assert engine.configs == ['{"auths": 1}']
    assert not Path(pulled.split()[1]).exists()
    start = next(line for line in engine.ran if line.startswith("run"))
    assert start.endswith(f" {engine.pulled}")


def test_a_version_starts_beside_the_others_without_any_right(engine: Engine, public: Path) -> None:
    ask("deploy v1", "the files")
    build = next(line for line in engine.ran if line.startswith("build"))
    assert engine.stdin[engine.ran.index(build)] == b"the files"
    assert "--build-arg=APP_REVISION=v1" in build
    run_ = next(line for line in engine.ran if line.startswith("run"))
    for option in ("--read-only", "--cap-drop=ALL", "no-new-privileges", "--memory=", "PROXIES=1"):
        assert option in run_
    assert f"--env-file={host.SETTINGS}/demo.env" in run_
    assert "--network=delivery-demo" in run_
    assert "--publish" not in run_
    assert "--restart" not in run_
    assert engine.ran[-1] == "update --restart=unless-stopped demo--v1"
    assert (public / "versions/v1/demo--v1").is_file()
    assert ask("look")["split"] == {}
    assert ask("log v1") == ["demo--v1 said this"]


@pytest.mark.parametrize("runs", [False, True])
def test_what_does_not_start_is_removed_again(
    engine: Engine, public: Path, monkeypatch: pytest.MonkeyPatch, *, runs: bool
) -> None:
    engine.runs = runs
    monkeypatch.setattr(host, "_answers", lambda _: False)
    monkeypatch.setattr(host, "START_TIMEOUT", -1)
    code, said = run(f"deploy v1 {DIGEST}")
    assert code == host.FAILED
    assert ("gives no answer" if runs else "v1 has ended (exit code 3)") in said
    assert "demo--v1 said this" in said
    assert engine.containers == {}
    assert not (public / "versions/v1").exists()


def test_to_wait_for_an_answer_takes_several_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, pauses = iter([False, False, True]), list[float]()
    monkeypatch.setattr(host, "_answers", lambda _: next(answers))
    monkeypatch.setattr(time, "sleep", pauses.append)
    ask(f"deploy v1 {DIGEST}")
    assert pauses == [0.1, 0.1]


@pytest.mark.parametrize("asked", ["delete v2 v1", f"deploy v1 {DIGEST}"])
def test_what_has_traffic_is_neither_deleted_nor_replaced(engine: Engine, asked: str) -> None:
    serve(v1=100)
    ask(f"deploy v2 {DIGEST}")
    before = [*engine.containers]
    assert run(asked) == (host.FAILED, "not with traffic: v1\n")
    assert [*engine.containers] == before


def test_a_deleted_version_leaves_nothing_and_gets_no_traffic(engine: Engine, public: Path) -> None:
    tag = serve(v1=100)
    for version in ("v2", "v3"):
        ask(f"deploy {version} {DIGEST}")
    engine.ran.clear()
    ask("delete v2 v3 v9")
    assert [*engine.containers] == ["demo--v1"]
    assert "stop demo--v2 demo--v3" in engine.ran
    assert {"image rm --force sha256:demo--v2", "image rm --force sha256:demo--v3"} <= {*engine.ran}
    assert [each.name for each in (public / "versions").iterdir()] == ["v1"]
    assert run(f"move {tag}", '{"v2": 100}')[0] == host.FAILED


def test_a_look_while_a_version_is_deleted_is_no_failure(engine: Engine) -> None:
    serve(v1=100)
    gone = host.RefusedError("docker: Error response from daemon: No such container: id-demo--v2")
    engine.failing["container inspect"] = gone
    assert [*ask("look")["versions"]] == ["v1"]
    engine.failing["container inspect"] = host.RefusedError("docker: is not running")
    assert run("look") == (host.FAILED, "docker: is not running\n")


# Review apps


def test_a_review_app_has_a_site_of_its_own(public: Path, sites: Path) -> None:
    ask(f"deploy mr-7 {DIGEST}")
    site = sites / "mr-7.shop.test"
    assert site.resolve() == public / "reviews/mr-7"
    assert (site / "now/0f/demo--mr-7").is_file()
    assert (site / "versions/mr-7/demo--mr-7").is_file()
    assert ask("look")["split"] == {}
    ask(f"deploy mr-7 {DIGEST}")
    assert (site / "now/00/demo--mr-7").is_file()
    ask("delete mr-7")
    assert not site.is_symlink()
    assert not (public / "reviews/mr-7").exists()


@pytest.mark.parametrize("version", ["blog", "mr-7"])
def test_the_site_of_another_project_stays(engine: Engine, sites: Path, version: str) -> None:
    """A host serves several: one may be at blog.shop.test, say."""
    site = sites / f"{version}.shop.test"
    site.symlink_to("../projects/other")
    code, said = run(f"deploy {version} {DIGEST}")
    if version == "mr-7":
        assert (code, said) == (host.FAILED, f"{site.name} belongs to another project\n")
        assert engine.containers == {}
    else:
        assert code == 0
    ask(f"delete {version}")
    assert site.readlink() == Path("../projects/other")


# The record


def test_of_two_who_write_the_record_one_succeeds() -> None:
    assert ask("read-record") == {"text": "", "tag": "none"}
    tag = ask("write-record none", '{"one": "ä"}')["tag"]
    assert ask("read-record") == {"text": '{"one": "ä"}', "tag": tag}
    assert run("write-record none", '{"two": 2}')[0] == host.CONFLICT
    assert run(f"write-record {'0' * 16}", '{"two": 2}')[0] == host.CONFLICT
    new = ask(f"write-record {tag}", '{"three": 3}')["tag"]
    assert ask("read-record") == {"text": '{"three": 3}', "tag": new}


@pytest.mark.parametrize("stdin", [b"", b'{"moves": [1, 2', b'"\xff"'])
def test_half_a_record_is_not_written(stdin: bytes) -> None:
    tag = ask("write-record none", "{}")["tag"]
    code, _, _ = call(host.main, "demo", f"write-record {tag}", stdin=stdin)
    assert code == host.FAILED
    assert ask("read-record") == {"text": "{}", "tag": tag}


def test_a_disk_that_is_full_leaves_the_old_record(monkeypatch: pytest.MonkeyPatch) -> None:
    tag = ask("write-record none", "{}")["tag"]
    monkeypatch.setattr(os, "fsync", breaking(os.fsync, 0))
    assert run(f"write-record {tag}", '{"new": 1}')[0] == host.FAILED
    assert ask("read-record")["tag"] == tag


# Docker


def test_what_a_program_complains_of_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    done = subprocess.CompletedProcess([], 1, b"", b"no \xff such image\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(host.RefusedError, match="no \ufffd such image"):
        host._docker("pull", "x", "y")
    done.returncode, done.stdout = 0, b"done"
    assert host._docker("ps") == "done"
