"""The tests' server is one: ssh, an engine that builds and pulls, a proxy, reboots, a full disk."""

import contextlib
import ssl
import subprocess
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from emulators.cloudrun import CloudRun
from tests.conftest import bake_quickly
from tests.support.engine import docker, inspect, page
from tests.support.server import Names, Server
from tests.support.server.server import BASE, PROXY
from tests.support.tools import require
from tests.support.visitors import ask
from tests.support.waiting import until
from tests.targets.image import git

pytestmark = [pytest.mark.targets, pytest.mark.xdist_group("docker-host")]

CADDYFILE = """\
{
    local_certs
    skip_install_trust
}
hello.test {
    respond "%s"
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server for all tests here; each removes what it made."""
    for tool in ("docker", "ssh"):
        require(tool)
    with Server.open(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_root_comes_in_by_key_and_runs_docker(server: Server) -> None:
    done = server.ssh(
        "cat; docker image inspect --format '{{json .Config.Cmd}}' caddy:2.11", b"hi "
    )
    assert done.returncode == 0, done.stderr
    run = '"caddy","run","--config","/etc/caddy/Caddyfile","--adapter","caddyfile"'
    assert done.stdout.decode() == f"hi [{run}]\n"
    assert server.ssh("exit 7").returncode == 7
    nobody = server.ssh("true", user="nobody")
    assert nobody.returncode == 255
    assert b"Permission denied" in nobody.stderr


def test_an_account_of_useradd_comes_in_by_its_key_and_uses_sudo(server: Server) -> None:
    server.sh(
        "useradd --create-home --shell /bin/sh client && cp -r /root/.ssh /home/client/"
        " && chown -R client: /home/client/.ssh"
        " && echo 'client ALL=(root) NOPASSWD: /usr/bin/docker version' >/etc/sudoers.d/client"
    )
    may = server.ssh("sudo -n docker version && id -un", user="client")
    assert may.returncode == 0, may.stderr
    assert may.stdout.endswith(b"\nclient\n")
    assert server.ssh("sudo -n docker ps", user="client").returncode == 1
    assert b"permission denied" in server.ssh("docker ps", user="client").stderr
    server.sh("rm /etc/sudoers.d/client && userdel --remove client 2>&1")


def test_a_fresh_project_is_built_and_served_there(server: Server, tmp_path: Path) -> None:
    project = bake_quickly(tmp_path)
    git(project, "init", "--quiet")
    git(project, "add", ".")
    archive = git(project, "archive", git(project, "write-tree").decode().strip())
    built = server.ssh("docker build --quiet --tag=hello -", archive)
    assert built.returncode == 0, built.stderr.decode()
    with run(server, "hello", "--publish=80:5000", "--env=FLASK_SECRET_KEY=sesame", "hello"):
        until(lambda: page(server.http_port, "/health"), "the project to serve")
    server.sh("docker image rm hello")


def test_caddy_answers_by_name(server: Server) -> None:
    with caddy(server, "good day"):
        assert visit(server, "hello.test") == (200, b"good day")
        with pytest.raises(ssl.SSLError):  # no such site
            visit(server, "other.test")
    with caddy(server, "another day"):  # and another authority
        assert visit(server, "hello.test") == (200, b"another day")


def test_the_proxy_leads_names_to_the_server_and_nowhere_else(server: Server) -> None:
    with caddy(server, "by name"), server.names() as names:
        connection = through(
            names, "hello.test", ssl.create_default_context(cadata=server.authority())
        )
        with contextlib.closing(connection):
            assert ask(connection, "/") == (200, b"by name")
        for host, port in (("example.com", 443), ("hello.test", 22)):
            elsewhere = through(names, host, None, port)
            with contextlib.closing(elsewhere), pytest.raises(OSError, match="403"):
                elsewhere.connect()


def test_it_pulls_from_a_registry_of_this_machine(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n", "utf-8")
    with contextlib.closing(CloudRun()) as cloud:
        gitlab = cloud.gitlab.variables()
        host, image = gitlab["CI_REGISTRY"], f"{gitlab['CI_REGISTRY_IMAGE']}:v1"
        login = ["login", f"--username={gitlab['CI_REGISTRY_USER']}", "--password-stdin", host]
        password = gitlab["CI_REGISTRY_PASSWORD"].encode()
        config = f"--config={tmp_path / 'docker'}"
        subprocess.run(["docker", config, *login], input=password, check=True, capture_output=True)
        docker("build", "--quiet", f"--tag={image}", str(tmp_path))
        docker(config, "push", "--quiet", image)
        docker("image", "rm", image)

        server.reach(int(host.rpartition(":")[2]))
        server.sh(f"docker --config=/tmp/docker {' '.join(login)} 2>&1", password)
        for _ in range(2):
            server.sh(
                f"docker --config=/tmp/docker pull --quiet {image} && docker image rm {image}"
            )
            server.restart()  # after which the way is there again
        assert "denied" in server.try_sh(f"docker pull {image}")[1]  # nobody's pull


def test_a_reboot_brings_back_what_is_to_be_restarted(server: Server) -> None:
    ports = (server.ssh_port, server.http_port, server.https_port)
    with caddy(server, "still here"), run(server, "once", BASE, "sleep", "600"):
        server.sh("echo kept >/srv/file; echo lost >/run/file")
        started = server.sh(f"docker inspect --format {{{{.State.StartedAt}}}} {PROXY}")
        server.restart()
        assert server.sh("cat /srv/file") == "kept\n"
        assert server.try_sh("cat /run/file")[0] == 1
        assert (server.ssh_port, server.http_port, server.https_port) == ports
        until(lambda: says(server, b"still here"), "the proxy to come back")
        assert server.sh(f"docker inspect --format {{{{.State.StartedAt}}}} {PROXY}") != started
        assert PROXY in server.sh("docker ps --format {{.Names}}")
        assert "once" not in server.sh("docker ps --format {{.Names}}")


def test_a_full_disk_takes_nothing_until_it_is_free_again(server: Server) -> None:
    clean = "docker builder prune --all --force"
    server.sh(clean)  # of what other tests built
    free = server.snapshot_free
    write = "head -c 100000 /dev/zero >/var/lib/delivery/some"
    build = (
        f"printf 'FROM {BASE}\\nRUN head -c 9999999 /dev/urandom >/big\\n' | docker build -t big -"
    )
    with server.full_disk():
        assert server.snapshot_free == 0
        for command in (write, build):
            code, said = server.try_sh(command)
            assert code
            assert "No space left on device" in said or "no space left on device" in said
        assert server.ssh("true").returncode == 0
    server.sh(f"{write} && {build} 2>&1")
    assert server.snapshot_free < free - 9_999_999
    server.sh(f"docker image rm big; {clean}; rm /var/lib/delivery/some")
    assert abs(server.snapshot_free - free) < 2_000_000


def test_ssh_refuses_a_server_with_another_key(server: Server) -> None:
    pinned = server.known_hosts
    assert server.ssh("true", known=pinned).returncode == 0
    server.new_host_key()
    refused = server.ssh("true", known=pinned)
    assert refused.returncode == 255
    assert b"Host key verification failed" in refused.stderr
    assert server.ssh("true").returncode == 0


def test_the_engine_comes_back_by_itself(server: Server) -> None:
    before = server.sh("cat /run/docker.pid")
    server.sh("kill -9 $(cat /run/docker.pid)")
    until(lambda: server.try_sh("docker version")[0] == 0, "the engine")
    assert server.sh("cat /run/docker.pid") != before


def test_two_servers_do_not_meet(server: Server, tmp_path: Path) -> None:
    with Server.open(tmp_path / "other") as other:
        volume = inspect(other.id)["Mounts"][0]["Name"]
        assert server.known_hosts.split()[1:] != other.known_hosts.split()[1:]
        assert server.ssh("true", known=other.known_hosts).returncode == 255
        with caddy(server, "one"), caddy(other, "two"):
            assert says(server, b"one")
            assert says(other, b"two")
            with other.full_disk():
                assert server.snapshot_free > 0
            other.restart()
            until(lambda: says(other, b"two"), "the other proxy to come back")
            assert says(server, b"one")
    assert volume not in docker("volume", "ls", "--quiet").split()
    assert other.id not in docker("ps", "--all", "--quiet", "--no-trunc").split()


@contextlib.contextmanager
def run(server: Server, name: str, *arguments: str) -> Iterator[None]:
    """Run a container of that name on the server."""
    server.sh(f"docker run --detach --name={name} {' '.join(arguments)}")
    try:
        yield
    finally:
        server.sh(f"docker rm --force --volumes {name}")


@contextlib.contextmanager
def caddy(server: Server, words: str) -> Iterator[None]:
    """Run Caddy on the server as the delivery does, with a site that says these words."""
    server.sh("cat >/srv/Caddyfile", (CADDYFILE % words).encode())
    ports = ("--publish=80:80", "--publish=443:443", "--restart=unless-stopped")
    mount = "--volume=/srv/Caddyfile:/etc/caddy/Caddyfile:ro"
    with run(server, PROXY, *ports, mount, "caddy:2.11"):
        until(lambda: says(server, words.encode()), "Caddy to serve")
        yield


def visit(server: Server, host: str) -> tuple[int, bytes]:
    """Ask for the first page of a site."""
    with contextlib.closing(server.visit(host)) as connection:
        return ask(connection, "/")


def says(server: Server, words: bytes) -> bool:
    """Whether hello.test answers with these words."""
    return survives(lambda: visit(server, "hello.test") == (200, words))


def survives(look: Callable[[], bool]) -> bool:
    """Whether it is so, and there is a server to look at already."""
    try:
        return look()
    except (OSError, HTTPException, AssertionError):
        return False


def through(
    names: Names, host: str, tls: ssl.SSLContext | None, port: int = 443
) -> HTTPSConnection:
    """Return a connection to a host by the proxy, as Python's own clients make it."""
    proxy = urlsplit(names.url)
    assert proxy.hostname
    connection = HTTPSConnection(proxy.hostname, proxy.port, timeout=10, context=tls)
    connection.set_tunnel(host, port)
    return connection
