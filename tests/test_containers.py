"""The image and the compose files of a baked project, built and run by a real engine."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Bake, BakedProject, bake_quickly
from tests.support.answers import PROMPTS
from tests.support.engine import Container, container, docker, free_port, inspect, page
from tests.support.switch import Switch
from tests.support.tools import require
from tests.support.visitors import Load
from tests.support.waiting import until

# One worker of pytest-xdist runs all of these: they share what they build.
pytestmark = [pytest.mark.containers, pytest.mark.xdist_group("containers")]

SLUG = f"containers-{uuid.uuid4().hex[:8]}"  # names, and later finds, all that this run makes
USER = 10001
OWNER = (12345, 12346) if os.getuid() == 0 else (os.getuid(), os.getgid())
MEGABYTE = 1_000_000
HARDENED = (
    *("--read-only", "--tmpfs=/tmp:size=64m", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--memory=384m", "--pids-limit=128"),
    "--env=FLASK_SECRET_KEY=sesame",
)
# What must stay out of the image although it lies in the project.
SECRETS = (
    *(".env", ".env.production", ".git/config", "key.json", "shop.db", "instance/shop.sqlite"),
    *("app/.env", "app/.DS_Store", "app/svc.key.json", "app/shop.sqlite3", "reports/junit.xml"),
)
SLOW = """\
import time

from app import create_app as plain


def create_app():
    app = plain()

    @app.get("/slow")
    def slow():
        app.logger.info("in flight")
        time.sleep(1)
        return "done"

    return app
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BakedProject]:
    """Bake a project that belongs to an ordinary user; remove what was built from it."""
    require("docker")
    folder = tmp_path_factory.mktemp("containers")
    path = bake_quickly(folder, project_slug=SLUG, license="MIT")
    made = BakedProject(path, {"BUILDKIT_PROGRESS": "plain"})
    own(made.path)
    yield made
    for filename in ("compose.yaml", "compose.production.yaml"):
        made.must("docker", "compose", "-f", filename, "down", "--timeout=2", "--rmi=local")
    label = f"label=org.opencontainers.image.title={SLUG}"
    if images := docker("images", "--all", "--quiet", f"--filter={label}").split():
        docker("image", "rm", "--force", *images)


def own(folder: Path) -> None:
    """Make the user who is to be the caller the owner of a folder."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *OWNER)


def base(project: BakedProject) -> str:
    """Name the image that the project's is made from."""
    (name,) = re.findall("^ARG BASE=(.+)$", project.read("Dockerfile"), re.MULTILINE)
    return str(name)


def build(project: BakedProject, *options: str, tag: str = "test") -> str:
    """Build the production image; return its name."""
    image = f"{SLUG}:{tag}"
    project.must("docker", "build", f"--tag={image}", *options, ".")
    return image


@pytest.fixture(scope="module")
def image(project: BakedProject) -> str:
    """Build the production image among stray secrets, and from files with bad modes."""
    for name in SECRETS:
        project.write(name, "a secret")
    (project.path / "app" / "pages.py").chmod(0o600)
    (project.path / "app" / "static").chmod(0o777)
    built = build(project, "--build-arg=APP_REVISION=abc123", "--build-arg=APP_SOURCE=https://x.y")
    for name in SECRETS:
        (project.path / name).unlink()
    return built


@pytest.fixture(scope="module")
def running(image: str) -> Iterator[Container]:
    """Run a container of it that serves."""
    with container(image) as made:
        until(made.answers, "the page")
        yield made


@pytest.fixture
def slow(tmp_path: Path) -> dict[str, str]:
    """Write the application with a view that takes a second, to be copied into a container."""
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "slow.py").chmod(0o644)
    return {str(tmp_path / "slow.py"): "/srv/slow.py"}


# ---- The image


@pytest.mark.parametrize("version", PROMPTS["python_version"])
def test_every_python_has_an_image_that_serves(
    project: BakedProject, render: Bake, version: str
) -> None:
    project = render(project_slug=SLUG, python_version=version)

    with container(build(project, tag=version)) as made:
        until(made.answers, "the page")
        assert "Hello World!" in page(made.port)
        assert made.read("python", "--version").startswith(f"Python {version}.")


def test_an_edit_of_the_source_leaves_the_dependencies_alone(
    project: BakedProject, render: Bake
) -> None:
    project = render(project_slug=SLUG)

    def layers() -> list[str]:
        return list(inspect(build(project, tag="edited"))["RootFS"]["Layers"])

    first = layers()
    project.write("app/pages.py", project.read("app/pages.py") + "\n# edited\n")
    edited = layers()
    project.write("requirements.txt", project.read("requirements.txt") + "\n# locked again\n")
    locked = layers()

    assert edited[:-1] == first[:-1]
    assert edited[-1] != first[-1]
    assert locked[-2] != edited[-2]


