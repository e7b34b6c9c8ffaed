"""Nothing outlives the emulator."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from emulators.appengine import AppEngine
from tests.conftest import TEMPLATE
from tests.emulators.clients import deploy, get

pytestmark = [pytest.mark.delivery, pytest.mark.xdist_group("emulator-lifetime")]


def test_every_process_and_file_goes_with_it() -> None:
    with AppEngine() as gae:
        deploy(gae, "one")
        assert get(gae, gae.url)[0] == 200
        pid = gae.version("one").instance.pid
        assert pid is not None
        bundle = Path(gae.environment()["SSL_CERT_FILE"])
        assert bundle.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not bundle.parent.exists()


def test_it_runs_as_a_command_until_interrupted() -> None:
    command = [sys.executable, "-m", "emulators.appengine", "--credentials", "key"]
    with subprocess.Popen(command, cwd=TEMPLATE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        variables = {}
        for line in iter(process.stdout.readline, ""):
            if line.startswith("#"):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            variables[name] = value
        assert variables["APP_URL"].startswith("https://127.0.0.1:")
        base = variables["CLOUDSDK_API_ENDPOINT_OVERRIDES_APPENGINE"]
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(f"{base}v1/apps/demo-project", timeout=10)
        refused.value.close()
        key = Path(variables["GAE_KEY"])
        assert json.loads(key.read_text("utf-8"))["token_uri"] == f"{base}token"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not key.exists()
