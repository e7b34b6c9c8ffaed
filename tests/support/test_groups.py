"""Tests that share what is slow to start stay with one worker: xdist must keep its groups."""

import os

import pytest


@pytest.mark.fast
@pytest.mark.xdist_group("kept")
def test_a_group_is_known_by_the_name_of_its_tests(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("there are no workers")
    assert request.node.nodeid.endswith("@kept")