def test_the_image_adds_at_most_12_mb_to_its_base(project: BakedProject, image: str) -> None:
    assert inspect(image)["Size"] - inspect(base(project))["Size"] <= 12 * MEGABYTE


def test_the_image_says_what_it_is(project: BakedProject, image: str) -> None:
    config = inspect(image)["Config"]

    assert config["User"] == f"{USER}:{USER}"
    assert config["Cmd"] == ["gunicorn", "app:create_app()"]
    assert not config["Entrypoint"]
    labels = {k.rpartition(".")[2]: v for k, v in config["Labels"].items() if "opencontainers" in k}
    assert labels == {
        "title": SLUG,
        "version": "abc123",
        "revision": "abc123",
        "source": "https://x.y",
        "licenses": "MIT",
    }
    entrypoint = re.search("^entrypoint: (.+?)( #|$)", project.read("app.yaml"), re.MULTILINE)
    assert entrypoint is not None
    assert entrypoint[1].replace('"', "").split() == config["Cmd"]


def files(image: str) -> dict[str, tarfile.TarInfo]:
    """List what is in an image."""
    created = docker("create", image)
    try:
        with (
            subprocess.Popen(["docker", "export", created], stdout=subprocess.PIPE) as export,
            tarfile.open(fileobj=export.stdout, mode="r|") as archive,
        ):
            return {f"/{member.name}": member for member in archive}
    finally:
        docker("rm", created)


def test_the_image_holds_the_application_and_nothing_else(
    project: BakedProject, image: str
) -> None:
    inside = files(image)
    added = inside.keys() - files(base(project)).keys()
    shipped = {f"/srv/{name}" for name in project.files() if name.startswith("app/")}
    here = {f for f in added if f.startswith("/srv/") and inside[f].isfile() and "cache" not in f}

    assert here == {f for f in shipped if "__pycache__" not in f} | {"/srv/gunicorn.conf.py"}
    # Besides, there is the virtual environment, and the account that useradd made.
    elsewhere = {f for f in added if not f.startswith(("/srv", "/opt/venv", "/etc/"))}
    assert elsewhere == set()
    tools = re.compile(r"/(uv|gcc|cc|git|pytest|ruff|mypy)")
    found = {f for f in inside if tools.fullmatch(f, f.rindex("/")) and not inside[f].isdir()}
    assert found == set()


def test_a_build_is_sent_what_it_needs_and_nothing_else(
    project: BakedProject, render: Bake, tmp_path: Path
) -> None:
    project = render(project_slug=SLUG)
    ignored = list(ignored_by_git(project))
    for name in (*SECRETS, *ignored):
        project.write(name, "a secret")
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")

    project.must("docker", "build", f"--file={everything}", f"--output={tmp_path / 'sent'}", ".")

    sent = BakedProject(tmp_path / "sent").files()
    assert {name for name in sent if not name.startswith("app/")} == {
        "gunicorn.conf.py",
        "requirements.txt",
        "requirements-dev.txt",
    }
    assert not sent & {*SECRETS, *ignored}


def ignored_by_git(project: BakedProject) -> Iterator[str]:
    """Make up names for every line of .gitignore, at the top and in a package."""
    for line in project.read(".gitignore").splitlines():
        if line and not line.startswith(("#", "!")):
            name = line.strip("/").replace("*", "x") + ("/x" if line.endswith("/") else "")
            yield name
            if not line.startswith("/"):
                yield f"app/{name}"


def test_a_new_package_reaches_the_image_by_itself(tmp_path: Path) -> None:
    require("docker")
    project = BakedProject(bake_quickly(tmp_path, project_slug=SLUG))
    project.write("shop/__init__.py", "from pathlib import Path\n")
    project.write("shop/prices/tea.csv", "tea,3\n")
    project.write(
        "shop/prices/__init__.py", "TEA = __import__('shop').Path(__file__).with_name('tea.csv')\n"
    )
    pages = project.read("app/pages.py").replace("Blueprint, ", "Blueprint, Response, ")
    project.write(
        "app/pages.py",
        f"{pages}\n\n"
        "@blueprint.get('/tea')\n"
        "def tea() -> Response:\n"
        "    from shop.prices import TEA\n"
        "    return Response(TEA.read_text())\n",
    )

    with container(build(project, tag="shop")) as made:
        until(made.answers, "the page")
        assert page(made.port, "/tea") == "tea,3\n"


