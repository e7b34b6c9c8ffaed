"""Which host, which project there, with which key: the variables, and what they are by default."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery.credentials import PrivateFolder, shown
from delivery.errors import MisuseError

SETTINGS = """\
  HOST_ADDRESS  the server: a name or an address, and :PORT where ssh listens on another than 22
  HOST_PROJECT  the project's name there (default: that in pyproject.toml, cut to 24 characters)
  HOST_KEYS     the server's public host keys, as prepare prints them: their text, or a file
  DEPLOY_KEY    the private key to sign in with: its text, or a file
  IMAGE         the image to deliver, by digest, as the pipeline's job build pushed it to GitLab;
                without it, deploy sends the files, and the server builds the image
In CI, HOST_ADDRESS, HOST_KEYS and DEPLOY_KEY are required. On a laptop HOST_ADDRESS is: the keys
are then those that ssh knows."""

LONGEST_PROJECT = 24  # `deploy-PROJECT` is a user, who has 32 characters at most: useradd(8)
WHERE = """\
GitLab: Settings > CI/CD > Variables (protected ones are empty on unprotected branches).
python -m delivery prepare prints the values."""

AS_IN_GITLAB = """\
export HOST_ADDRESS=ADDRESS, the value that it has in GitLab (Settings > CI/CD > Variables)"""

_PROJECT = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"({_NAME}|\[[0-9a-fA-F:]+\])(?::(\d+))?")
_HOST_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]{60,}=*)")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----\n[A-Za-z0-9+/=\n:, -]+\n-----END \1PRIVATE KEY-----"
)


@dataclass(frozen=True)
class Place:
    """One project on one host."""

    address: str
    port: int
    project: str

    @property
    def user(self) -> str:
        """The user who may deliver this project, and nothing else."""
        return f"deploy-{self.project}"

    @classmethod
    def named(cls, environ: Mapping[str, str], root: Path) -> "Place":
        """Return the place that the variables name."""
        given = environ.get("HOST_ADDRESS", "").strip()
        if not given:
            then = f"set it in {WHERE}" if environ.get("CI") else AS_IN_GITLAB
            raise MisuseError("HOST_ADDRESS, the server, is not set", then=then)
        address = _ADDRESS.fullmatch(given)
        if not address or not 0 < int(address[2] or 22) < 65536:
            raise MisuseError(
                f"HOST_ADDRESS is {shown(given)}, which is no address",
                why="its form is server.example.com, 203.0.113.7 or [2001:db8::7], each with or\n"
                "without :PORT; the user belongs to the project",
            )
        project = environ.get("HOST_PROJECT", "").strip() or default_project(root)
        if not _PROJECT.fullmatch(project) or len(project) > LONGEST_PROJECT:
            raise MisuseError(
                f"{shown(project)} cannot be the project's name on the server",
                why=f"it has 1 to {LONGEST_PROJECT} of a-z, 0-9 and single '-', and begins with a\n"
                "letter: it becomes part of a user's name",
                then="set HOST_PROJECT to another name, wherever you set HOST_ADDRESS",
            )
        return cls(address[1].strip("[]"), int(address[2] or 22), project)


def default_project(root: Path) -> str:
    """Return the project's own name, as far as it fits."""
    try:
        with (root / "pyproject.toml").open("rb") as file:
            name = str(tomllib.load(file)["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MisuseError(
            "HOST_PROJECT is not set, and pyproject.toml names no project",
            why=str(error),
            then="set HOST_PROJECT to the project's name on the server",
        ) from error
    return name[:LONGEST_PROJECT].rstrip("-")


def ssh_options(environ: Mapping[str, str], private: PrivateFolder) -> list[str]:
    """Keep the credentials in the private folder; return the options with which ssh uses them."""
    missing = [name for name in ("HOST_KEYS", "DEPLOY_KEY") if not environ.get(name, "").strip()]
    if environ.get("CI") and missing:
        raise MisuseError(f"not set: {', '.join(missing)}", then=f"set it in {WHERE}")
    return [*_sign_in(environ, private), *pinned(environ, private)]


def _sign_in(environ: Mapping[str, str], private: PrivateFolder) -> list[str]:
    if not environ.get("DEPLOY_KEY", "").strip():
        return []  # a laptop: the keys that ssh has
    key = _text(environ["DEPLOY_KEY"], "DEPLOY_KEY").strip()
    if not _PRIVATE_KEY.fullmatch(key):
        raise MisuseError(
            "DEPLOY_KEY is neither a private key nor the path of one",
            why="it is a file of several lines, which ssh-keygen writes beside the .pub;\n"
            "a variable that GitLab masks cannot hold lines: take the type file, protected",
            then=WHERE,
        )
    # ssh wants a line end after the last line: without it, "error in libcrypto".
    file = private.write("deploy-key", f"{key}\n")
    return ["-F", "none", "-i", str(file), *_set("IdentitiesOnly=yes", "IdentityAgent=none")]


def pinned(environ: Mapping[str, str], private: PrivateFolder) -> list[str]:
    """Return the options with which ssh knows the host by HOST_KEYS, and by no other key."""
    if not environ.get("HOST_KEYS", "").strip():
        return []  # a laptop: the hosts that ssh knows
    text = _text(environ["HOST_KEYS"], "HOST_KEYS")
    # A line that begins with "@" revokes a key, or is about another kind of key: sshd(8).
    lines = [line for line in text.splitlines() if not line.startswith(("#", "@"))]
    keys = [match[1] for line in lines if (match := _HOST_KEY.search(line))]
    if not keys:
        raise MisuseError(
            "HOST_KEYS names no key of a host",
            why="a line has the form: ssh-ed25519 AAAA...",
            then=WHERE,
        )
    known = private.path / "known-hosts"
    known.write_text("".join(f"delivery {key}\n" for key in keys), "utf-8")
    return _set(
        *("HostKeyAlias=delivery", f'UserKnownHostsFile="{known}"', "GlobalKnownHostsFile=none"),
        *("StrictHostKeyChecking=yes", "UpdateHostKeys=no"),
    )


def _set(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("-o", setting)]


def _text(value: str, name: str) -> str:
    """Return a value, or the file that it is the path of, with plain line ends."""
    text = value.strip("\ufeff \t\r\n")
    if "\n" not in text and (" " not in text or os.path.isfile(text)):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise MisuseError(
                f"{name} is neither what it should be nor the path of a file",
                why=getattr(error, "strerror", None) or "it cannot be read",
                then=WHERE,
            ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
