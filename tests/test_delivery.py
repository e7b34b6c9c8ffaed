"""What the baked project promises about deliveries: the real gcloud, a real app, a local Google."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from emulators.appengine import AppEngine, Gate
from tests.conftest import PROJECT, TEMPLATE, clean_environment
from tests.support.tools import require
from tests.support.visitors import Load, ask, connect

pytestmark = pytest.mark.delivery

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

    def git(self, *arguments: str, **env: str) -> str:
        done = subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", "-c", "init.defaultBranch=main", *arguments],
            cwd=self.path,
            env=clean_environment() | env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        """Commit changes one minute after the last ones; give the version's name to be."""
        for name, text in files.items():
            (self.path / name).write_text(text, "utf-8")
        stamp = FIRST_COMMIT + timedelta(minutes=self._commits)
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


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A project after its first delivery, for all tests that one worker runs."""
    with AppEngine(deadline=5) as gae:
        product = new_product(tmp_path_factory.mktemp("product"), gae)
        for verb in ("deploy", "verify", "promote"):
            product.must(verb)
        yield product


@pytest.fixture
def product(delivered: Product) -> Iterator[Product]:
    """The project as it was after its first delivery: one version, all traffic, no fault."""
    delivered.gae.reset(delivered.first)
    delivered.git(
        "reset", "--quiet", "--hard", delivered.git("rev-list", "--max-parents=0", "HEAD")
    )
    delivered.git("clean", "--quiet", "-dfx")
    yield delivered
    delivered.gae.heal()
    assert delivered.gae.unmodelled == [], "delivery asks for more than the emulator models"


@pytest.mark.xdist_group("delivery-1")
class TestADelivery:
    """From a commit to production."""

    def test_the_first_one_serves_hello_world(self, product: Product) -> None:
        deploy, verify, promote = product.outcomes[:3]
        assert "first version" in deploy.err
        assert deploy.out.strip() == verify.out.strip() == product.gae.version_url(product.first)
        assert promote.out.strip() == product.gae.url
        assert product.gae.traffic == {product.first: 1.0}
        assert product.revision() == product.first
        assert "Hello World!" in product.page()

    def test_only_what_production_needs_is_uploaded(self, product: Product) -> None:
        assert product.gae.uploads(product.first) == production_files(product)

    def test_the_next_one_loses_no_request_and_uploads_nothing_that_lies_about(
        self, product: Product
    ) -> None:
        page = product.path / "app/templates/index.html"
        text = page.read_text("utf-8").replace("Hello World!", "Hello World! And you.")
        version = product.commit(**{"app/templates/index.html": text})
        for name, content in DECOYS.items():
            (product.path / name).parent.mkdir(parents=True, exist_ok=True)
            (product.path / name).write_text(content, "utf-8")
        with Load(product.gae) as load:
            assert product.must("deploy").out.strip() == product.gae.version_url(version)
            assert product.gae.traffic == {product.first: 1.0}, "deploying moves no traffic"
            checks = [product.must("verify"), product.must("promote")]
            settled = load.revisions[version]
            wait_until(lambda: load.revisions[version] > settled + 10)
        assert load.lost == []
        assert set(load.revisions) == {product.first, version}
        assert product.gae.traffic == {version: 1.0}
        assert "And you." in product.page()
        assert product.gae.uploads(version) == production_files(product)
        assert sum(done.seconds for done in checks) < 30, "usually 5 s on an idle machine"

    def test_repeating_a_step_changes_nothing(self, product: Product) -> None:
        for verb in ("deploy", "promote"):
            product.must(verb)
        assert product.gae.versions == [product.first]
        version = product.copy(5)
        product.must("promote", version)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_changes_that_are_not_committed_are_not_delivered(self, product: Product) -> None:
        (product.path / "app/pages.py").write_text("# in the middle of something\n", "utf-8")
        calls = len(product.gae.requests)
        refused = product.deliver("deploy")
        assert refused.code == 3
        assert "app/pages.py" in refused.err
        assert len(product.gae.requests) == calls

    def test_a_build_that_fails_leaves_nothing_behind(self, product: Product) -> None:
        lock = (product.path / "requirements.txt").read_text("utf-8")
        broken = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock)
        product.commit(**{"requirements.txt": broken})
        failed = product.deliver("deploy")
        assert failed.code == 1
        assert "Cloud build" in failed.err
        assert product.gae.versions == [product.first]
        assert product.revision() == product.first

    def test_a_dry_run_only_talks(self, product: Product) -> None:
        product.commit()
        version = product.copy(5)
        before = len(product.gae.requests)
        assert "gcloud app deploy" in product.must("--dry-run", "deploy").out
        assert "set-traffic" in product.must("--dry-run", "promote", version).out
        assert {call.method for call in product.gae.requests[before:]} == {"GET"}

    def test_status_shows_the_versions(self, product: Product) -> None:
        version = product.copy(5)
        shown = product.must("status").out
        assert re.search(rf"^\* {product.first} +100 %", shown, re.MULTILINE), shown
        assert version in shown
        assert shown.splitlines()[-1] == product.gae.url


@pytest.mark.xdist_group("delivery-2")
class TestABrokenVersion:
    """Whatever is wrong with it, production does not notice."""

    @pytest.mark.parametrize(
        ("files", "reason"),
        [
            pytest.param(CRASHES, "500", id="crashes at start"),
            pytest.param(HANGS, "does not answer|504", id="hangs"),
            pytest.param(impostor("v20200101t000000-00000000"), "v20200101", id="is another"),
            pytest.param(FAILS, "500", id="500 on the page"),
            pytest.param(REDIRECTS, "elsewhere.example", id="sends its visitors elsewhere"),
        ],
    )
    def test_is_deleted_and_traffic_stays(
        self, product: Product, files: dict[str, str], reason: str
    ) -> None:
        version = product.copy(5, **files)
        with Load(product.gae, visitors=1) as load:
            failed = product.deliver("verify", version, "--timeout", "4")
        assert failed.code == 1
        assert re.search(reason, failed.err), failed.err
        assert re.search(r"production: +unchanged", failed.err)
        assert product.gae.versions == [product.first]
        assert product.gae.traffic == {product.first: 1.0}
        assert load.lost == []
        assert set(load.revisions) == {product.first}

    def test_is_not_promoted_either(self, product: Product) -> None:
        version = product.copy(5, **FAILS)
        refused = product.deliver("promote", version, "--timeout", "2")
        assert refused.code == 3
        assert product.gae.traffic == {product.first: 1.0}

    def test_that_serves_alone_is_kept(self, product: Product) -> None:
        version = product.copy(5, **FAILS)
        product.gae.admin.reset({version: 1.0}, {product.first, version})
        failed = product.deliver("verify", version, "--timeout", "2")
        assert failed.code == 1
        assert "rollback" in failed.err
        assert product.gae.traffic == {version: 1.0}

    def test_is_not_blamed_for_a_network_that_cannot_reach_it(self, product: Product) -> None:
        version = product.copy(5)
        nobody = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": str(product.temp)}
        failed = product.deliver("verify", version, "--timeout", "2", **nobody)
        assert failed.code == 1
        assert "CERTIFICATE_VERIFY_FAILED" in failed.err
        assert version in product.gae.versions

    def test_that_fails_only_in_production_is_taken_back(self, product: Product) -> None:
        version = product.copy(5)
        product.gae.front.faults.fail_next("GET", "/health", 500, times=10_000)
        restored = product.deliver("promote", version, "--timeout", "2")
        assert restored.code == 4
        assert product.gae.traffic == {product.first: 1.0}
        assert "restored" in restored.err


@pytest.mark.xdist_group("delivery-2")
class TestTraffic:
    """Who gets it, and who never does."""

    def test_an_older_version_does_not_overtake_a_newer_one(self, product: Product) -> None:
        older = product.copy(-5)
        refused = product.deliver("promote", older)
        assert refused.code == 3
        assert "older" in refused.err
        assert product.gae.traffic == {product.first: 1.0}
        product.must("promote", older, "--force")
        assert product.gae.traffic == {older: 1.0}

    def test_two_promotions_at_once_do_not_interleave(self, product: Product) -> None:
        version, other = product.copy(5), product.copy(6)
        gate = product.gae.hold_next("GET", r"/services/default\?")
        with product.start("promote", version) as process:
            assert gate.reached()
            product.gae.admin.reset({other: 1.0}, {product.first, version, other})
            gate.release()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "someone else" in err
        assert product.gae.traffic == {other: 1.0}

    def test_a_rollback_returns_to_the_newest_older_one_that_works(self, product: Product) -> None:
        broken = product.copy(5, **FAILS)
        bad = product.copy(6)
        newer = product.copy(7)
        product.gae.admin.reset({bad: 1.0}, {product.first, broken, bad, newer})
        with Load(product.gae, visitors=1) as load:
            back = product.must("rollback", "--timeout", "2")
            wait_until(lambda: load.revisions[product.first] > 0)
        assert broken in back.err, "it was tried first"
        assert product.gae.traffic == {product.first: 1.0}
        assert load.lost == []

    def test_a_rollback_goes_where_it_is_told(self, product: Product) -> None:
        older, newer = product.copy(-5), product.copy(5)
        product.gae.admin.reset({newer: 1.0}, {product.first, older, newer})
        product.must("rollback", older)
        assert product.gae.traffic == {older: 1.0}

    def test_without_an_older_version_there_is_no_rollback(self, product: Product) -> None:
        failed = product.deliver("rollback")
        assert failed.code == 1
        assert "no version is older" in failed.err
        assert product.gae.traffic == {product.first: 1.0}

    def test_a_canary_gets_its_share_and_then_all_or_nothing(self, product: Product) -> None:
        version = product.copy(5)
        product.must("promote", version, "--canary", "20")
        assert product.gae.traffic == {product.first: 0.8, version: 0.2}
        seen = Counter(product.revision() for _ in range(300))
        # Binomial with n = 300 and p = 0.2: 60 on average, a standard deviation of 6.9.
        assert abs(seen[version] - 60) < 4 * 6.9, seen
        product.must("rollback")
        assert product.gae.traffic == {product.first: 1.0}
        product.gae.admin.reset({product.first: 0.8, version: 0.2}, {product.first, version})
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_prune_keeps_traffic_rollbacks_reviews_and_what_others_named(
        self, product: Product
    ) -> None:
        older = [product.copy(minutes) for minutes in (-4, -3, -2, -1)]
        newer = product.copy(5)
        product.gae.copy_version(product.first, "mr-7")
        product.gae.copy_version(product.first, "by-hand")
        product.must("prune", "--keep", "2")
        kept = {*older[2:], product.first, newer, "mr-7", "by-hand"}
        assert set(product.gae.versions) == kept
        assert "Nothing to prune" in product.must("prune", "--keep", "2").err


@pytest.mark.xdist_group("delivery-1")
class TestReviews:
    """A merge request's own version."""

    def test_comes_without_traffic_and_goes(self, product: Product) -> None:
        product.commit()
        url = product.must("review", "7", **a_job(product)).out.strip()
        assert url == product.gae.version_url("mr-7")
        assert product.gae.traffic == {product.first: 1.0}
        assert (product.path / "review.env").read_text("utf-8").strip() == f"REVIEW_URL={url}"
        assert product.deliver("promote", "mr-7").code == 3
        for _ in range(2):  # its environment may be stopped by hand, and by GitLab
            product.must("stop", "7")
            assert product.gae.versions == [product.first]

    def test_never_is_a_project_s_first_version(self, tmp_path: Path) -> None:
        with AppEngine() as gae:
            refused = new_product(tmp_path, gae).deliver("review", "7")
            assert refused.code == 3
            assert gae.versions == []


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


