"""renovate.json of a bake: what Renovate takes, and what it then keeps up to date."""

import json
import re
from typing import Any

import pytest

from tests.conftest import Bake
from tests.support.tools import require


@pytest.fixture
def config(render: Bake) -> dict[str, Any]:
    """Return the configuration."""
    parsed: dict[str, Any] = json.loads(render().read("renovate.json"))
    return parsed


def test_renovate_accepts_it(bake: Bake) -> None:
    project = bake()
    validator = require("renovate-config-validator")

    said = project.must(validator, "--strict", "--no-global", "renovate.json")
    assert "Config validated successfully" in said
    project.write("renovate.json", project.read("renovate.json").replace("groupName", "grupName"))
    assert project.run(validator, "--strict", "--no-global", "renovate.json").returncode == 1


@pytest.mark.fast
def test_every_tool_that_is_installed_by_name_is_kept_up_to_date(
    render: Bake, config: dict[str, Any]
) -> None:
    (manager,) = config["customManagers"]
    (pattern,) = manager["matchStrings"]
    pattern = re.sub(r"\(\?<(\w)", r"(?P<\1", pattern)
    for name in (".gitlab-ci.yml", "Dockerfile"):
        text = render().read(name)
        pins = re.findall(r"([\w-]+)==(\d[\d.]*)", text)
        assert [(m["depName"], m["currentValue"]) for m in re.finditer(pattern, text)] == pins
        assert pins
        assert any(re.search(p.strip("/"), name) for p in manager["managerFilePatterns"])


@pytest.mark.fast
def test_the_locks_come_from_the_projects_own_command(config: dict[str, Any]) -> None:
    (rule,) = [rule for rule in config["packageRules"] if "postUpgradeTasks" in rule]

    assert rule["postUpgradeTasks"]["commands"] == ["bin/lock --upgrade"]
    assert rule["matchManagers"] == ["pep621"]
    assert "pip_requirements" not in config["enabledManagers"]  # which knows one package at a time


@pytest.mark.fast
def test_a_known_vulnerability_does_not_wait_for_monday(config: dict[str, Any]) -> None:
    assert config["schedule"] == ["before 6am on monday"]
    assert config["vulnerabilityAlerts"]["schedule"] == ["at any time"]
    assert config["osvVulnerabilityAlerts"] is True