def test_the_image_can_be_read_by_its_user_and_written_by_nobody(
    project: BakedProject, image: str
) -> None:
    def writable(image: str) -> set[str]:
        find = "find / -xdev ! -type l -writable 2>/dev/null || true"
        user = f"--user={USER}:{USER}"
        return set(docker("run", "--rm", user, image, "sh", "-c", find).splitlines())

    assert writable(image) == writable(base(project))  # /tmp and the like
    ours = {k: v for k, v in files(image).items() if k.startswith(("/srv", "/opt/venv"))}
    assert {(m.uid, m.gid) for m in ours.values()} == {(0, 0)}
    assert not [name for name, m in ours.items() if not m.issym() and m.mode & 0o022]
    assert not [name for name, m in ours.items() if not m.mode & 0o004]


def test_everything_is_compiled_to_bytecode(running: Container) -> None:
    script = """
import importlib.util, pathlib, sys
for root in ("/srv/app", "/opt/venv/lib"):
    for source in pathlib.Path(root).rglob("*.py"):
        compiled = pathlib.Path(importlib.util.cache_from_source(str(source)))
        made = compiled.read_bytes()[8:12] if compiled.exists() else b""
        if int.from_bytes(made, "little") != int(source.stat().st_mtime):
            print(source)
"""
    stale = running.read("python", "-c", script)

    assert stale == ""


def test_a_wrong_hash_fails_the_build_in_uvs_words(project: BakedProject, render: Bake) -> None:
    project = render(project_slug=SLUG)
    lock = re.sub("--hash=sha256:....", "--hash=sha256:dead", project.read("requirements.txt"))
    project.write("requirements.txt", lock)

    done = project.run("docker", "build", "--progress=plain", ".")

    assert done.returncode != 0
    assert "Hash mismatch for" in done.stdout


def test_hadolint_has_nothing_to_say(render: Bake) -> None:
    project = render()

    assert project.must(require("hadolint"), "Dockerfile") == ""


# ---- A container of it


def test_the_page_names_the_revision(running: Container) -> None:
    assert "Revision <code>abc123</code>" in page(running.port)


def test_the_health_check_tells_well_from_unwell(image: str, running: Container) -> None:
    check = inspect(image)["Config"]["Healthcheck"]["Test"]

    assert check[0] == "CMD"
    assert running.run(*check[1:]) == 0
    assert running.run(*check[1:], env={"http_proxy": "http://127.0.0.1:9"}) == 0
    assert running.run(*check[1:], env={"PORT": "5999"}) == 1
    until(lambda: inspect(running.id)["State"]["Health"]["Status"] == "healthy", "its own verdict")


def test_the_health_check_sees_an_application_that_fails(image: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text('def app(_, start):\n    start("503 Bad", [])\n    return []\n')
    broken.chmod(0o644)

    with container(image, "gunicorn", "broken:app", files={str(broken): "/srv/broken.py"}) as made:
        until(lambda: any("Booting worker" in line for line in made.logs()), "the server")
        assert made.run(*inspect(image)["Config"]["Healthcheck"]["Test"][1:]) == 1


def test_the_port_is_a_setting(image: str) -> None:
    with container(image, options=("--env=PORT=8099",)) as made:
        until(made.answers, "the page on another port")


def test_a_hardened_container_serves_with_clean_logs(image: str) -> None:
    with container(image, options=HARDENED) as made:
        until(made.answers, "the page")
        assert "Hello World!" in page(made.port)

        lines = [json.loads(line) for line in made.logs()]
        assert {line["severity"] for line in lines} == {"INFO"}
        assert {line["logger"] for line in lines} == {"gunicorn.error"}
        made.terminate()
        assert made.exit_code() == 0
        assert {json.loads(line)["severity"] for line in made.logs()} == {"INFO"}


def test_a_missing_secret_key_is_in_the_log_of_the_start(image: str) -> None:
    with container(image) as made:
        until(made.answers, "the page")
        warnings = [line for line in map(json.loads, made.logs()) if line["severity"] != "INFO"]

    assert [line["severity"] for line in warnings] == ["WARNING"]
    assert "FLASK_SECRET_KEY is not set" in warnings[0]["message"]


def test_requests_are_logged_when_asked_for(image: str) -> None:
    setting = "--env=GUNICORN_CMD_ARGS=--access-logfile -"
    with container(image, options=(setting,)) as made:
        until(made.answers, "the page")

        def requests() -> list[str]:  # each is logged after its answer
            entries = map(json.loads, made.logs())
            return [each["message"] for each in entries if each["logger"] == "gunicorn.access"]

        until(lambda: bool(requests()), "a request in the log")
        assert '"GET /health HTTP/1.1" 200' in requests()[-1]


def test_on_sigterm_what_is_in_flight_is_finished_and_nothing_new_begun(
    image: str, slow: dict[str, str]
) -> None:
    def ask(path: str, connection: http.client.HTTPConnection) -> tuple[str, str | None]:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.read().decode(), response.getheader("Connection")

    with container(image, "gunicorn", "slow:create_app()", files=slow) as made:
        until(made.answers, "the page")
        port = made.port
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=9) for _ in range(6)]
        idle = clients.pop()
        ask("/health", idle)
        done: list[str] = []
        threads = [
            threading.Thread(target=lambda c=client: done.append(ask("/slow", c)[0]))
            for client in clients
        ]
        for thread in threads:
            thread.start()
        until(lambda: sum("in flight" in line for line in made.logs()) == len(clients), "requests")

        made.terminate()
        begun = time.monotonic()
        until(lambda: any("Handling signal" in line for line in made.logs()), "the signal")
        # Who has a connection may be sending already: answered, and told to go.
        text, advice = ask("/health", idle)
        assert ("ok" in text, advice) == (True, "close")
        assert page(port) == ""

        assert made.exit_code() == 0
        assert time.monotonic() - begun < 10
        for thread in threads:
            thread.join()
        assert done == ["done"] * len(clients)
        for client in (idle, *clients):
            client.close()


