"""How a plan comes about: one start of gcloud, all looks at once, and what it finds by itself."""

import os
from pathlib import Path

import pytest

from tests.connect.conftest import Pair
from tests.support.clone import finish
from tests.support.tools import require

pytestmark = pytest.mark.delivery


def test_all_looks_are_taken_at_once(pair: Pair) -> None:
    held = [
        *(
            pair.google.gae.hold_next("GET", path)
            for path in ("/billingInfo", "/services", "/apps")
        ),
        *(pair.google.gae.hold_next("POST", ask) for ask in (":getIamPolicy", ":testIamPerm")),
        *(pair.gitlab.faults.hold_next("GET", path) for path in ("/version", "/variables")),
    ]
    process = pair.start("connect", "--dry-run")
    try:
        assert [gate.reached(30) for gate in held] == [True] * len(held), "none waits for another"
    finally:
        for gate in held:
            gate.release()
    assert finish(process).code == 0


def test_gcloud_is_started_once(pair: Pair, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    counter = tmp_path / "bin" / "gcloud"
    counter.parent.mkdir()
    counter.write_text(f'#!/bin/sh\necho "$*" >>"{starts}"\nexec "{require("gcloud")}" "$@"\n')
    counter.chmod(0o755)
    pair.connect(PATH=f"{counter.parent}{os.pathsep}{os.environ['PATH']}")
    (start,) = starts.read_text().splitlines()
    assert start.startswith("config config-helper")


def test_gcloud_s_own_project_is_taken(pair: Pair) -> None:
    pair.connect(GAE_PROJECT="", CLOUDSDK_CORE_PROJECT="demo-project")
    project = pair.gitlab.variable("GAE_PROJECT")
    assert project
    assert project["value"] == "demo-project"


def test_glab_s_own_token_is_taken(pair: Pair, tmp_path: Path) -> None:
    require("glab")
    host = pair.gitlab.url.removeprefix("http://")
    config = tmp_path / "glab" / "config.yml"
    config.parent.mkdir(mode=0o700)
    config.touch(0o600)
    config.write_text(f"hosts:\n  {host}:\n    token: {pair.gitlab.token}\n", "utf-8")
    pair.connect(GITLAB_TOKEN="", GLAB_CONFIG_DIR=str(config.parent))
    assert pair.gitlab.variable("GAE_PROJECT")
