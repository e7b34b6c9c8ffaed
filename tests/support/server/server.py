"""A client's server: Debian in a container, with a real sshd, a real engine of its own and sudo.

What stands for what:

- Debian's packages with their own settings: sshd with PAM and root by key alone, `dockerd` that is
  started again when it ends, as by https://docs.docker.com/engine/daemon/start/ with systemd.
- `restart` is a power cut as far as processes know; what was written is on the disk.
- `caddy:2.11` has the layout of https://hub.docker.com/_/caddy. Like the base of a project's image
  it comes from this machine's engine, as if it had been pulled before.
- Names end in .test, and are found by the port: https://www.rfc-editor.org/rfc/rfc6761#section-6.2

Not modelled: systemd, a firewall, IPv6, sshd's penalties for clients that fail to log in
(https://man.openbsd.org/sshd_config#PerSourcePenalties: tests have one address), a full `/etc`.
"""

import contextlib
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.engine import docker, free_port
from tests.support.server.names import Names, Visit
from tests.support.waiting import until

BASE = "python:3.14-slim"  # what the Dockerfile of a bake of the defaults names
CADDY = "caddy:2.11"
PROXY = "delivery-proxy"  # the container of the delivery's proxy
AUTHORIZE = "mkdir -pm 700 /root/.ssh && cat >/root/.ssh/authorized_keys"
AUTHORITY = "/data/caddy/pki/authorities/local/root.crt"
LABEL = "tests.support.server"  # finds what a killed test has left