@pytest.mark.xdist_group("delivery-1")
class TestCredentials:
    """Both kinds, wrong ones and none. That none gets out is checked after every command here."""

    def test_a_job_delivers_without_a_key(self, product: Product) -> None:
        version = product.commit()
        for verb in ("deploy", "verify", "promote"):
            product.must(verb, **a_job(product))
        assert product.gae.traffic == {version: 1.0}
        assert product.gae.requests[-1].account == product.gae.service_account

    @pytest.mark.parametrize("form", ["text", "file"])
    def test_a_job_delivers_with_a_key(self, product: Product, form: str, tmp_path: Path) -> None:
        version = product.commit()
        key = json.dumps(product.gae.service_account_key(), indent=2)
        if form == "file":
            (tmp_path / "GAE_KEY").write_text(key, "utf-8")
            key = str(tmp_path / "GAE_KEY")
        product.must("deploy", **a_job_with_key(key))
        product.must("promote", **a_job_with_key(key))
        assert product.gae.traffic == {version: 1.0}
        assert product.gae.requests[-1].account == product.gae.service_account

    def test_a_job_without_any_stops_in_its_first_second(self, product: Product) -> None:
        calls = len(product.gae.requests)
        variables = {"CI": "true", "GAE_PROJECT": "", "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": ""}
        for verb in ("deploy", "verify", "promote", "rollback", "prune", "status"):
            stopped = product.deliver(verb, **variables)
            assert stopped.code == 2
            for name in ("GAE_PROJECT", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GAE_KEY", "Settings"):
                assert name in stopped.err
        assert len(product.gae.requests) == calls

    def test_a_laptop_without_an_account_is_told_to_sign_in(self, product: Product) -> None:
        failed = product.deliver("status", **nobody())
        assert failed.code == 1
        assert "gcloud auth login" in failed.err

    @pytest.mark.parametrize(
        ("claims", "words"),
        [
            pytest.param({"exp": 1}, "expired", id="expired"),
            pytest.param({"project_id": "666"}, "attribute condition", id="of another project"),
            pytest.param({"aud": "https://elsewhere.example"}, "audience", id="for another"),
        ],
    )
    def test_a_token_that_google_does_not_trust_is_explained(
        self, product: Product, claims: dict[str, str | int], words: str
    ) -> None:
        token = product.gae.gitlab_token(**claims)
        failed = product.deliver("status", **a_job(product) | {"GITLAB_OIDC_TOKEN": token})
        assert failed.code == 1
        assert words in failed.err
        assert "id_tokens" in failed.err

    def test_a_key_that_was_revoked_is_explained(self, product: Product) -> None:
        with AppEngine(product.gae.project) as other:
            key = other.service_account_key() | {
                "token_uri": product.gae.service_account_key()["token_uri"]
            }
            failed = product.deliver("status", **a_job_with_key(json.dumps(key)))
            assert failed.code == 1
            assert "Invalid JWT Signature" in failed.err
            assert not any(secret in failed.said for secret in other.secrets())

    @pytest.mark.parametrize("mangle", [lambda key: key[:200], lambda key: key.replace('"', "")])
    def test_a_key_that_was_pasted_badly_is_not_repeated(
        self, product: Product, mangle: Callable[[str], str]
    ) -> None:
        key = mangle(json.dumps(product.gae.service_account_key()))
        refused = product.deliver("status", **a_job_with_key(key))
        assert refused.code == 2
        assert "GAE_KEY" in refused.err


def nobody() -> dict[str, str]:
    """A gcloud that nobody signed in."""
    return {"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": ""}


@pytest.mark.xdist_group("delivery-1")
class TestGoogleSaysNo:
    """Errors of the API, in the middle of a verb."""

    @pytest.mark.parametrize(
        ("permission", "role"),
        [
            ("appengine.applications.get", "roles/appengine.deployer"),
            ("appengine.versions.create", "roles/appengine.deployer"),
            ("storage.objects.create", "roles/storage.objectAdmin"),
            ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
        ],
    )
    def test_a_missing_role_is_named(self, product: Product, permission: str, role: str) -> None:
        product.commit(**{"app/static/new.txt": f"never uploaded before: {permission}"})
        with product.gae.without(permission):
            failed = product.deliver("deploy", **a_job(product))
        assert failed.code == 1
        assert role in failed.err
        assert re.search(r"production: +unchanged", failed.err)
        assert product.gae.versions == [product.first]

    def test_a_missing_role_for_traffic_is_named(self, product: Product) -> None:
        version = product.copy(5)
        with product.gae.without("appengine.services.update"):
            failed = product.deliver("promote", version)
        assert failed.code == 1
        assert "roles/appengine.serviceAdmin" in failed.err
        assert product.gae.traffic == {product.first: 1.0}

    @pytest.mark.parametrize("status", [409, 429, 500, 503])
    def test_what_passes_is_tried_again(self, product: Product, status: int) -> None:
        version = product.copy(5)
        product.gae.fail_next("PATCH", "/services/default", status)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_a_lost_answer_is_no_lost_promotion(self, product: Product) -> None:
        version = product.copy(5)
        product.gae.drop_next("PATCH", "/services/default", applied=True)
        product.must("promote", version)
        assert product.gae.traffic == {version: 1.0}

    def test_a_slow_answer_is_awaited(self, product: Product) -> None:
        version = product.commit()
        product.gae.delay_next("POST", "/versions", 11)
        assert "..." in product.must("deploy").err, "a log shows that something still happens"
        assert version in product.gae.versions

    def test_without_an_app_the_command_that_creates_one_is_shown(self, tmp_path: Path) -> None:
        with AppEngine(created=False) as gae:
            failed = new_product(tmp_path, gae).deliver("deploy")
            assert failed.code == 1
            assert "gcloud app create" in failed.err


@pytest.mark.xdist_group("delivery-2")
class TestKilled:
    """By SIGKILL, at each step that changes something, before and after it took effect."""

    @pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize(
        ("request_", "verb"),
        [
            pytest.param(("POST", "/upload/"), "deploy", id="uploading"),
            pytest.param(("POST", "/versions"), "deploy", id="deploying"),
            pytest.param(("PATCH", "/services/default"), "promote", id="promoting"),
            pytest.param(("PATCH", "/services/default"), "rollback", id="rolling back"),
            pytest.param(("DELETE", "/versions/"), "prune", id="pruning"),
            pytest.param(("DELETE", "/versions/"), "stop", id="stopping a review"),
            pytest.param(("DELETE", "/versions/"), "verify", id="deleting what failed"),
        ],
    )
    def test_the_same_command_finishes_the_work(
        self, product: Product, request_: tuple[str, str], verb: str, applied: bool
    ) -> None:
        command, done = prepare(product, verb)
        gate = product.gae.hold_next(*request_, applied=applied)
        kill_at(product, gate, *command)
        assert sum(product.gae.traffic.values()) == pytest.approx(1)
        outcome = product.deliver(*command, **a_job(product))
        # Repeated, `verify` finds that the failed version is gone, and must not call that success.
        gone = {3} if verb == "verify" and applied else {1} if verb == "verify" else {0}
        assert outcome.code in gone, outcome.said
        assert done()

    def test_a_build_that_google_still_runs_is_no_obstacle(self, product: Product) -> None:
        version = product.commit()
        product.gae.admin.latency = 4
        gate = product.gae.hold_next("GET", "/operations/")
        kill_at(product, gate, "deploy")
        product.must("deploy")
        assert version in product.gae.versions
        assert product.gae.traffic == {product.first: 1.0}

    def test_politely_it_ends_with_the_state_of_production(self, product: Product) -> None:
        version = product.copy(5)
        gate = product.gae.hold_next("PATCH", "/services/default")
        with product.start("promote", version, **a_job(product)) as process:
            assert gate.reached()
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=30)
        gate.release()
        assert process.returncode == 128 + signal.SIGTERM
        assert "production:" in err
        product.expect_no_credential(err)
        assert product.left_over() == []


