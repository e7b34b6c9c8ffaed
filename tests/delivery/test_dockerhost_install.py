"""What sets a server up, with a folder in the place of the server's root."""

import contextlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.delivery.ssh import HOST_KEY

pytest.importorskip("pwd", reason="Windows has no such server")

from delivery.dockerhost import install

pytestmark = [pytest.mark.fast, pytest.mark.usefixtures("server")]

INSPECT, STAT = install._inspect, Path.stat

WANTED: dict[str, Any] = {
    "project": "demo",
    "domain": "shop.test",
    "keys": [f"{HOST_KEY} ada"],
    "own_authority": False,
    "new_domain": False,
    "image": "caddy:2.11",
    "program": "#!/usr/bin/python3 -I\n",
    "caddyfile": "# a Caddyfile\n",
    "apply": False,
}


class Server:
    """Docker and the programs of a server: a network and the proxy, once they were made."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.containers: dict[str, Any] = {}
        self.networks: list[str] = []
        self.users: dict[str, str] = {}
        self.failing = ""
        self.says = {
            "ss": "",
            "/usr/bin/python3": "3.11\n",
            "docker version": '{"Server":{"Version":"29"}}',
        }

    def run(self, *command: str) -> str:
        self.ran.append(" ".join(command))
        if self.failing and self.failing in self.ran[-1]:
            raise subprocess.CalledProcessError(1, command, stderr=f"{command[0]}: no\n")
        if command[:2] == ("docker", "create"):
            options = [word.split("=", 2) for word in command if word.startswith("--")]
            labels = dict(words[1:] for words in options if words[0] == "--label")
            env = ["=".join(words[1:]) for words in options if words[0] == "--env"]
            name = next(words[1] for words in options if words[0] == "--name")
            self.containers[name] = {
                "Config": {"Labels": labels, "Env": env},
                "State": {"Running": False},
                "NetworkSettings": {"Networks": {}},
            }
        elif command[:3] == ("docker", "network", "create"):
            self.networks.append(command[3])
        elif command[:3] == ("docker", "network", "connect"):
            self.containers[command[4]]["NetworkSettings"]["Networks"][command[3]] = {}
        elif command[:3] == ("docker", "network", "ls"):
            wanted = command[-1].removeprefix("--filter=name=")
            return "\n".join(n for n in self.networks if re.search(wanted, n))
        elif command[:3] == ("docker", "rm", "--force"):
            self.containers.pop(command[3], None)
        elif command[:2] == ("docker", "rename"):
            self.containers[command[3]] = self.containers.pop(command[2])
        elif command[:2] == ("docker", "start"):
            self.containers[command[2]]["State"]["Running"] = True
        elif command[0] == "useradd":
            self.users[command[-1]] = command[command.index("--home-dir") + 1]
        return next(
            (said for words, said in self.says.items() if self.ran[-1].startswith(words)), ""
        )

    @property
    def proxy(self) -> dict[str, Any]:
        found: dict[str, Any] = self.containers.get(install.PROXY, {})
        return found

    def user(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(pw_dir=self.users[name])


def own_all(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """Let every file seem to be somebody's."""

    def look(path: Path, **options: Any) -> os.stat_result:
        found = [*STAT(path, **options)]
        found[stat.ST_UID] = uid
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", look)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    for name in ("PROGRAM", "SETTINGS", "ROOT", "SUDOERS"):
        inside = tmp_path / getattr(install, name).relative_to("/")
        monkeypatch.setattr(install, name, inside)
    monkeypatch.setattr(install, "_run", made.run)
    monkeypatch.setattr(install, "_inspect", lambda name: made.containers.get(name, {}))
    monkeypatch.setattr("pwd.getpwnam", made.user)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(install, "FREE", 0)
    own_all(monkeypatch, 0)
    return made


def run(**wanted: Any) -> list[dict[str, Any]]:
    said, before = io.StringIO(), os.umask(0o077)
    try:
        with contextlib.redirect_stdout(said):
            install.main(WANTED | wanted)
    finally:
        os.umask(before)
    return [json.loads(line) for line in said.getvalue().splitlines()]


