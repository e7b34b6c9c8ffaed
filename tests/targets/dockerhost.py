"""A Docker host for the suite: a server with a real sshd, a real engine and the real proxy."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from emulators.cloudrun.emulator import GitLabRegistry
from tests.support.clone import new_laptop, wait_until
from tests.support.server import Names, Server
from tests.support.tools import require
from tests.support.visitors import Where
from tests.targets.image import build_and_push
from tests.targets.world import World

PROJECT, DOMAIN = "hello-delivery", "shop.test"
PROGRAM = "/usr/local/sbin/delivery-host"
TREE = f"/var/lib/delivery/proxy/projects/{PROJECT}"
RECORD = f"/var/lib/delivery/projects/{PROJECT}/record.json"


@dataclass
class DockerHostWorld(World):
    """A server of the client's own, the owner's way to root there, and a GitLab with a registry."""

    server: Server = field(kw_only=True)
    gitlab: GitLabRegistry = field(kw_only=True)
    names: Names = field(kw_only=True)
    folder: Path = field(kw_only=True)
    stack: contextlib.ExitStack = field(kw_only=True)
    built: dict[str, str] = field(default_factory=dict)

    deploy_to = "docker-host"
    first_serves = False

    @classmethod
    def open(cls, folder: Path) -> Self:
        for tool in ("docker", "ssh"):
            require(tool)
        path, temp, env = new_laptop(folder, cls.deploy_to)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Server.open(folder / "server"))
            gitlab = GitLabRegistry(folder / "registry")
            stack.callback(gitlab.close)
            names = stack.enter_context(server.names())
            parts = {"server": server, "gitlab": gitlab, "names": names, "stack": stack.pop_all()}
        world = cls(path, temp, env, folder=folder, **parts)  # type: ignore[arg-type]
        try:
            world.set_up()
        except BaseException:
            world.close()
            raise
        return world

    def set_up(self) -> None:
        """Prepare the server as its owner does."""
        self.git("init", "--quiet")
        self.first = self.commit()
        self.server.reach(int(self.gitlab.host.rpartition(":")[2]))
        for name in ("job", "owner"):
            make_key(self.folder / name)
        self.env |= {
            "HOST_ADDRESS": f"127.0.0.1:{self.server.ssh_port}",
            "HOST_KEYS": self.server.known_hosts,
            "HTTPS_PROXY": self.names.url,
            "SSL_CERT_FILE": str(self.folder / "authority.pem"),
        }
        self.must(*self.prepare_command(), **self.root())
        wait_until(lambda: self.server.try_sh(f"docker exec delivery-proxy ls {ROOT_CERT}")[0] == 0)
        (self.folder / "authority.pem").write_text(self.server.authority())

    def prepare_command(self) -> list[str]:
        keys = [f"--key={self.folder / name}.pub" for name in ("job", "owner")]
        return ["prepare", "--yes", f"--domain={DOMAIN}", "--own-authority", *keys]

    def root(self) -> dict[str, str]:
        """Return variables with which ssh has the owner's key for root."""
        socket = self.folder / "agent"
        if not socket.exists():
            self.stack.enter_context(agent(socket, self.server.root_key))
        return {"SSH_AUTH_SOCK": str(socket)}

    def close(self) -> None:
        self.stack.close()

    def secrets(self) -> Iterable[str]:
        key = (self.folder / "job").read_text().splitlines() if self.env.get("HOST_KEYS") else []
        return [*self.gitlab.secrets(), *key[2:-1]]  # the first line of all such keys is the same

    def uploads(self) -> Iterable[bytes]:
        code, said = self.server.try_sh(f"cat {RECORD}")
        return [said.encode()] if code == 0 else []

    def job(self) -> dict[str, str]:
        return {
            "CI": "true",
            "DEPLOY_KEY": (self.folder / "job").read_text(),
            **self.gitlab.variables(),
        }

    def build(self) -> dict[str, str]:
        commit = self.git("rev-parse", "HEAD")
        if commit not in self.built:
            gitlab, config = self.gitlab.variables(), self.folder / "docker"
            self.built[commit] = build_and_push(self.path, gitlab, config)
        return {"IMAGE": self.built[commit]}

    def traffic(self) -> dict[str, float]:
        _, links = self.server.try_sh(f"cd {TREE}/now && readlink ??")
        slots = [link.rpartition("/")[2] for link in links.splitlines() if link.startswith("..")]
        return {name: float(round(slots.count(name) / 2.56)) for name in {*slots}}

    def versions(self) -> set[str]:
        ours = f"--filter label=delivery.project={PROJECT}"
        command = f"docker ps -a {ours} --format '{{{{.Names}}}}'"
        return {name.rpartition("--")[2] for name in self.server.sh(command).split()}

    def where(self) -> Where:
        return lambda: self.server.visit(DOMAIN)

    def bookmark(self) -> Callable[[], None]:
        found, record = self.host("look"), self.server.sh(f"cat {RECORD}")

        def back() -> None:
            self._wait()
            self._go_back({*found["versions"]}, found["split"], record)

        return back

    def _go_back(self, versions: set[str], split: dict[str, float], record: str) -> None:
        self.server.sh(f"cat >{RECORD}", record.encode())
        for missing in versions - self.versions():
            self.upload(missing)
        found = self.host("look")
        if found["split"] != split:
            self.host(f"move {found['tag']}", json.dumps(split))
        others = sorted({*found["versions"]} - versions)
        if others:
            self.host(f"delete {' '.join(others)}")

    def host(self, asked: str, stdin: str = "") -> Any:
        """Ask delivery-host, as root."""
        said = self.server.sh(f"{PROGRAM} {PROJECT} '{asked}'", stdin.encode())
        return json.loads(said)["answer"]

    def _wait(self) -> None:
        """What a killed verb has asked for still happens on the host."""
        pattern = f"[/]{PROGRAM.lstrip('/')}"  # which the shell that looks does not match itself
        wait_until(lambda: self.server.try_sh(f"pgrep -f {pattern}")[0] == 1, 60)


ROOT_CERT = "/data/caddy/pki/authorities/local/root.crt"


def make_key(path: Path) -> None:
    """Make a pair of keys without a passphrase."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def agent(socket: Path, key: Path) -> Iterator[None]:
    """Run an ssh agent that has a key."""
    command = ["ssh-agent", "-D", "-a", str(socket)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(socket.exists)
            env = {"SSH_AUTH_SOCK": str(socket), "PATH": "/usr/bin:/bin"}
            subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True)
            yield
        finally:
            process.terminate()
