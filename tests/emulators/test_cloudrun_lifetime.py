"""Nothing outlives Cloud Run's emulator."""

import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from emulators.cloudrun import CloudRun
from emulators.cloudrun.instance import LABEL
from tests.conftest import TEMPLATE
from tests.emulators.cloudrun import body_of, call, create, get, push
from tests.support.tools import require

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("cloudrun-lifetime")]


def docker(*arguments: str) -> str:
    """Return what docker prints."""
    command = [require("docker"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.containers
def test_every_container_image_and_file_goes_with_it() -> None:
    with CloudRun() as run:
        image = push(run)
        create(run, body_of(image))
        assert get(run, run.url)[0] == 200
        mine = f"--filter=label={LABEL}={run.docker.identity}"
        assert len(docker("ps", "--quiet", mine).split()) == 1
        bundle = Path(run.environment()["SSL_CERT_FILE"])
        assert bundle.exists()
    assert docker("ps", "--all", "--quiet", mine) == ""
    assert docker("images", "--quiet", image.partition("@")[0]) == ""
    assert not bundle.parent.exists()


@pytest.mark.containers
def test_a_container_that_is_starting_goes_with_it() -> None:
    with CloudRun(deadline=3) as run:
        image = push(run)
        body = body_of(image, env={"MODE": "deaf"})
        assert (
            call(run, "POST", "apis/serving.knative.dev/v1/namespaces/demo-project/services", body)[
                0
            ]
            == 200
        )
        mine = f"--filter=label={LABEL}={run.docker.identity}"
    assert docker("ps", "--all", "--quiet", mine) == ""


def test_it_runs_as_a_command_until_interrupted() -> None:
    command = [sys.executable, "-m", "emulators.cloudrun", "--credentials", "key"]
    with subprocess.Popen(command, cwd=TEMPLATE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        variables = {}
        for line in iter(process.stdout.readline, ""):
            if line.startswith("#"):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            variables[name] = value
        assert variables["RUN_REPOSITORY"].endswith("/demo-project/app")
        base = variables["http_proxy"]
        path = "apis/serving.knative.dev/v1/namespaces/demo-project/services"
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{base}{path}", timeout=10)
        refused.value.close()
        key = Path(variables["GCP_KEY"])
        assert key.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not key.exists()