def states(**wanted: Any) -> dict[str, str]:
    """Look; return the states that are not `there`, by item."""
    *rows, last = run(**wanted)
    assert "host_keys" in last
    return {row["name"]: row["state"] for row in rows if row["state"] != install.THERE}


def test_what_was_made_is_there(server: Server, tmp_path: Path) -> None:
    assert {*states().values()} == {install.CREATE}
    assert list(tmp_path.iterdir()) == []
    *rows, _ = run(apply=True)
    assert "usermod --password * deploy-demo" in server.ran  # locked, it could not sign in
    made = [row["name"] for row in rows if row.get("done")]
    assert len(made) == len(rows) - 5  # what only the owner can do was there
    server.says["ss"] = SOCKETS % 80  # which the proxy has
    assert states() == {}
    server.ran.clear()
    assert not any(row.get("done") for row in run(apply=True))
    assert not any("network create" in line or "docker create" in line for line in server.ran)
    assert (install.ROOT / "proxy/sites/shop.test").resolve().is_dir()
    assert stat.S_IMODE((install.ROOT / "proxy/sites").stat().st_mode) == 0o755  # the proxy reads
    rule = (install.SUDOERS / "deploy-demo").read_text()
    assert rule.endswith(f"\ndeploy-demo ALL=(root) NOPASSWD: {install.PROGRAM} demo\n")


@pytest.mark.parametrize(
    ("item", "path", "mode"),
    [
        ("program", "usr/local/sbin/delivery-host", 0o755),
        ("proxy's file", "etc/delivery/Caddyfile", 0o644),
        ("sudo rule", "etc/sudoers.d/deploy-demo", 0o440),
        ("domain", "var/lib/delivery/projects/demo/domain", 0o600),
    ],
)
def test_a_file_is_as_wanted_in_text_and_mode(
    tmp_path: Path, item: str, path: str, mode: int
) -> None:
    run(apply=True)
    file = tmp_path / path
    text = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == mode
    for spoil in (lambda: file.chmod(0o666), lambda: file.write_text(f"{text}\n")):
        file.chmod(0o600)
        spoil()
        assert states() == {item: install.DIFFERS}
        run(apply=True)
        assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (text, mode)
    file.unlink()
    left = file.with_name(f".{file.name}.new")  # of a run that was killed
    left.write_text("half")
    left.chmod(0o600)
    assert states() == {item: install.CREATE}
    run(apply=True)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (text, mode)
    assert not left.exists()


def test_a_file_that_is_not_roots_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    run(apply=True)
    own_all(monkeypatch, 1000)
    assert states()["program"] == install.DIFFERS


def test_the_settings_of_the_application_are_the_owners() -> None:
    run(apply=True)
    env = install.SETTINGS / "demo.env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    env.write_text("SECRET=1\n")
    run(apply=True)
    assert env.read_text() == "SECRET=1\n"


# Keys


def test_the_keys_that_are_given_are_all_that_may_sign_in() -> None:
    assert states(keys=[])["keys"] == install.LACKING
    run(apply=True)
    file = install.ROOT / "users/deploy-demo/.ssh/authorized_keys"
    command = f"sudo -n {install.PROGRAM} demo"
    assert file.read_text() == f'restrict,command="{command}" {HOST_KEY} ada\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    two = [f"{HOST_KEY} ada", f"{HOST_KEY} bob"]
    for keys, state in ((two, {"keys": install.DIFFERS}), ([], {}), (two[:1], {})):
        assert states(keys=keys) == state
    run(keys=two, apply=True)
    assert states(keys=two) == states(keys=[]) == {}
    assert states(keys=two[1:]) == {"keys": install.DIFFERS}
    assert next(r for r in run(keys=two[1:]) if r["name"] == "keys")["detail"] == (
        "bob; no longer: ada"
    )
    run(keys=two[1:], apply=True)
    assert "ada" not in file.read_text()


# Sites


def test_a_domain_is_said_once() -> None:
    lacking = run(domain="")[-2]
    assert (lacking["name"], lacking["state"]) == ("domain", install.LACKING)
    run(apply=True)
    assert states(domain="") == {}
    assert run(domain="")[-1]["domain"] == "shop.test"