def prepare(product: Product, verb: str) -> tuple[list[str], Callable[[], bool]]:
    """Bring about what a verb can work on; give the command, and what is true once it is done."""
    gae, first = product.gae, product.first
    if verb == "deploy":
        version = product.commit(**{"app/static/new.txt": f"never uploaded: {time.time_ns()}"})
        return ["deploy"], lambda: gae.versions == [first, version] and gae.traffic == {first: 1}
    if verb == "promote":
        version = product.copy(5)
        return ["promote", version], lambda: gae.traffic == {version: 1}
    if verb == "rollback":
        bad = product.copy(5)
        gae.admin.reset({bad: 1.0}, {first, bad})
        # By name: repeated after it took effect, a nameless one would go back one step more.
        return ["rollback", first], lambda: gae.traffic == {first: 1}
    if verb == "prune":
        older = [product.copy(minutes) for minutes in (-3, -2, -1)]
        return ["prune", "--keep", "1"], lambda: gae.versions == [first, older[2]]
    if verb == "stop":
        gae.copy_version(first, "mr-7")
        return ["stop", "7"], lambda: gae.versions == [first]
    broken = product.copy(5, **FAILS)
    return ["verify", broken, "--timeout", "1"], lambda: gae.versions == [first]


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
    tracked = product.git("ls-files", "app").splitlines()
    return {*tracked, "app.yaml", "gunicorn.conf.py", "requirements.txt"}


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll what no event announces."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
