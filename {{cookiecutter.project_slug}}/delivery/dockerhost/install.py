"""Sets a host up, there and as root: prepare.py sends this program and reads its lines.

It is plain Python 3.11 and stands alone. It says a line of JSON for each item, in order: whether it
is there, to create, or differs; and, when it was told to, what it has done about it.
"""

import base64
import grp
import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path("/usr/local/sbin/delivery-host")
PYTHON = "/usr/bin/python3"  # the system's, as in the first line of delivery-host
SETTINGS = Path("/etc/delivery")
SUDOERS = Path("/etc/sudoers.d")
ROOT = Path("/var/lib/delivery")
PROXY = "delivery-proxy"
NETWORK = "delivery"  # not Docker's own: in that, builds may pretend to be the proxy
OWN_AUTHORITY = "TLS_OPTION=local_certs"
ENV = "# NAME=value, a line each, without quotes; the next version has them\n"
FREE = 2 * 1024**3  # bytes: an image, what its build needs, and the version before
THERE, CREATE, DIFFERS, LACKING = "there", "to create", "differs", "LACKING"


@dataclass(frozen=True)
class Item:
    """Something that must be so: what it is for, how it is now, and how to make it so."""

    name: str
    purpose: str
    look: Callable[[], tuple[str, str]]  # the state, and a word on it
    make: Callable[[], object] | None = None  # None: only the owner can


def main(wanted: dict[str, Any]) -> None:
    """Look at every item; with `apply`, make those that are not as they should be.

    Stop at one that cannot be made; otherwise the last line has the host's public keys.
    """
    os.umask(0o022)
    # Once a host has an authority of its own, it has, and a project its domain: neither need be
    # said again.
    domain = ROOT / "projects" / wanted["project"] / "domain"
    if not wanted["domain"] and domain.exists():
        wanted["domain"] = domain.read_text("utf-8").strip()
    proxy = _inspect(PROXY) or _inspect(f"{PROXY}.new")
    wanted["own_authority"] |= bool(proxy) and OWN_AUTHORITY in proxy["Config"]["Env"]
    for item in _items(wanted):
        state, detail = item.look()
        row: dict[str, Any] = {"name": item.name, "for": item.purpose, "state": state}
        row["detail"] = detail
        if wanted["apply"] and state != THERE:
            if item.make is None:
                print(json.dumps(row), flush=True)
                return
            try:
                item.make()
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", "") or str(error)
                print(json.dumps(row | {"failed": said.strip()[-2000:]}), flush=True)
                return
            row["done"] = True
        print(json.dumps(row), flush=True)
    keys = [path.read_text("utf-8").strip() for path in sorted(Path("/etc/ssh").glob("*_key.pub"))]
    print(json.dumps({"host_keys": keys, "domain": wanted["domain"]}), flush=True)


