"""What the tests of all targets begin with, and come back to: a target after its first delivery."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.targets.world import World

W = TypeVar("W", bound=World)


def on(*kinds: type[World]) -> pytest.MarkDecorator:
    """Return the mark of tests that take the fixture `world`, for these kinds of it.

    A kind stays with one worker, which opens it once.
    """
    params = [
        pytest.param(kind, id=kind.deploy_to, marks=pytest.mark.xdist_group(kind.deploy_to))
        for kind in kinds
    ]
    return pytest.mark.parametrize("opened", params, indirect=True, scope="session")


@contextmanager
def delivered(kind: type[W], folder: Path) -> Iterator[W]:
    """Open a world, and make the first delivery."""
    world = kind.open(folder)
    try:
        first_delivery(world)
        yield world
    finally:
        world.close()


def start_over(world: World) -> None:
    """Go back to the first commit and to its version alone."""
    world.git("reset", "--quiet", "--hard", world.git("rev-list", "--max-parents=0", "HEAD"))
    world.git("clean", "--quiet", "-dfx", "--exclude=__pycache__")
    world.after_first()


def first_delivery(world: World) -> None:
    """Deliver the first version as the pipeline with a canary does."""
    refused = world.run("review", "7", **world.build())
    if world.first_serves:
        assert refused.code == 3, refused.said
    else:
        assert refused.code == 0, refused.said
        assert world.traffic().get("mr-7") is None
        world.must_run("stop", "7")
    assert world.versions() == set()
    world.upload()
    assert world.versions() == {world.first}
    if not world.first_serves:
        assert world.first not in world.traffic(), "it was not verified yet"
    world.must_run("verify")
    world.must_run("promote", "--canary", "10")  # there is nothing to share the traffic with
    assert world.traffic() == {world.first: 100}
    world.must_run("promote")
    world.must_run("prune")
    assert world.ask("/")[0] == 200
    agree(world)
    world.after_first = world.bookmark()


def another(world: World, seconds: int) -> str:
    """Put a version there that is like the first, with the name of one so many seconds later."""
    name = f"{world.first[:14]}{seconds:02}-{seconds:08x}"
    world.copy(name)
    return name


def agree(world: World) -> None:
    """See that the record says what serves: `status` would say so if not."""
    said = world.must_run("status")
    assert "without these commands" not in said.err, said.err
    assert "not recorded" not in said.err, said.err
    for version, share in world.traffic().items():
        assert re.search(rf"\* *{version} +{share:g} %", said.out), said.out