def test_replacing_a_container_under_load_loses_no_request(image: str) -> None:
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(container(image, options=("--env=APP_REVISION=old",)))
        until(old.answers, "the old container")
        switch = stack.enter_context(Switch(old.port))
        with Load(switch.port, visitors=5, pause=0.005) as load:
            until(lambda: load.revisions["old"] > 100, "load on the old container")

            new = stack.enter_context(
                container(image, options=("--env=APP_REVISION=new", "--health-interval=1s"))
            )
            until(lambda: inspect(new.id)["State"]["Health"]["Status"] == "healthy", "the new one")
            switch.move(new.port)
            old.terminate()

            assert old.exit_code() == 0
            seen = load.revisions["new"]
            until(lambda: load.revisions["new"] > seen + 100, "load on the new container")

    assert load.lost == []


# ---- compose.yaml, for development


@pytest.fixture(scope="module")
def port() -> int:
    """Choose where compose serves."""
    return free_port()


@pytest.fixture(scope="module")
def served(project: BakedProject, port: int) -> Iterator[BakedProject]:
    """Serve the project as `docker compose up` does, for development."""
    project.env["PORT"] = str(port)
    project.must("docker", "compose", "build")
    begun = time.monotonic()
    project.must("docker", "compose", "up", "--detach", "--wait")
    assert time.monotonic() - begun < 10, "it was not healthy within ten seconds"
    yield project
    project.must("docker", "compose", "down", "--timeout=2")


def test_compose_serves_this_machine_alone(served: BakedProject, port: int) -> None:
    assert "Hello World!" in page(port)
    assert f"127.0.0.1:{port}->" in served.must("docker", "compose", "ps")


def test_a_saved_file_is_served_at_once(served: BakedProject, port: int) -> None:
    text = served.read("app/pages.py")
    served.write(
        "app/pages.py",
        text + '\n\n@blueprint.get("/new")\ndef new() -> str:\n    return "new page"\n',
    )
    try:
        until(lambda: page(port, "/new") == "new page", "the reload")
    finally:
        served.write("app/pages.py", text)


def test_the_project_tests_itself_inside_and_its_owner_owns_what_that_made(
    served: BakedProject,
) -> None:
    before = served.files()

    report = served.must("docker", "compose", "run", "--rm", "app", "bin/test")

    assert re.findall(r"^TOTAL.*? (\d+)%$", report, re.MULTILINE)[-1] == "100"  # of app
    made = {served.path / name for name in served.files() - before}
    assert made, "the tests left no file to look at"
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in made} == {OWNER}


@pytest.mark.parametrize("verb", [("run", "--rm"), ("exec",)], ids=lambda verb: verb[0])
def test_commands_inside_run_as_the_owner_of_the_folder(
    served: BakedProject, verb: tuple[str, ...]
) -> None:
    made = served.path / f"made-by-{verb[0]}"

    user = served.must("docker", "compose", *verb, "app", "sh", "-c", f"id -u; touch {made.name}")

    assert int(user.split()[-1]) == OWNER[0]
    assert (made.stat().st_uid, made.stat().st_gid) == OWNER