def _items(wanted: dict[str, Any]) -> Iterator[Item]:
    project, domain = wanted["project"], wanted["domain"]
    user, network = f"deploy-{project}", f"delivery-{project}"
    # What only the owner can do
    yield Item("Python", "delivery-host", _has_python)
    yield Item("Docker", "runs the versions", _docker_works)
    yield Item("sudo", "lets the project's user start one program", _has_sudo)
    yield Item("disk", "images", _has_room)
    yield Item("ports 80 and 443", "the proxy", _ports_free)
    # Once for the host
    yield _unless_newer(
        _file("program", "all that a delivery may do here", PROGRAM, wanted["program"], 0o755),
        *(PROGRAM, wanted["program"]),
    )
    caddyfile = SETTINGS / "Caddyfile"
    yield _unless_newer(
        _file("proxy's file", "TLS and traffic", caddyfile, wanted["caddyfile"]),
        *(caddyfile, wanted["caddyfile"]),
    )
    yield Item("proxy", "TLS and traffic", lambda: _look_at_proxy(wanted), lambda: _proxy(wanted))
    # Once for the project
    yield Item("user", "delivers this project", lambda: _look_at_user(user), lambda: _user(user))
    # No wildcard, which would match anything, and which sudo-rs did not know before 0.2.13.
    rule = f"Defaults:{user} env_keep += SSH_ORIGINAL_COMMAND\n"
    rule += f"{user} ALL=(root) NOPASSWD: {PROGRAM} {project}\n"
    yield _file("sudo rule", "... by that program", SUDOERS / user, rule, 0o440)
    keys = ROOT / "users" / user / ".ssh" / "authorized_keys"
    yield Item(
        "keys",
        "whoever delivers",
        lambda: _look_at_keys(keys, project, wanted["keys"]),
        lambda: _write(keys, _authorized(project, wanted["keys"]), 0o644),
    )
    env = SETTINGS / f"{project}.env"
    yield Item(
        "settings",
        f"the application's, in {env}",
        lambda: (THERE if env.exists() else CREATE, ""),
        lambda: _write(env, ENV, 0o600),
    )
    yield Item(
        "network",
        "of its containers and the proxy",
        lambda: _look_at_network(network),
        lambda: _network(network),
    )
    if not domain:
        lacking = "--domain NAME, such as shop.example.com"
        yield Item("domain", "where visitors go", lambda: (LACKING, lacking))
        return
    file = ROOT / "projects" / project / "domain"
    yield _same_domain(
        _file("domain", "where visitors go", file, f"{domain}\n", 0o600),
        *(file, domain, project, wanted["new_domain"]),
    )
    site, to = ROOT / "proxy" / "sites" / domain, Path(f"../projects/{project}")
    yield Item(
        f"site {domain}",
        "visitors",
        lambda: _look_at_site(site, to),
        lambda: _site(site, to),
    )


# Files


def _file(name: str, purpose: str, path: Path, text: str, mode: int = 0o644) -> Item:
    def look() -> tuple[str, str]:
        if not path.exists():
            return CREATE, str(path)
        fine = path.read_text("utf-8") == text and path.stat().st_mode & 0o777 == mode
        return THERE if fine and path.stat().st_uid == 0 else DIFFERS, str(path)

    return Item(name, purpose, look, lambda: _write(path, text, mode))


def _unless_newer(item: Item, path: Path, text: str) -> Item:
    """Leave a newer file, of another project of the server, as it is."""
    if not _is_newer(path, text):
        return item
    return Item(item.name, item.purpose, lambda: (THERE, "newer, from another project"))


def _is_newer(path: Path, text: str) -> bool:
    texts = (path.read_text("utf-8") if path.exists() else "", text)
    there, here = (re.search(r"SERIAL = (\d+)", each) for each in texts)
    return int(there[1] if there else 0) > int(here[1] if here else 0)


def _same_domain(item: Item, path: Path, domain: str, project: str, new: bool) -> Item:
    """Take no project over that has another domain: it may be somebody else's of the same name."""
    old = path.read_text("utf-8").strip() if path.exists() else domain
    if old == domain:
        return item
    if new:
        return Item(item.name, item.purpose, lambda: (DIFFERS, f"until now {old}"), item.make)
    lacking = (
        f"a project {project} is here already, for {old}.\n"
        "If it is another one: export HOST_PROJECT=ANOTHER-NAME, and set it in GitLab.\n"
        "If this one moves: add --new-domain"
    )
    return Item(item.name, item.purpose, lambda: (LACKING, lacking))


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")  # sudo reads no file with a dot in its name
    new.touch(mode=mode)
    new.write_text(text, "utf-8")
    new.chmod(mode)
    new.replace(path)


# What only the owner can do


def _has_python() -> tuple[str, str]:
    command = [PYTHON, "-c", "import sys; print('%s.%s' % sys.version_info[:2])"]
    try:
        version = _run(*command).strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return LACKING, f"apt-get install python3 ({error})"
    fine = tuple(map(int, version.split("."))) >= (3, 11)
    return (THERE, version) if fine else (LACKING, f"{PYTHON} is {version}; Debian 12 has 3.11")


