"""A baked project with a Google of its own, and the verbs in which the tests speak of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cookiecutter.main import cookiecutter
from delivery import record
from delivery.record import Hold, Move, Record

from emulators.appengine import AppEngine, Gate
from tests.conftest import PROJECT, TEMPLATE, clean_environment
from tests.support.tools import require
from tests.support.visitors import ask, connect

FIRST_COMMIT = datetime(2026, 11, 1, 12, tzinfo=UTC)
# Files that lie about in real projects, and that nobody wants to upload.
DECOYS = {
    ".env": "SECRET=1",
    "key.json": "{}",
    "notes.txt": "untracked",
    "app/__pycache__/pages.cpython-313.pyc": "cache",
    "app/static/.DS_Store": "cache",
    "instance/app.db": "data",
    "venv/bin/python": "#!",
    ".venv/pyvenv.cfg": "home",
    ".coverage": "data",
}
CRASHES = {"app/__init__.py": "raise RuntimeError('no start')\n"}
HANGS = {"gunicorn.conf.py": "import time\ntime.sleep(60)\n"}
PAGES = """\
from flask import Blueprint, redirect
from werkzeug.wrappers import Response

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def index() -> Response:
    {body}
"""
FAILS = {"app/pages.py": PAGES.format(body="raise RuntimeError('no page')")}
REDIRECTS = {"app/pages.py": PAGES.format(body="return redirect('https://elsewhere.example/')")}


def impostor(revision: str) -> dict[str, str]:
    """Change the app so that it gives another revision than its own."""
    health = (PROJECT / "app/health.py").read_text("utf-8")
    return {"app/health.py": f"{health}\n\ndef revision() -> str:\n    return '{revision}'\n"}


@dataclass
class Outcome:
    """How a command ended, and all that it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        return self.err + self.out