@dataclass
class Server:
    """One server. Its ports are of 127.0.0.1, and stay the same when it restarts."""

    folder: Path
    id: str = ""
    ssh_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    https_port: int = field(default_factory=free_port)
    _forwards: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    _tls: ssl.SSLContext | None = None

    @classmethod
    def open(cls, folder: Path, images: Sequence[str] = (BASE,)) -> Self:
        """Start a new one, whose engine has these images; its keys are kept in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        server = cls(folder)
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "root"]
        subprocess.run([*key, "-f", str(server.root_key)], check=True)
        for image in images:
            if not _succeeds("docker", "image", "inspect", image):
                docker("pull", "--quiet", image)
        caddy, system = _build("caddy", images[0]), _build("server", images[0])
        ports = {server.ssh_port: 22, server.http_port: 80, server.https_port: 443}
        publish = [f"--publish=127.0.0.1:{port}:{inside}" for port, inside in ports.items()]
        options = ["--privileged", "--tmpfs=/run:exec", "--volume=/machine", f"--label={LABEL}"]
        server.id = docker("create", "--hostname=server", *publish, *options, system)
        try:
            server._start()
            server.sh(AUTHORIZE, server.root_key.with_suffix(".pub").read_bytes())
            server._wait()
            server._load(*images, caddy)
            server.sh(f"docker tag {caddy} {CADDY}")
        except BaseException:
            server.close()
            raise
        return server

    def close(self) -> None:
        """Remove it, and all that it has."""
        self._end_forwards()
        docker("rm", "--force", "--volumes", self.id)

    def __enter__(self) -> Self:
        """Nothing is left to do: `open` has started it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    # Its owner's view

    @property
    def root_key(self) -> Path:
        """The private key that root accepts."""
        return self.folder / "root_key"

    @property
    def known_hosts(self) -> str:
        """What ssh has to know of the server, as it is now."""
        keys = self.sh("cat /etc/ssh/ssh_host_*_key.pub").splitlines()
        words = (key.split() for key in keys)
        return "".join(f"[127.0.0.1]:{self.ssh_port} {kind} {key}\n" for kind, key, *_ in words)

    @property
    def snapshot_free(self) -> int:
        """Bytes free on its disk."""
        return int(self.sh("sync; df --output=avail --block-size=1 /disk | tail -n 1"))

    def sh(self, command: str, stdin: bytes = b"") -> str:
        """Run a command as root that has to succeed; return what it prints."""
        done = self._exec(command, stdin)
        said = done.stdout.decode()
        assert done.returncode == 0, f"{command}\n{said}{done.stderr.decode()}"
        return said

    def try_sh(self, command: str) -> tuple[int, str]:
        """Run a command as root; return its exit code and all that it says."""
        done = self._exec(command)
        return done.returncode, (done.stdout + done.stderr).decode()

    def ssh(
        self, command: str, stdin: bytes = b"", *, user: str = "root", known: str = ""
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command by ssh with root's key, as a user who accepts it."""
        line = [*self._client(known), f"{user}@127.0.0.1", command]
        return subprocess.run(line, input=stdin, capture_output=True, check=False)

    # What happens to servers

    def restart(self) -> None:
        """Cut the power, and switch it on again; return when sshd and the engine answer."""
        docker("kill", self.id)
        docker("wait", self.id)
        ports = list(self._forwards)
        self._end_forwards()
        self._start()
        self._wait()
        for port in ports:
            self.reach(port)

    def new_host_key(self) -> None:
        """Give sshd other keys, as a server that was set up anew has."""
        self.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -A >/dev/null; kill -HUP $(cat /run/sshd.pid)")
        until(self._is_up, "sshd to use its new keys")

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Leave no byte free for /var/lib/docker, /var/lib/delivery, /home, /srv and /tmp."""
        # Most is reserved, which is fast; the rest is written block by block and past the cache, in
        # which the file system would set more aside than it needs, and free that later.
        megabytes = self.snapshot_free // 2**20 - 16
        self.sh(f"fallocate --length={megabytes}MiB /disk/filler")
        self.sh("! dd if=/dev/zero of=/disk/filler.rest bs=4k oflag=direct 2>/dev/null")
        try:
            yield
        finally:
            self.sh("rm /disk/filler*; sync")

    # Its network

    def reach(self, port: int) -> None:
        """Lead the server's 127.0.0.1:port to this machine's, as long as it runs: a registry."""
        way = [f"-R127.0.0.1:{port}:127.0.0.1:{port}", "-oExitOnForwardFailure=yes"]
        forward = subprocess.Popen(
            [*self._client(), *way, "root@127.0.0.1", "echo ready; exec cat >/dev/null"],
            stdin=subprocess.PIPE,  # its end ends the way
            stdout=subprocess.PIPE,
        )
        self._forwards[port] = forward
        assert forward.stdout is not None
        assert forward.stdout.readline() == b"ready\n", f"no way from the server to port {port}"

    def names(self) -> Names:
        """Make a proxy for HTTPS_PROXY that leads any name under .test here."""
        return Names({80: self.http_port, 443: self.https_port})

    def authority(self) -> str:
        """Return the certificate of Caddy's own authority, as PEM."""
        return self.sh(f"docker exec {PROXY} cat {AUTHORITY}")

    def visit(self, host: str) -> Visit:
        """Return a connection to the server under that name, which trusts its authority."""
        return Visit(host, self.https_port, self._trust)

    def _trust(self, anew: bool) -> ssl.SSLContext:
        if self._tls is None or anew:
            self._tls = ssl.create_default_context(cadata=self.authority())
        return self._tls

    def _start(self) -> None:
        # A connection of another program may have a port of it for a moment.
        until(lambda: _succeeds("docker", "start", self.id), "the server's ports to be free")

    def _wait(self) -> None:
        try:
            until(self._is_up, "sshd and the engine")
        except AssertionError as late:
            logs = docker("logs", "--tail=50", self.id)
            raise AssertionError(f"{late}\n{logs}") from late

    def _is_up(self) -> bool:
        return self.try_sh("docker version")[0] == 0 and self.ssh("true").returncode == 0

    def _load(self, *images: str) -> None:
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            load = ["docker", "exec", "--interactive", self.id, "docker", "load", "--quiet"]
            subprocess.run(load, stdin=save.stdout, check=True, capture_output=True)
        assert save.returncode == 0, f"docker save {images} gave {save.returncode}"

    def _exec(self, command: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        line = ["docker", "exec", "--interactive", self.id, "sh", "-c", command]
        return subprocess.run(line, input=stdin, capture_output=True, check=False)

    def _client(self, known: str = "") -> list[str]:
        file = self.folder / ("known_hosts.other" if known else "known_hosts")
        file.write_text(known or self.known_hosts, "utf-8")
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": file,
        }
        settings = [f"-o{name}={value}" for name, value in options.items()]
        return ["ssh", "-F/dev/null", "-T", f"-p{self.ssh_port}", f"-i{self.root_key}", *settings]

    def _end_forwards(self) -> None:
        for forward in self._forwards.values():
            forward.communicate()
        self._forwards.clear()


def _build(target: str, base: str) -> str:
    """Build an image of the Dockerfile, or find it built; return its id."""
    options = (f"--target={target}", f"--build-arg=BASE={base}", f"--tag=delivery-test/{target}")
    return docker("build", "--quiet", *options, str(Path(__file__).parent))


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