def _docker_works() -> tuple[str, str]:
    if not shutil.which("docker"):
        return LACKING, "https://docs.docker.com/engine/install"
    try:
        version = _run("docker", "version", "--format=json")
        _run("docker", "--config=/nonexistent", "buildx", "version")  # as delivery-host builds
    except subprocess.CalledProcessError as error:
        return LACKING, str(error.stderr).strip()[-300:]
    return THERE, str(json.loads(version)["Server"]["Version"])


def _has_sudo() -> tuple[str, str]:
    return (THERE, "") if shutil.which("sudo") else (LACKING, "apt-get install sudo")


def _has_room() -> tuple[str, str]:
    folder = Path("/var/lib/docker")
    free = shutil.disk_usage(folder if folder.exists() else "/").free
    return (THERE if free >= FREE else LACKING), f"{free / 1024**3:.1f} GiB free, of 2 needed"


def _ports_free() -> tuple[str, str]:
    if _inspect(PROXY):
        return THERE, "the proxy has them"
    # What listens, and who it is: ss(8) of iproute2, which every Debian and Ubuntu has.
    said = _run("ss", "--listening", "--tcp", "--numeric", "--processes", "--no-header")
    taken = [line for line in said.splitlines() if line.split()[3].endswith((":80", ":443"))]
    if taken and _docker_works()[0] == LACKING:
        return LACKING, "taken, perhaps by the proxy: see to Docker first"
    return (LACKING, f"taken: {taken[0].split()[-1]}") if taken else (THERE, "")


# Docker


def _proxy_command(wanted: dict[str, Any]) -> list[str]:
    return [
        *("docker", "create", f"--name={PROXY}.new", "--restart=unless-stopped"),
        # It is in the networks of all projects: it leads no packets, and no guessed names, astray.
        *(f"--network={NETWORK}", "--sysctl=net.ipv4.ip_forward=0", "--dns-search=."),
        *("--publish=80:80", "--publish=443:443", "--publish=443:443/udp"),
        *("--read-only", "--tmpfs=/config", "--tmpfs=/tmp"),
        *("--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE", "--security-opt=no-new-privileges:true"),
        *("--log-driver=json-file", "--log-opt=max-size=10m", "--log-opt=max-file=3"),
        # Its certificates outlive it; of the rest of the host it sees the split alone.
        f"--volume={PROXY}:/data",
        f"--volume={SETTINGS / 'Caddyfile'}:/etc/caddy/Caddyfile:ro",
        f"--volume={ROOT / 'proxy'}:/srv:ro",
        f"--env={OWN_AUTHORITY if wanted['own_authority'] else 'TLS_OPTION='}",
        wanted["image"],
    ]