def test_the_domain_before_goes_on_and_that_is_said() -> None:
    run(apply=True)
    run(apply=True, project="other", domain="other.test")
    new = {"domain": "www.test", "new_domain": True}
    assert states(**new) == {
        "domain": install.DIFFERS,
        "site www.test": install.CREATE,
    }
    old = install.ROOT / "proxy/sites/shop.test"
    assert run(**new)[-2]["detail"] == f"shop.test goes on until you remove {old}"
    run(apply=True, **new)
    assert old.resolve() == (old.parent / "www.test").resolve()
    old.unlink()
    assert run(domain="www.test")[-2]["detail"] == ""


def test_a_project_of_the_same_name_is_not_taken_over() -> None:
    run(apply=True)
    assert states(domain="second.test")["domain"] == install.LACKING
    row = next(row for row in run(domain="second.test") if row["name"] == "domain")
    assert "for shop.test" in row["detail"]
    assert "export HOST_PROJECT=" in row["detail"]
    run(apply=True, domain="second.test")
    assert (install.ROOT / "projects/demo/domain").read_text() == "shop.test\n"


@pytest.mark.parametrize(
    ("key", "name", "path"),
    [("program", "program", "PROGRAM"), ("caddyfile", "proxy's file", "SETTINGS")],
)
def test_a_newer_file_of_another_project_stays(key: str, name: str, path: str) -> None:
    newer, older = "# SERIAL = 12\n", "# SERIAL = 9\n"
    run(apply=True, **{key: newer})
    assert states(**{key: newer}) == {}
    assert states(**{key: older}) == {}
    row = next(row for row in run(apply=True, **{key: older}) if row["name"] == name)
    assert "newer" in row["detail"]
    file = getattr(install, path)
    assert (file if file.is_file() else file / "Caddyfile").read_text() == newer
    run(apply=True, **{key: f"{newer}# more\n"})
    assert states(**{key: f"{newer}# more\n"}) == {}


@pytest.mark.parametrize("to", ["../projects/other", "../projects/demo/reviews/mr-7"])
def test_the_site_of_another_project_is_in_the_way(to: str) -> None:
    run(apply=True)
    site = install.ROOT / "proxy/sites/shop.test"
    site.unlink()
    site.symlink_to(to)
    assert states() == {"site shop.test": install.LACKING}
    assert run()[-2]["detail"].startswith(f"it belongs to the project {to.split('/')[2]}: --domain")
    row = run(apply=True)[-1]
    assert f"shop.test belongs to another project of this host: {to}" in row["failed"]
    assert site.readlink() == Path(to)


# The proxy


@pytest.mark.parametrize(
    "change", [{"caddyfile": "# new\n"}, {"image": "caddy:3"}, {"own_authority": True}]
)
def test_the_proxy_is_made_anew_when_what_it_runs_changes(
    server: Server, change: dict[str, Any]
) -> None:
    run(apply=True)
    run(apply=True, project="other", domain="other.test")
    found = states(**change)
    assert found.pop("proxy's file", install.DIFFERS) == install.DIFFERS
    assert found == {"proxy": install.DIFFERS}
    server.ran.clear()
    run(apply=True, **change)
    assert "docker rm --force delivery-proxy" in server.ran
    assert {*server.proxy["NetworkSettings"]["Networks"]} == {"delivery-demo", "delivery-other"}
    assert states(**change) == {}


def test_a_proxy_that_does_not_run_is_made_anew(server: Server) -> None:
    run(apply=True)
    server.proxy["State"]["Running"] = False
    assert states() == {"proxy": install.DIFFERS}
    server.containers.clear()
    assert states() == {"proxy": install.CREATE, "network": install.CREATE}


def test_a_second_project_leaves_the_hosts_authority_alone(server: Server) -> None:
    run(apply=True, own_authority=True)
    before = server.proxy
    assert {*states(project="other", domain="other.test").values()} == {install.CREATE}
    run(apply=True, project="other", domain="other.test")
    assert server.proxy is before
    assert states() == {}