@dataclass
class Product:
    """A baked project under git, a Google of its own, and the person or job that delivers."""

    gae: AppEngine
    path: Path
    temp: Path
    env: dict[str, str]
    first: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    _commits: int = 0

    def git(self, *arguments: str, strip: bool = True, **env: str) -> str:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", *arguments],
            cwd=self.path,
            env=clean_environment() | env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip() if strip else done.stdout

    def commit(self, files: Mapping[str, str] | None = None, minutes: int | None = None) -> str:
        """Commit changes one minute after the last ones; return the version's name to be."""
        for name, text in (files or {}).items():
            (self.path / name).write_text(text, "utf-8")
        stamp = FIRST_COMMIT + timedelta(minutes=self._commits if minutes is None else minutes)
        self._commits += 1
        self.git("add", "--all")
        message = ["commit", "--quiet", "--allow-empty", "-m", "a change"]
        self.git(*message, GIT_COMMITTER_DATE=stamp.isoformat())
        return f"v{stamp:%Y%m%dt%H%M%S}-{self.git('rev-parse', 'HEAD')[:8]}"

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Start `python -m delivery`, in the way of a shell: with nothing of the test's own."""
        return subprocess.Popen(
            [sys.executable, "-m", "delivery", *arguments],
            cwd=self.path,
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def deliver(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb to its end; whatever becomes of it, no credential may stay behind."""
        start = time.monotonic()
        with self.start(*arguments, **env) as process:
            out, err = process.communicate(timeout=120)
        outcome = Outcome(process.returncode, out, err, time.monotonic() - start)
        self.outcomes.append(outcome)
        self.expect_no_credential(outcome.said)
        assert self.left_over() == []
        return outcome

    def left_over(self) -> list[Path]:
        """Find the private folders of credentials; gcloud's own, once killed, hold none."""
        return list(self.temp.glob("delivery-*"))

    def must(self, *arguments: str, **env: str) -> Outcome:
        """Run a verb that has to succeed."""
        outcome = self.deliver(*arguments, **env)
        assert outcome.code == 0, outcome.said
        return outcome

    def expect_no_credential(self, text: str) -> None:
        """Look for every secret in a log, the uploads, the project and the folders around it."""
        places = [text.encode(), *self.gae.staged()]
        for folder in (self.path, self.temp, *map(Path, self._homes())):
            files = (path for path in folder.rglob("*") if path.is_file())
            # A laptop's own access token stays where gcloud on that laptop has it.
            places += [path.read_bytes() for path in files if path.name != "access-token"]
        for secret in self.gae.secrets():
            assert not any(secret.encode() in place for place in places), "a credential got out"

    def _homes(self) -> list[str]:
        return [self.env["HOME"], self.env["CLOUDSDK_CONFIG"]]

    def remember(self, *moves: tuple[str, dict[str, float], str], held: Iterable[str] = ()) -> None:
        """Write a record: moves as (verb, split in per cent, outcome), a minute apart each."""
        before: dict[str, float] = {}
        known, at = Record(), datetime.now(UTC) - timedelta(hours=12)
        for verb, after, outcome in moves:
            at += timedelta(minutes=1)
            known = known.having(Move(verb, before, after, "Ada", at, outcome))
            before = before if outcome == record.RESTORED else after
        known = known.holding(set(held), Hold("Ada rolled back from it", at))
        text = record.dump(known).encode()
        self.gae.storage.write(self.gae.default_bucket, "delivery/default.json", text)

    def record(self) -> Record:
        """Read the record as it lies in the bucket."""
        objects = self.gae.storage.buckets[self.gae.default_bucket].objects
        return record.load(objects["delivery/default.json"].data.decode())

    def copy(self, minutes: float, source: str = "", **files: str) -> str:
        """Put a version there as if delivered from a commit so many minutes after the first."""
        name = f"v{FIRST_COMMIT + timedelta(minutes=minutes):%Y%m%dt%H%M%S}-0123abcd"
        self.gae.copy_version(source or self.first, name, **files)
        return name

    def revision(self) -> str:
        """Ask production who it is."""
        return str(json.loads(self.page("/health"))["revision"])

    def page(self, path: str = "/") -> str:
        """Visit production."""
        with connect(self.gae) as connection:
            status, body = ask(connection, path)
        assert status == 200, body
        return body.decode()


def new_product(folder: Path, gae: AppEngine) -> Product:
    """Bake, commit, and stand at a laptop on which gcloud is signed in."""
    require("gcloud")
    path = cookiecutter(
        str(TEMPLATE),
        no_input=True,
        output_dir=str(folder),
        accept_hooks=False,
        default_config=True,
    )
    env = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temp")}
    for name in env.values():
        Path(name).mkdir()
    keep = ("PATH", "LANG", "LC_ALL", "CLOUDSDK_PYTHON", "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE")
    env |= {name: os.environ[name] for name in keep if name in os.environ}
    env |= gae.environment(signed_in=True) | {"GAE_PROJECT": gae.project}
    product = Product(gae, Path(path), folder / "temp", env)
    product.git("init", "--quiet")
    product.first = product.commit()
    return product


def a_job(product: Product) -> dict[str, str]:
    """The variables of a job in GitLab that signs in without a key."""
    return {
        "CI": "true",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "",
        "GCP_WORKLOAD_IDENTITY_PROVIDER": product.gae.provider,
        "GCP_SERVICE_ACCOUNT": product.gae.service_account,
        "GITLAB_OIDC_TOKEN": product.gae.gitlab_token(),
    }


def a_job_with_key(key: str) -> dict[str, str]:
    """The variables of a job in GitLab that has a key."""
    return {"CI": "true", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": "", "GAE_KEY": key}


def nobody() -> dict[str, str]:
    """A gcloud that nobody signed in."""
    return {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": ""}


def kill_at(product: Product, gate: Gate, *command: str) -> None:
    """Kill a delivery while one of its requests is held, and see that nothing of it is left."""
    with product.start(*command, **a_job(product)) as process:
        assert gate.reached(), "the verb never asked for this"
        process.kill()
        out, err = process.communicate(timeout=30)
    wait_until(lambda: product.left_over() == [])
    gate.abandon()
    product.expect_no_credential(out + err)


def production_files(product: Product) -> set[str]:
    """What production needs: the application, its locked packages, how to run it."""
    tracked = product.git("ls-files", "app", ":(exclude,glob)**/.*").splitlines()
    return {*tracked, "app.yaml", "gunicorn.conf.py", "requirements.txt"}


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll what no event announces."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