def _proxy_mark(wanted: dict[str, Any]) -> str:
    text = json.dumps([_proxy_command(wanted), wanted["caddyfile"]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _look_at_proxy(wanted: dict[str, Any]) -> tuple[str, str]:
    found = _inspect(PROXY)
    if not found:
        return CREATE, wanted["image"]
    newer = _is_newer(SETTINGS / "Caddyfile", wanted["caddyfile"])
    if found["Config"]["Labels"].get("delivery.proxy") != _proxy_mark(wanted) and not newer:
        return DIFFERS, "visitors of all projects wait for some seconds"
    return (THERE, "") if found["State"]["Running"] else (DIFFERS, "it does not run")


def _proxy(wanted: dict[str, Any]) -> None:
    (ROOT / "proxy" / "sites").mkdir(parents=True, exist_ok=True)
    _make_network(NETWORK)
    # The new one is complete before the old one ends: whatever fails here, visitors are served.
    _run("docker", "rm", "--force", f"{PROXY}.new")
    command = _proxy_command(wanted)  # this pulls the image, if it is not there
    _run(*command[:2], f"--label=delivery.proxy={_proxy_mark(wanted)}", *command[2:])
    ours = _run("docker", "network", "ls", "--quiet", f"--filter=name=^{NETWORK}-").split()
    for network in ours:
        _run("docker", "network", "connect", network, f"{PROXY}.new")
    _run("docker", "rm", "--force", PROXY)
    _run("docker", "rename", f"{PROXY}.new", PROXY)
    _run("docker", "start", PROXY)


def _look_at_network(network: str) -> tuple[str, str]:
    proxy = _inspect(PROXY)
    if not proxy or network not in proxy["NetworkSettings"]["Networks"]:
        return CREATE, network
    return THERE, network


def _network(network: str) -> None:
    _make_network(network)
    _run("docker", "network", "connect", network, PROXY)


def _make_network(network: str) -> None:
    if not _run("docker", "network", "ls", "--quiet", f"--filter=name=^{network}$"):
        _run("docker", "network", "create", network)


# The user


def _look_at_user(user: str) -> tuple[str, str]:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return CREATE, user
    groups = [group.gr_name for group in grp.getgrall() if user in group.gr_mem]
    if groups:  # a member of docker, say, is root by the back door
        return DIFFERS, f"it is in {', '.join(groups)}"
    return (THERE if found.pw_dir == str(ROOT / "users" / user) else DIFFERS), user


def _user(user: str) -> None:
    home = ROOT / "users" / user
    home.mkdir(parents=True, exist_ok=True)  # root's: the user can change nothing in it
    try:
        pwd.getpwnam(user)
        _run("usermod", "--home", str(home), "--groups", "", "--shell", "/bin/sh", user)
    except KeyError:
        shell = ("--shell", "/bin/sh", "--no-create-home", "--home-dir", str(home))
        _run("useradd", "--system", "--user-group", *shell, user)
    # No password fits; an account without one is locked, which sshd refuses where it has no PAM.
    _run("usermod", "--password", "*", user)


def _authorized(project: str, keys: list[str]) -> str:
    return "".join(f'restrict,command="sudo -n {PROGRAM} {project}" {key}\n' for key in keys)


def _look_at_keys(path: Path, project: str, keys: list[str]) -> tuple[str, str]:
    there = path.read_text("utf-8") if path.exists() else ""
    if not keys:
        count = len(there.splitlines())
        return (THERE, f"{count}") if there else (LACKING, "--key FILE.pub names one")
    if there == _authorized(project, keys):
        return THERE, f"{len(keys)}"
    names = ", ".join(key.split()[-1] for key in keys)
    wanted = _authorized(project, keys).splitlines()
    gone = [line.split()[-1] for line in there.splitlines() if line not in wanted]
    if gone:
        names += f"; no longer: {', '.join(gone)}"
    return (DIFFERS if there else CREATE), names


# The site


def _look_at_site(site: Path, to: Path) -> tuple[str, str]:
    links = [each for each in sorted(site.parent.glob("*")) if each.is_symlink()]
    others = [each for each in links if each != site and each.readlink() == to]
    detail = "\n".join(f"{other.name} goes on until you remove {other}" for other in others)
    if not site.is_symlink():
        return CREATE, detail
    if site.readlink() == to:
        return THERE, detail
    owner = site.readlink().parts[2]
    return LACKING, f"it belongs to the project {owner}: --domain NAME, another one"


def _site(site: Path, to: Path) -> None:
    if site.is_symlink():
        raise OSError(f"{site.name} belongs to another project of this host: {site.readlink()}")
    (ROOT / "proxy" / to.relative_to("..")).mkdir(parents=True, exist_ok=True)
    site.symlink_to(to)


def _inspect(container: str) -> dict[str, Any]:
    if not shutil.which("docker"):
        return {}
    command = ["docker", "container", "inspect", container]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found[0] if found else {}


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(json.loads(base64.b64decode(sys.argv[1])))
