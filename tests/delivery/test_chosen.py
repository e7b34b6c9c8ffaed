"""Which target the project has."""

from typing import TYPE_CHECKING

import delivery.chosen
from delivery.google.appengine import AppEngine

if TYPE_CHECKING:
    from delivery.target import Target


def test_the_chosen_target_is_one_to_the_type_checker_too() -> None:
    chosen: type[Target] = delivery.chosen.Target
    assert chosen is AppEngine
    assert "GAE_PROJECT" in chosen.SETTINGS