def test_after_a_restart_commands_inside_still_run_as_the_owner(
    served: BakedProject, port: int
) -> None:
    served.must("docker", "compose", "restart", "--timeout=2")
    until(lambda: page(port), "the page after the restart")

    assert served.must("docker", "compose", "exec", "app", "id", "-u").strip() == str(OWNER[0])


def test_a_second_clone_leaves_the_container_of_the_first_alone(
    served: BakedProject, port: int, tmp_path: Path
) -> None:
    other = free_port()
    clone = BakedProject(tmp_path / f"{SLUG}-second", {"PORT": str(other)})
    shutil.copytree(served.path, clone.path)
    try:
        clone.must("docker", "compose", "up", "--detach", "--wait")
        assert "Hello World!" in page(other)
        assert "Hello World!" in page(port)
    finally:
        clone.must("docker", "compose", "down", "--timeout=2", "--rmi=local")


def test_the_scripts_inside_know_their_lock(served: BakedProject) -> None:
    said = served.must("docker", "compose", "run", "--rm", "app", "bin/check", "-h")
    ran = served.must("docker", "compose", "run", "--rm", "app", "sh", "-c", "bin/test --version")

    assert "Usage: bin/check" in said
    assert "has changed" not in ran


def test_dot_env_is_read_where_there_is_one(served: BakedProject) -> None:
    served.write(".env", "LOG_LEVEL=ERROR\nPORT=5099\n")
    try:
        inside = served.must("docker", "compose", "run", "--rm", "app", "env")
        plain = BakedProject(served.path)
        published = json.loads(plain.must("docker", "compose", "config", "--format=json"))
    finally:
        (served.path / ".env").unlink()

    assert "LOG_LEVEL=ERROR" in inside.splitlines()
    (mapping,) = published["services"]["app"]["ports"]
    assert (mapping["published"], mapping["target"]) == ("5099", 5099)
    assert published["services"]["app"]["environment"]["PORT"] == "5099"


def test_a_port_in_use_is_named(project: BakedProject) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        done = project.run(
            "docker",
            "compose",
            "--project-name",
            f"{SLUG}-taken",
            "up",
            "--detach",
            PORT=str(taken),
        )
        project.must("docker", "compose", "--project-name", f"{SLUG}-taken", "down", "--rmi=local")

    assert done.returncode != 0
    assert re.search(rf"127\.0\.0\.1:{taken}.*(already|in use)", done.stdout)


# ---- compose.production.yaml


def test_production_under_compose_is_hardened(project: BakedProject) -> None:
    production = ("docker", "compose", "-f", "compose.production.yaml")
    port = free_port()
    project.write(".env", "FLASK_SECRET_KEY=sesame\n")
    env = {"PORT": str(port), "APP_REVISION": "r7"}
    try:
        project.must(*production, "up", "--detach", "--build", "--wait", **env)
        assert json.loads(page(port, "/health"))["revision"] == "r7"
        made = Container(project.must(*production, "ps", "--quiet", **env).strip(), port)
        host = inspect(made.id)["HostConfig"]
        status = made.read("cat", "/proc/1/status")
        folders = made.read(
            "sh",
            "-c",
            "find / -path /proc -prune -o -type d -print 2>/dev/null |"
            ' while read -r f; do [ ! -w "$f" ] || echo "$f"; done',
        )
        lines = [json.loads(line) for line in made.logs()]
    finally:
        project.must(*production, "down", "--timeout=2", **env)
        (project.path / ".env").unlink()

    assert folders.splitlines() == ["/tmp"]
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(rf"^Uid:\s+{USER}\s", status, re.MULTILINE)
    assert (host["ReadonlyRootfs"], host["PidsLimit"]) == (True, 128)
    assert host["Memory"] == 384 * 1024 * 1024
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert not host["Binds"]
    assert {line["severity"] for line in lines} == {"INFO"}


@pytest.mark.parametrize("filename", ["compose.yaml", "compose.production.yaml"])
def test_compose_files_are_valid(render: Bake, filename: str) -> None:
    project = render()
    check = require("check-jsonschema")

    project.must(check, "--builtin-schema", "vendor.compose-spec", filename)
    require("docker")
    assert project.must("docker", "compose", "-f", filename, "config", "--quiet") == ""
