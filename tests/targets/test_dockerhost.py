"""What is particular about a Docker host."""

import json
import re
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import bake_quickly
from tests.support.clone import wait_until
from tests.support.server.server import BASE, CADDY
from tests.support.visitors import Load, ask, connect
from tests.targets.dockerhost import DOMAIN, PROGRAM, PROJECT, DockerHostWorld, make_key
from tests.targets.scenes import agree, another, on

pytestmark = [pytest.mark.targets, on(DockerHostWorld)]

USER = f"deploy-{PROJECT}"
SPLIT_LOCK = f"/var/lib/delivery/projects/{PROJECT}/split.lock"


def test_without_a_registry_the_server_builds_the_image(world: DockerHostWorld) -> None:
    version = world.commit({"app/static/new.txt": "from here"})
    address = world.must_run("deploy").out.strip()
    health = "docker inspect --format '{{json .State.Health}}'"
    assert world.server.sh(f"{health} {PROJECT}--{version}").strip() == "null", "nobody reads it"
    assert version in world.ask(address.removeprefix(f"https://{DOMAIN}"))[1], "its own page"
    world.must_run("promote")
    assert world.traffic() == {version: 100}
    assert world.ask("/static/new.txt")[1] == "from here"


def test_a_request_that_ends_its_process_is_not_repeated(world: DockerHostWorld) -> None:
    """One that needs too much memory, say: each repetition would end those of all visitors."""
    pages = (world.path / "app/pages.py").read_text("utf-8")
    end = '@blueprint.get("/end")\ndef end() -> None:\n    os.kill(os.getpid(), 9)\n'
    version = world.commit({"app/pages.py": f"import os\n{pages}\n\n{end}"})
    world.upload()
    world.must_run("promote")
    status, text = world.ask("/end")
    assert (status, "try again" in text) == (502, True)
    wait_until(lambda: world.ask("/health")[0] == 200)
    log = world.server.sh(f"docker logs {PROJECT}--{version} 2>&1")
    # Twice where the connection to it was not new: https://pkg.go.dev/net/http#Transport
    assert 1 <= log.count("SIGKILL") <= 2, log


@pytest.mark.parametrize("end", [f"pkill -u {USER} sshd", "pkill -9 -f '[p]ython3 -I'"])
def test_a_move_that_breaks_off_leaves_an_answer_for_the_next_command(
    world: DockerHostWorld, end: str
) -> None:
    """The server goes on, or not: the next command finds out, and nothing comes late."""
    version = another(world, 5)
    lock = f"flock {SPLIT_LOCK} sh -c 'echo held; exec cat'"
    holder = ["docker", "exec", "--interactive", world.server.id, "sh", "-c", lock]
    with (
        Load(world.where()) as load,
        subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held,
        world.start("promote", version, **world.job()) as process,
    ):
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        # The move waits for the lock: /proc/locks of proc_locks(5).
        wait_until(lambda: world.server.try_sh("grep -e '-> FLOCK' /proc/locks")[0] == 0)
        world.server.sh(end)
        _, err = process.communicate(timeout=60)
        held.communicate()  # lets the move go on
    assert process.returncode == 5, err
    assert re.search(r"production: +NOT KNOWN", err), err
    world.must_run("promote", version)
    assert world.traffic() == {version: 100}
    agree(world)
    assert load.lost == []


def test_a_server_that_restarts_serves_the_same_split(world: DockerHostWorld) -> None:
    version = another(world, 5)
    world.must_run("promote", version, "--canary", "20")
    world.server.restart()
    wait_until(lambda: world.server.try_sh("docker exec delivery-proxy true")[0] == 0, 60)
    wait_until(lambda: _serves(world), 60)
    assert world.traffic() == {world.first: 80, version: 20}
    world.must_run("promote", version)
    assert world.ask("/health")[0] == 200
    agree(world)


def _serves(world: DockerHostWorld) -> bool:
    try:
        return world.ask("/health")[0] == 200
    except OSError:
        return False


def test_a_full_disk_changes_nothing(world: DockerHostWorld) -> None:
    version = another(world, 5)
    with Load(world.where(), visitors=2) as load, world.server.full_disk():
        moved = world.run("promote", version)
        assert moved.code in (1, 2), moved.said
        assert "space" in moved.err.lower(), moved.err
        assert world.traffic() == {world.first: 100}
        world.commit({"app/static/new.txt": "x" * 100_000})
        deployed = world.run("deploy")
        assert deployed.code == 1, deployed.said
        assert "docker system df" in deployed.err, deployed.err
        assert re.search(r"production: +unchanged", deployed.err)
    assert load.lost == []
    world.must_run("promote", version)
    agree(world)


