"""Which target a project has: the one that was chosen, and nothing of the others."""

from typing import TYPE_CHECKING

import pytest
from delivery import appengine
from delivery.appengine.target import AppEngine

from tests.conftest import Bake
from tests.support.answers import PROMPTS

if TYPE_CHECKING:
    from delivery.target import Target

pytestmark = pytest.mark.fast
TARGETS = PROMPTS["deploy_to"]


def test_each_is_a_target_to_the_type_checker_too() -> None:
    chosen: list[type[Target]] = [AppEngine]
    assert chosen[0] is appengine.DESTINATION.target


@pytest.mark.parametrize("target", TARGETS)
def test_a_bake_carries_the_files_of_its_target_only(render: Bake, target: str) -> None:
    files_of = PROMPTS["_files_of"]["deploy_to"]
    for other in TARGETS:
        for path in set(files_of[other]) - set(files_of[target]):
            assert not (render(deploy_to=target).path / path).exists(), path
    for path in files_of[target]:
        assert (render(deploy_to=target).path / path).exists(), path


def test_hooks_leave_the_same_files(bake: Bake, render: Bake) -> None:
    made = {*bake(deploy_to="cloud-run").files()} - {".cruft.json"}
    assert made == render(deploy_to="cloud-run").files()


@pytest.mark.parametrize("target", TARGETS)
def test_main_names_it(render: Bake, target: str) -> None:
    main = render(deploy_to=target).read("delivery/__main__.py")
    assert f"main({target.replace('-', '')}.DESTINATION)" in main