@pytest.mark.parametrize("step", ["create", "network connect", "rename", "start"])
def test_a_proxy_that_could_not_be_replaced_is_replaced_the_next_time(
    server: Server, step: str
) -> None:
    """Its successor is complete before it ends: no project is left behind."""
    run(apply=True, own_authority=True)
    run(apply=True, project="other", domain="other.test")
    server.failing = f"docker {step}"
    assert "failed" in run(apply=True, image="caddy:3")[-1]
    if step in {"create", "network connect"}:
        assert server.proxy["State"]["Running"]
    server.failing = ""
    run(apply=True, image="caddy:3")
    assert server.proxy["State"]["Running"]
    assert install.OWN_AUTHORITY in server.proxy["Config"]["Env"]
    assert {*server.proxy["NetworkSettings"]["Networks"]} == {"delivery-demo", "delivery-other"}
    assert [*server.containers] == [install.PROXY]


def test_the_proxy_is_in_no_network_that_others_are_in(server: Server) -> None:
    """In Docker's own are builds, which may forge packets: BuildKit leaves them NET_RAW."""
    run(apply=True)
    made = next(line for line in server.ran if line.startswith("docker create"))
    assert f"--network={install.NETWORK} " in made
    assert "--sysctl=net.ipv4.ip_forward=0" in made
    assert "--dns-search=." in made


# The user


def test_a_user_with_other_groups_or_another_home_is_put_right(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(apply=True)
    server.users["deploy-demo"] = "/home/ada"
    assert states() == {"user": install.DIFFERS}
    server.users["deploy-demo"] = str(install.ROOT / "users/deploy-demo")
    docker = SimpleNamespace(gr_name="docker", gr_mem=["deploy-demo"])
    monkeypatch.setattr("grp.getgrall", lambda: [docker])
    assert "it is in docker" in [row["detail"] for row in run()[:-1]]
    run(apply=True)
    assert any("usermod --home" in line and "--groups  --shell" in line for line in server.ran)


# What only the owner can do


SOCKETS = """\
LISTEN 0 511 0.0.0.0:8080 0.0.0.0:* users:(("x",pid=1,fd=1))
LISTEN 0 511 [::]:%d [::]:* users:(("nginx",pid=7,fd=6))
"""


@pytest.mark.parametrize(
    ("item", "word", "words", "said"),
    [
        ("Python", "is 3.9", "/usr/bin/python3", "3.9\n"),
        ("ports 80 and 443", 'taken: users:(("nginx",pid=7,fd=6))', "ss", SOCKETS % 80),
        ("ports 80 and 443", 'taken: users:(("nginx",pid=7,fd=6))', "ss", SOCKETS % 443),
    ],
)
def test_what_only_the_owner_can_do_is_lacking(  # noqa: PLR0913, PLR0917
    server: Server, tmp_path: Path, item: str, word: str, words: str, said: str
) -> None:
    server.says[words] = said
    assert states()[item] == install.LACKING
    last = run(apply=True)[-1]
    assert (last["name"], last["state"]) == (item, install.LACKING)
    assert word in last["detail"]
    assert list(tmp_path.iterdir()) == []


def absent(command: list[str], **_: object) -> None:
    raise FileNotFoundError(2, "No such file or directory", command[0])


def test_a_server_with_nothing_is_told_all_that_it_lacks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(install, "_inspect", INSPECT)
    monkeypatch.setattr(subprocess, "run", absent)
    monkeypatch.setattr(install, "FREE", 2**60)
    server.failing = "python3"
    lacking = [name for name, state in states().items() if state == install.LACKING]
    assert lacking == ["Python", "Docker", "sudo", "disk"]


def test_a_docker_that_does_not_run_is_lacking(server: Server) -> None:
    server.failing = "docker version"
    row = run()[1]
    assert (row["name"], row["state"], row["detail"]) == ("Docker", install.LACKING, "docker: no")


def test_what_cannot_be_made_is_the_last_line(server: Server) -> None:
    server.failing = "docker create"
    *made, last = run(apply=True)
    assert (last["name"], last["failed"]) == ("proxy", "docker: no")
    assert [row["name"] for row in made if row.get("done")] == ["program", "proxy's file"]
    server.failing = ""
    run(apply=True)  # goes on from there
    assert states() == {}
