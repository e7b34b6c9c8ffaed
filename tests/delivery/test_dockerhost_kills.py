"""The program on a Docker host, killed at any step."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fcntl", reason="Windows has no such server")

from delivery.dockerhost import host

from tests.delivery.ssh import Engine
from tests.delivery.test_dockerhost_attacks import DIGEST, ask, public, run, serve, traffic


class Killed(BaseException):
    """What a killed process does not notice."""


STEPS: list[tuple[object, str]] = [
    (Path, name) for name in ("mkdir", "touch", "symlink_to", "replace", "unlink")
]
STEPS += [(os, name) for name in ("fsync", "unlink", "rmdir")]


def killed_at(step: int, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let everything that changes something raise from one step on; return the steps made."""
    made = [0]

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*args: Any, **kwargs: Any) -> Any:
            made[0] += 1
            if made[0] >= step:
                raise Killed
            return function(*args, **kwargs)

        return attempt

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, count(getattr(owner, name)))
    monkeypatch.setattr(host, "_run", count(engine.run))
    return made


@pytest.mark.parametrize(
    ("asked", "stdin"),
    [
        (f"deploy v3 {DIGEST}", ""),
        ("deploy v2", "files"),
        (f"deploy mr-7 {DIGEST}", ""),
        (f"deploy mr-8 {DIGEST}", ""),
        ("move TAG", '{"v1": 40, "v2": 60}'),
        ("settle", ""),
        ("delete v2 mr-7", ""),
        ("write-record none", '{"new": 1}'),
    ],
    ids=lambda word: word.partition("@")[0],
)
def test_after_a_kill_at_any_step_the_same_can_be_asked_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, asked: str, stdin: str
) -> None:
    monkeypatch.setattr(host, "SLOTS", 4)  # each of which is a step
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a step, too, and a slow one
    step = 0
    while True:
        step += 1
        start_over(engine)
        word = asked.replace("TAG", ask("look")["tag"])
        with monkeypatch.context() as patch:
            made = killed_at(step, engine, patch)
            with suppress(Killed):
                run(word, stdin)
        if made[0] < step:
            break  # it was not killed any more
        found = ask("look")
        assert traffic() in (["v1"], ["v1", "v2"])
        assert set(traffic()) == {*found["split"]}
        serving = [*(public() / "now/00").iterdir()]
        assert [file.name for file in serving] == ["demo--v1"]
        again = asked.replace("TAG", found["tag"])
        code, said = run(again, stdin)
        if asked.startswith("write-record") and code == host.CONFLICT:
            assert ask("read-record")["text"] == stdin, "it had been written"
        else:
            assert code == 0, (step, said)
        check(asked, engine)
    assert step > 2, "there were steps to be killed at"


def start_over(engine: Engine) -> None:
    """Lay out v1 with all traffic, v2, and the review app mr-7."""
    for name in [*engine.containers]:
        del engine.containers[name]
    for name in ("record.json", "record.new"):
        (host.ROOT / "projects/demo" / name).unlink(missing_ok=True)
    for folder in (public(), host.ROOT / "proxy/sites"):
        shutil.rmtree(folder)
        folder.mkdir()
    serve("v1")
    ask(f"deploy v2 {DIGEST}")
    ask(f"deploy mr-7 {DIGEST}")


def check(asked: str, engine: Engine) -> None:
    """Compare what is there with what was asked for."""
    there = {"v1", "v2", "mr-7"}
    if asked.startswith("deploy"):
        there |= {asked.split()[1]}
    if asked.startswith("delete"):
        there -= {*asked.split()}
    assert {*ask("look")["versions"]} == there
    assert {*engine.containers} == {f"demo--{version}" for version in there}
    files = {file.name for file in (public() / "versions").glob("*/*")}
    assert files == {f"demo--{version}" for version in there}
    sites = {site.name for site in (host.ROOT / "proxy/sites").iterdir() if site.name[0] != "."}
    assert sites == {f"{version}.shop.test" for version in there if version.startswith("mr-")}
    for site in sites:
        assert [*(host.ROOT / "proxy/sites" / site / "now/03").iterdir()]
    assert {*ask("look")["split"]} == ({"v1", "v2"} if asked.startswith("move") else {"v1"})
    assert len([*(public() / "splits").iterdir()]) <= 2, "what a kill left is removed later"


@pytest.mark.usefixtures("engine")
def test_a_version_of_which_half_is_left_gets_no_traffic() -> None:
    tag = serve("v1")
    ask(f"deploy v2 {DIGEST}")
    (public() / "versions/v2/demo--v2").unlink()
    assert run(f"move {tag}", '{"v2": 100}')[0] == host.FAILED
    assert traffic() == ["v1"]
