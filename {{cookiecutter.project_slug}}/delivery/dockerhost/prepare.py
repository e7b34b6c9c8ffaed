"""The verbs prepare and doctor: set a server up for this project, and say what is wrong with it.

install.py does the work, on the server: prepare sends it there, by the owner's own way to root.
"""

import argparse
import base64
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from delivery.console import Console
from delivery.credentials import shown
from delivery.dockerhost.place import Place, pinned, ssh_options
from delivery.dockerhost.ssh import DOCTOR, PREPARE, Host
from delivery.errors import CommandError, DeliveryError, MisuseError, RefusedError
from delivery.probe import NoReplyError, UnreachableError, fetch, revision_of
from delivery.process import Runner
from delivery.splits import Split

HERE = Path(__file__).parent
PROXY, PROXY_IMAGE = "delivery-proxy", "caddy:2.11"
TIMEOUT = 5 * 60.0  # the first time, an image is pulled
VISIT_TIMEOUT = 10.0
AGAIN = "run this again: it goes on from there"
MAKE_A_PAIR = 'to make a pair: ssh-keygen -t ed25519 -N "" -f deploy.key'
OK, NOT, NOT_FOUND = "ok", "NOT", "not found"
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*(?: [^\n\"\\]*)?")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what both verbs can be told."""
    parser.add_argument("--host", metavar="ADDRESS", help="the server (default: HOST_ADDRESS)")
    parser.add_argument(
        "--domain", metavar="NAME", help="where visitors go (default: HOST_DOMAIN, or as it is)"
    )
    parser.add_argument(
        "--new-domain", action="store_true", help="the project moves to that domain from another"
    )
    parser.add_argument(
        "--as", dest="user", default="root", metavar="USER", help="a user who may sudo, or root"
    )
    parser.add_argument(
        "--key",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.pub",
        help="who may deliver; can be repeated, and replaces the keys that are there",
    )
    parser.add_argument(
        "--own-authority",
        action="store_true",
        help="certificates of the server's own authority, where the internet cannot reach it",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def prepare(runner: Runner, options: argparse.Namespace) -> str:
    """Show what is lacking on the server, ask, and make it."""
    server = _Server.named(runner, options)
    rows, keys = server.run(apply=False)
    runner.console.result(_table(rows))
    lacking = [row for row in rows if row["state"] == "LACKING"]
    if lacking:
        raise MisuseError(
            f"{len(lacking)} in the way: {', '.join(row['name'] for row in lacking)}",
            why="\n".join(f"{row['name']}: {row['detail']}" for row in lacking),
            then="see to that, then run this again; nothing was changed",
        )
    to_do = [row for row in rows if row["state"] not in {"there", NOT_FOUND}]
    if not to_do:
        return f"Everything is there: nothing was changed.\n{server.variables(keys, options.key)}"
    if runner.dry_run:
        return f"{len(to_do)} to do; nothing was changed."
    _confirm(runner.console, len(to_do), yes=options.yes)
    rows, keys = server.run(apply=True)
    for row in rows:
        if row.get("done"):
            runner.console.done(f"  {row['name']}")
        if row.get("failed") or row["state"] == "LACKING":
            raise CommandError(
                f"{row['name']}: it could not be made",
                why=row.get("failed") or row["detail"],
                then=AGAIN,
            )
    return f"{server.variables(keys, options.key)}\nThen: git push --set-upstream origin main"


def doctor(runner: Runner, options: argparse.Namespace) -> str:
    """Look at all of it, and at the way that deliveries go; fail if something is wrong."""
    wrong = 0
    for mark, name, *details in _findings(runner, options):
        detail = ": ".join(filter(None, details)).replace("\n", "\n    ")
        runner.console.result(f"{mark:<4}{name}{f': {detail}' if detail else ''}")
        wrong += mark == NOT
    if wrong:
        raise DeliveryError(
            f"{wrong} not as it should be",
            then=f"see to what is LACKING; {PREPARE} makes what is to create, or differs",
        )
    return "All is well."


def _findings(runner: Runner, options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    place = _place(runner, options)
    host = Host(runner, place, ssh_options(runner.environ, runner.private))
    try:
        found = host.ask("look", doing="signing in")
    except DeliveryError as error:
        then = error.then if error.then != DOCTOR else ""
        said = "\n".join(filter(None, [error.what, error.why, then]))
        yield NOT, f"delivery as {place.user}", said
    else:
        yield OK, f"delivery as {place.user}"
        yield _visit(found["domain"], found["split"])
    if runner.environ.get("CI"):
        return
    rows, _ = _Server.named(runner, options).run(apply=False)
    for row in rows:
        if row["state"] == "there":
            yield OK, row["name"], row["detail"]
        else:
            mark = "?" if row["state"] == NOT_FOUND else NOT
            yield mark, row["name"], row["state"], row["detail"]


def _visit(domain: str, split: Split) -> tuple[str, ...]:
    """Ask as a visitor does: only so do the address and the certificate show."""
    url = f"https://{domain}"
    try:
        reply = fetch(f"{url}/health", VISIT_TIMEOUT)
    except (UnreachableError, NoReplyError) as error:
        return NOT, url, f"{error}\non the server, this may say why: docker logs {PROXY}"
    revision = revision_of(reply)
    if revision and revision not in split:
        return NOT, url, f"it answers as {revision}, which does not serve here: does it lead here?"
    if not split:
        return OK, url, "nothing is delivered yet"
    if reply.status == HTTPStatus.OK:
        return OK, url
    then = "python -m delivery logs, or rollback; or the domain leads to another server"
    return NOT, url, f"/health answers {reply.status} instead of 200: {then}"


@dataclass(frozen=True)
class _Server:
    """A server, and the owner's way to root there."""

    runner: Runner
    place: Place
    user: str
    wanted: dict[str, Any]

    @classmethod
    def named(cls, runner: Runner, options: argparse.Namespace) -> "_Server":
        """Check what was typed."""
        place = _place(runner, options)
        domain = options.domain or runner.environ.get("HOST_DOMAIN", "").strip()
        if domain and (len(domain) > 200 or not _DOMAIN.fullmatch(domain)):
            raise MisuseError(
                f"{shown(domain)} is no domain",
                why="it is where visitors go, such as shop.example.com, in lower case",
                then="--domain NAME",
            )
        wanted = {
            "project": place.project,
            "domain": domain,
            "new_domain": options.new_domain,
            "keys": [_public_key(path) for path in options.key],
            "own_authority": options.own_authority,
            "image": PROXY_IMAGE,
            "program": f"#!/usr/bin/python3 -I\n{(HERE / 'host.py').read_text('utf-8')}",
            "caddyfile": (HERE / "Caddyfile").read_text("utf-8"),
        }
        return cls(runner, place, options.user, wanted)

    def run(self, *, apply: bool) -> tuple[list[dict[str, Any]], list[str]]:
        """Run install.py on the server; return its rows, and the server's public keys."""
        wanted = base64.b64encode(json.dumps(self.wanted | {"apply": apply}).encode()).decode()
        sudo = () if self.user == "root" else ("sudo", "-n")
        known = pinned(self.runner.environ, self.runner.private)
        command = [
            *("ssh", "-T", *known, "-p", str(self.place.port), "-o", "ConnectTimeout=15"),
            *(f"{self.user}@{self.place.address}", *sudo, "python3", "-", wanted),
        ]
        doing = "setting the server up" if apply else "looking at the server"
        try:
            said = self.runner.read(
                command, doing=doing, timeout=TIMEOUT, stdin=HERE / "install.py", quiet=True
            )
        except CommandError as error:
            error.then = f"""\
this must work, and ask nothing: {self._sign_in()} {" ".join((*sudo, "true"))}
The first time it asks about the server's key; ssh-add remembers a key's passphrase."""
            if "IDENTIFICATION HAS CHANGED" in error.why and known:
                error.then = "unset HOST_KEYS, if the server was set up anew; then run this again"
            raise
        try:
            *rows, last = map(json.loads, said.splitlines())
        except ValueError as error:
            raise MisuseError(
                "the server says something else than what it was asked for",
                why=said[:300],
                then=f"a shell there must be silent: {self._sign_in()} true",
            ) from error
        if "host_keys" not in last:
            return [*rows, last], []
        return [*rows, *map(self._dns, filter(None, [last["domain"]]))], last["host_keys"]

    def _sign_in(self) -> str:
        port = "" if self.place.port == 22 else f"-p {self.place.port} "
        return f"ssh {port}{self.user}@{self.place.address}"

    def _dns(self, domain: str) -> dict[str, Any]:
        """Say whether visitors find the server; that is no reason not to set it up."""
        state = "there"
        try:
            found = {str(row[4][0]) for row in socket.getaddrinfo(domain, 443)}
            ours = {str(row[4][0]) for row in socket.getaddrinfo(self.place.address, 443)}
        except OSError as error:
            found, ours, detail = set(), {self.place.address}, f"{domain}: {error}"
        else:
            detail = f"{domain} is {', '.join(sorted(found))}"
        if not found & ours:
            state = NOT_FOUND
            detail += f"\nmake an A record of it, and one of *.{domain} for review apps: "
            detail += ", ".join(sorted(ours))
        return {"name": "DNS", "for": "visitors", "state": state, "detail": detail}

    def variables(self, keys: list[str], public: list[Path]) -> str:
        """Return what GitLab must know; `public` are the files that have just been let in."""
        private = f", such as {public[0].with_suffix('')}" if public else ""
        address = f"[{self.place.address}]" if ":" in self.place.address else self.place.address
        port = "" if self.place.port == 22 else f":{self.place.port}"
        best = [key for key in keys if key.startswith("ssh-ed25519")] or keys
        return "\n".join(
            [
                "GitLab: Settings > CI/CD > Variables, each of them protected",
                f"  HOST_ADDRESS  {address}{port}",
                *(f"  HOST_KEYS     {' '.join(key.split()[:2])}" for key in best[:1]),
                f"  DEPLOY_KEY    what GitLab signs in with: the private key{private} (type: file)",
            ]
        )


def _place(runner: Runner, options: argparse.Namespace) -> Place:
    given = {"HOST_ADDRESS": options.host} if options.host else {}
    return Place.named({**runner.environ, **given}, runner.root)


def _public_key(path: Path) -> str:
    try:
        text = path.expanduser().read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise MisuseError(
            f"--key {shown(str(path))} cannot be read", why=why, then=MAKE_A_PAIR
        ) from None
    if not _PUBLIC_KEY.fullmatch(text):
        raise MisuseError(
            f"{path} is no public key",
            why="such a file ends in .pub, and has one line, as in: ssh-ed25519 AAAA...",
            then=MAKE_A_PAIR,
        )
    return text if text.count(" ") > 1 else f"{text} {path.stem}"


def _confirm(console: Console, count: int, *, yes: bool) -> None:
    if not yes and console.ask(f"Make these {count}? [y/N]").lower() not in {"y", "yes"}:
        raise RefusedError("not confirmed; nothing was changed", then="answer y, or add --yes")


def _table(rows: list[dict[str, Any]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in ("name", "state")]
    lines = []
    for row in rows:
        lines.append(f"{row['name']:<{widths[0]}}  {row['state']:<{widths[1]}}  {row['for']}")
        lines += [f"    {line}" for line in row["detail"].splitlines()]
    return "\n".join(lines)