def test_prune_keeps_two_and_frees_the_disk(world: DockerHostWorld) -> None:
    for number in range(4):
        world.commit({"app/static/large.txt": f"{number}" * 8_000_000})
        world.upload()
        world.must_run("promote")
    before = world.server.snapshot_free
    world.must_run("prune")
    assert len(world.versions()) == 3, "what serves, and two to go back to"
    assert world.server.snapshot_free > before + 6_000_000
    images = world.server.sh("docker image ls --quiet --filter dangling=true").split()
    assert len(images) == 3, "they have no names: what is left are those that run"


def test_a_key_that_is_not_known_is_refused(world: DockerHostWorld, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    refused = world.run("status", DEPLOY_KEY=(tmp_path / "other").read_text())
    assert refused.code == 2, refused.said
    assert "does not accept the key" in refused.err
    assert "prepare --key" in refused.err


def test_the_keys_are_found_in_a_folder_with_a_space(
    world: DockerHostWorld, tmp_path: Path
) -> None:
    """As Windows may have it: ssh takes the names of several files where it wants one."""
    folder = tmp_path / "two words"
    folder.mkdir()
    world.must_run("status", TMPDIR=str(folder))


def test_another_host_key_stops_everything(world: DockerHostWorld) -> None:
    another(world, 5)
    world.server.new_host_key()
    for verb in ("status", "promote"):
        refused = world.run(verb)
        assert refused.code == 2, refused.said
        assert "shows another key" in refused.err
    world.env["HOST_KEYS"] = world.server.known_hosts
    world.must_run("status")


@pytest.mark.parametrize(
    "asked",
    ["id", "sh", "", "look; id", "delete ../x", "--help", "deploy v1 -v/:/x", "-i"],
)
def test_the_deploying_user_can_start_nothing_else(world: DockerHostWorld, asked: str) -> None:
    done = _as_deployer(world, asked)
    assert done.returncode == 2, done
    assert "uid=" not in done.stdout + done.stderr


def test_the_deploying_user_is_not_root_by_the_back_door(world: DockerHostWorld) -> None:
    assert world.server.sh(f"id -nG {USER}").split() == [USER]
    for command in ("cat /etc/delivery/*.env", "docker ps", "sudo -n id", "sudo -n sh"):
        code, said = world.server.try_sh(f"su -s /bin/sh {USER} -c '{command}'")
        assert code != 0, said
    other = "sudo -n /usr/local/sbin/delivery-host other look"
    assert world.server.try_sh(f"su -s /bin/sh {USER} -c '{other}'")[0] != 0
    home = f"/var/lib/delivery/users/{USER}"
    write = f"su -s /bin/sh {USER} -c 'echo x >>{home}/.ssh/authorized_keys'"
    assert world.server.try_sh(write)[0] != 0
    forward = _as_deployer(world, "look", "-oExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22")
    assert forward.returncode == 255, forward


def _as_deployer(
    world: DockerHostWorld, asked: str, *options: str
) -> "subprocess.CompletedProcess[str]":
    known = world.folder / "known"
    known.write_text(world.server.known_hosts)
    command = [
        *("ssh", "-F/dev/null", "-T", f"-p{world.server.ssh_port}", f"-i{world.folder / 'job'}"),
        *("-oBatchMode=yes", "-oIdentitiesOnly=yes", f"-oUserKnownHostsFile={known}", *options),
        *(f"{USER}@127.0.0.1", "--", asked),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def test_certificates_are_for_names_that_there_is_a_site_of(world: DockerHostWorld) -> None:
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        connect(lambda: world.server.visit("mr-7.shop.test")) as connection,
    ):
        ask(connection, "/")
    world.commit({"app/static/new.txt": "review"})
    world.must_run("review", "7", **world.build())
    with connect(lambda: world.server.visit(f"mr-7.{DOMAIN}")) as connection:
        assert ask(connection, "/static/new.txt") == (200, b"review")
    world.must_run("stop", "7")
    with connect(lambda: world.server.visit(f"mr-7.{DOMAIN}")) as connection:
        assert ask(connection, "/")[0] == 404


def test_no_credential_is_left_on_the_server(world: DockerHostWorld) -> None:
    world.commit({"app/static/new.txt": "by digest"})
    image = world.build()
    seen = ""
    with (
        subprocess.Popen(
            ["docker", "exec", world.server.id, "sh", "-c", LOOK], stdout=subprocess.PIPE, text=True
        ) as look,
        world.start("deploy", **world.job(), **image) as process,
    ):
        while process.poll() is None:
            seen += _processes()
            time.sleep(0.05)
        _, err = process.communicate()
        world.server.sh("rm /run/look")
        seen += look.communicate()[0]
    assert process.returncode == 0, err
    assert " pull --quiet " in seen, "the look was in time"
    places = "/etc /home /root /srv /tmp /var/lib/delivery"
    for secret in world.secrets():
        assert secret not in seen
        code, said = world.server.try_sh(f"grep -rlF -e '{secret}' {places}")
        assert code == 1, said


LOOK = "touch /run/look; while [ -e /run/look ]; do ps -eo args; sleep 0.02; done"


def _processes() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_prepare_is_done_once(world: DockerHostWorld) -> None:
    command = world.prepare_command()
    again = world.must(*command, **world.root())
    assert "nothing was changed" in again.out
    well = world.must_run("doctor", f"--domain={DOMAIN}", **world.root(), CI="")
    assert "All is well" in well.out


def test_doctor_and_prepare_find_what_is_broken(world: DockerHostWorld) -> None:
    command = world.prepare_command()
    world.server.sh("docker rm --force delivery-proxy")
    taken = ["docker", "exec", world.server.id, "python3", "-m", "http.server", "80"]
    with subprocess.Popen(taken, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        try:
            wait_until(lambda: world.server.try_sh("curl -s 127.0.0.1:80")[0] == 0)
            refused = world.deliver(*command, **world.root())
            sick = world.run("doctor", f"--domain={DOMAIN}", **world.root(), CI="")
        finally:
            world.server.sh("pkill -f [h]ttp.server")
    assert refused.code == 2, refused.said
    assert "ports 80 and 443" in refused.err
    assert "python3" in refused.err
    assert sick.code == 1, sick.said
    assert re.search("^NOT +ports", sick.out, re.MULTILINE), sick.out
    shown = world.must("--dry-run", *command, **world.root())
    assert "nothing was changed" in shown.out
    assert world.server.try_sh("docker container inspect delivery-proxy")[0] != 0
    world.must(*command, **world.root())
    wait_until(lambda: _serves(world), 60)


def test_a_review_app_is_not_at_productions_address(world: DockerHostWorld) -> None:
    """Its cookies and scripts would be those of production."""
    world.must_run("review", "7", **world.build())
    assert world.ask(f"/.delivery/{world.first}/health")[0] == 200
    assert world.ask("/.delivery/mr-7/health")[0] == 404


def test_a_build_fetches_nothing_from_the_servers_networks(world: DockerHostWorld) -> None:
    """The engine fetches what ADD names, and reaches every project and the server itself."""
    rows = json.loads(world.server.sh(f"docker inspect {PROJECT}--{world.first}"))
    address = rows[0]["NetworkSettings"]["Networks"][f"delivery-{PROJECT}"]["IPAddress"]
    for url in (f"http://{address}:5000/health", "https://127.0.0.1/", "git://127.0.0.1/x.git"):
        dockerfile = f"FROM {BASE}\\nADD {url} /x\\nCMD cat /x; exit 1\\n"
        code, said = world.server.try_sh(f"printf '{dockerfile}' | {PROGRAM} {PROJECT} 'deploy v9'")
        assert code == 1, said
        assert "denied by policy" in said, said


def test_a_build_that_hangs_ends_and_lets_the_next_one_in(world: DockerHostWorld) -> None:
    hurried = "/tmp/delivery-host"
    world.server.sh(f"sed 's/^PATIENCE = .*/PATIENCE = 4/' {PROGRAM} >{hurried}")
    dockerfile = f"FROM {BASE}\\nRUN sleep 4711\\n"
    code, said = world.server.try_sh(
        f"printf '{dockerfile}' | python3 -I {hurried} {PROJECT} 'deploy v9'"
    )
    assert (code, "not done within 4 s" in said) == (1, True), said
    wait_until(lambda: world.server.try_sh("pgrep -f '[s]leep 4711'")[0] == 1)
    assert world.host("delete v9") == {}


def _keeps_builds_apart(world: DockerHostWorld) -> None:
    """See that images have no names, and that caches are not shared."""
    named = world.server.sh("docker image ls --format '{{.Repository}}:{{.Tag}}'").split()
    assert {name for name in named if not name.endswith(":<none>")} == {BASE, CADDY}
    # Whatever one project's build leaves in a cache, that of the other one does not find.
    for project, command in (("other", "touch /cache/trap"), (PROJECT, "ls /cache >/found")):
        run = f"RUN --mount=type=cache,target=/cache {command}\n"
        dockerfile = f"FROM {BASE}\n{run}CMD python -m http.server 5000\n"
        world.server.sh(f"{PROGRAM} {project} 'deploy v1'", dockerfile.encode())
    assert world.server.sh(f"docker exec {PROJECT}--v1 cat /found") == ""
    world.server.sh(f"{PROGRAM} other 'delete v1'")


def _block(project: Path, heading: str) -> str:
    """Return the first commands under a heading of the project's delivery/README.md."""
    document = (project / "delivery/README.md").read_text("utf-8")
    found: list[str] = re.findall(r"```sh\n(.*?)```", document.partition(heading)[2], re.DOTALL)
    return found[0]


def _set_up_as_the_readme_says(world: DockerHostWorld, home: Path) -> Path:
    """Type what the document of the world's project says; return GitLab's key."""
    (home / ".ssh").mkdir(parents=True)
    make_key(home / ".ssh/id_ed25519")
    typed = _block(world.path, "\n## Connect GitLab and the server\n")
    for example, own in {
        "203.0.113.7": world.env["HOST_ADDRESS"],
        "shop.example.com": "other.test",
        " prepare ": " prepare --yes ",
    }.items():
        assert typed.count(example) == 1
        typed = typed.replace(example, own)
    env = world.env | world.root()
    env |= {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", typed], cwd=world.path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"HOST_ADDRESS  {world.env['HOST_ADDRESS']}" in done.stdout
    return home / ".ssh/other"


def test_two_projects_are_kept_apart(world: DockerHostWorld, tmp_path: Path) -> None:
    """The second one is set up, delivered and moved while the first one is visited."""
    place = tmp_path / "other"
    place.mkdir()
    path = bake_quickly(place, deploy_to="docker-host", project_slug="other")
    first = world.path
    env = dict(world.env)
    with Load(world.where()) as load:
        try:
            world.path = path
            world.git("init", "--quiet")
            version = world.commit({"app/static/who.txt": "other"})
            key = _set_up_as_the_readme_says(world, tmp_path / "home").read_text()
            prepare = ("prepare", "--yes", "--domain=other.test")
            taken = world.deliver(*prepare, **world.root(), HOST_PROJECT=PROJECT)
            assert taken.code == 2, taken.said
            assert f"a project {PROJECT} is here already, for {DOMAIN}" in taken.err
            world.must_run("deploy", DEPLOY_KEY=key)
            world.must_run("promote", DEPLOY_KEY=key)
            refused = world.run("status")
            assert refused.code == 2, "the first one's key is of no use here"
        finally:
            world.path, world.env = first, env
    assert load.lost == []
    with connect(lambda: world.server.visit("other.test")) as connection:
        assert ask(connection, "/static/who.txt") == (200, b"other")
    assert world.ask("/static/who.txt")[0] == 404
    assert world.traffic() == {world.first: 100}
    reach = (
        f"docker exec other--{version} python -c"
        f" \"import socket; socket.create_connection(('{{}}', 5000), 3)\""
    )
    name = f"{PROJECT}--{world.first}"
    rows = json.loads(world.server.sh(f"docker inspect {name}"))
    address = rows[0]["NetworkSettings"]["Networks"][f"delivery-{PROJECT}"]["IPAddress"]
    for target in (name, address):
        assert world.server.try_sh(reach.format(target))[0] != 0
    _keeps_builds_apart(world)
    # In Docker's own network, where builds are, there is nobody to be deceived.
    members = "{{range .Containers}}{{.Name}} {{end}}"
    assert world.server.sh(f"docker network inspect bridge --format '{members}'").split() == []
    # What the document says takes the second one back, and leaves the first one alone.
    world.server.sh("sh -e", _block(path, "\n### Take it back\n").encode())
    places = "/etc/delivery /etc/sudoers.d /var/lib/delivery"
    assert world.server.sh(f"find {places} -name '*other*' -o -lname '*other*'") == ""
    assert world.server.try_sh("id deploy-other")[0] != 0
    assert "other" not in world.server.sh("docker ps -a; docker network ls; docker image ls")
    assert world.ask("/health")[0] == 200
    shutil.rmtree(path)
