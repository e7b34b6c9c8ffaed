"""The settings of the target Docker host."""

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from delivery.credentials import PrivateFolder
from delivery.dockerhost.place import Place, ssh_options
from delivery.errors import MisuseError

from tests.delivery.ssh import HOST_KEY, PRIVATE_KEY

pytestmark = pytest.mark.fast

BODY = "c2VjcmV0IG1hdGVyaWFs" * 3


@pytest.fixture
def private(tmp_path: Path) -> PrivateFolder:
    made = PrivateFolder(outside=tmp_path / "project")
    made._path = tmp_path / "private"  # so that no process for clean-up is started
    made._path.mkdir()
    return made


def place(tmp_path: Path, **environ: str) -> Place:
    return Place.named({"HOST_ADDRESS": "a.test", "HOST_PROJECT": "demo", **environ}, tmp_path)


# Where


@pytest.mark.parametrize(
    ("given", "address", "port"),
    [
        ("shop.example.com", "shop.example.com", 22),
        (" server\n", "server", 22),
        ("203.0.113.7:2222", "203.0.113.7", 2222),
        ("[2001:db8::7]", "2001:db8::7", 22),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_an_address_may_have_a_port(tmp_path: Path, given: str, address: str, port: int) -> None:
    found = place(tmp_path, HOST_ADDRESS=given)
    assert (found.address, found.port, found.user) == (address, port, "deploy-demo")


HOSTILE = [
    *("a b", "-oProxyCommand=id", "-a", "a\nb", "a\0", "root@a", "a;id", "$(id)", "`id`", "a|b"),
    *("a'b", 'a"b', "a\\b", "a/b", "~a", "a.", ".a", "ä.test", "a%h", "ssh://a", "2001:db8::7"),
    *("a:", "a:0", "a:65536", "a:x", "a:-1", "a:1:2", "[::1", "[g]", "[::1]x", "[]"),
]


@pytest.mark.parametrize("given", HOSTILE)
def test_what_is_no_address_never_reaches_ssh(tmp_path: Path, given: str) -> None:
    with pytest.raises(MisuseError, match="HOST_ADDRESS is ") as caught:
        place(tmp_path, HOST_ADDRESS=given)
    assert repr(given) in caught.value.what or "characters" in caught.value.what


@pytest.mark.parametrize("name", ["HOST_ADDRESS", "HOST_PROJECT"])
def test_a_key_in_the_place_of_a_name_is_not_repeated(tmp_path: Path, name: str) -> None:
    with pytest.raises(MisuseError, match="a text of ") as caught:
        place(tmp_path, **{name: PRIVATE_KEY})
    assert "BEGIN" not in f"{caught.value.what}{caught.value.why}"


@pytest.mark.parametrize(
    ("job", "then"), [("true", "Settings > CI/CD > Variables"), ("", "export HOST_ADDRESS=")]
)
def test_without_an_address_it_is_said_where_to_set_it(tmp_path: Path, job: str, then: str) -> None:
    with pytest.raises(MisuseError, match="HOST_ADDRESS, the server, is not set") as caught:
        place(tmp_path, HOST_ADDRESS=" ", CI=job)
    assert then in caught.value.then


@pytest.mark.parametrize(
    "project", ["Demo", "1demo", "demo-", "-demo", "a--b", "a_b", "a b", "../a", "a" * 25, "ä"]
)
def test_a_project_must_fit_into_a_users_name(tmp_path: Path, project: str) -> None:
    with pytest.raises(MisuseError, match="cannot be the project's name") as caught:
        place(tmp_path, HOST_PROJECT=project)
    assert "set HOST_PROJECT" in caught.value.then


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("demo", "demo"),
        ("a" * 40, "a" * 24),
        ("abcdefghijklmnopqrstuvw-xyz", "abcdefghijklmnopqrstuvw"),
    ],
)
def test_the_project_is_by_default_the_one_in_pyproject(
    tmp_path: Path, name: str, project: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    found = place(tmp_path, HOST_PROJECT=" ")
    assert found.project == project
    assert len(found.user) <= 32


@pytest.mark.parametrize("text", [None, "[project]\n", "project = 1\n", "not TOML"])
def test_without_a_name_the_project_must_be_set(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(MisuseError, match="names no project"):
        place(tmp_path, HOST_PROJECT="")


# The key to sign in with


def key_of(environ: Mapping[str, str], private: PrivateFolder) -> bytes:
    options = ssh_options(environ, private)
    file = Path(options[options.index("-i") + 1])
    assert {"IdentitiesOnly=yes", "IdentityAgent=none"} <= {*options}
    assert options[:2] == ["-F", "none"]
    if os.name != "nt":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        PRIVATE_KEY,  # GitLab cuts the last line end
        f"{PRIVATE_KEY}\n",
        f"\ufeff{PRIVATE_KEY}\n",
        PRIVATE_KEY.replace("\n", "\r\n"),
        f"\n {PRIVATE_KEY}\r\n\r\n",
    ],
    ids=["cut", "plain", "byte order mark", "CRLF", "blanks"],
)
@pytest.mark.parametrize("file", [None, "key", "a folder/key"])
def test_a_key_is_handed_to_ssh_as_ssh_wants_it(
    tmp_path: Path, private: PrivateFolder, text: str, file: str | None
) -> None:
    if file:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(text.encode())
        text = f"{tmp_path / file}\n"
    assert key_of({"DEPLOY_KEY": text}, private) == f"{PRIVATE_KEY}\n".encode()


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "ENCRYPTED "])
def test_older_forms_of_a_key_are_taken_as_well(private: PrivateFolder, kind: str) -> None:
    text = PRIVATE_KEY.replace("OPENSSH ", kind)
    assert key_of({"DEPLOY_KEY": text}, private) == f"{text}\n".encode()


GOOGLES = {"type": "service_account", "private_key": PRIVATE_KEY.replace("b3Bl", BODY)}
WRONG = {
    "public": f"ssh-ed25519 {BODY[:50]} me@laptop",
    "Google's": json.dumps(GOOGLES),
    "Google's, indented": json.dumps(GOOGLES, indent=2),
    "cut at the end": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{BODY}\n",
    "cut at the start": f"{BODY}\n-----END OPENSSH PRIVATE KEY-----",
    "another end": PRIVATE_KEY.replace("b3Bl", BODY).replace("END OPENSSH", "END RSA"),
    "on one line": PRIVATE_KEY.replace("b3Bl", BODY).replace("\n", " "),
    "one word": BODY,
    "long": BODY * 100,
    "with a zero": f"{BODY}\0",
    "PuTTY's": f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{BODY}\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("name", ["DEPLOY_KEY", "HOST_KEYS"])
def test_what_is_no_key_is_explained_without_repeating_it(
    tmp_path: Path, private: PrivateFolder, name: str, text: str, as_file: bool
) -> None:
    if as_file:
        (tmp_path / "key").write_text(text)
        text = str(tmp_path / "key")
    with pytest.raises(MisuseError, match=name) as caught:
        ssh_options({name: text}, private)
    shown = "".join([caught.value.what, caught.value.why, caught.value.then, *caught.value.args])
    assert BODY[:8] not in shown
    assert caught.value.__cause__ is None  # which a traceback would show
    assert "Settings > CI/CD > Variables" in caught.value.then


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", None], ids=["UTF-16", "empty", "a folder"])
def test_a_file_that_holds_no_key_is_explained(
    tmp_path: Path, private: PrivateFolder, content: bytes | None
) -> None:
    file = tmp_path / "key"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(MisuseError, match="DEPLOY_KEY is neither"):
        ssh_options({"DEPLOY_KEY": str(file)}, private)


# The keys to know the host by

OTHER_KEY = f"ecdsa-sha2-nistp256 {'B' * 140}="


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (HOST_KEY, [HOST_KEY]),
        (f"{HOST_KEY} root@server\r\n{OTHER_KEY}\r\n", [HOST_KEY, OTHER_KEY]),
        (f"shop.test,203.0.113.7 {HOST_KEY}", [HOST_KEY]),
        (f"# shop.test:22 SSH-2.0-OpenSSH_9.2\n[shop.test]:2222 {HOST_KEY}\n", [HOST_KEY]),
        (f"|1|aGFzaA==|aGFzaA== {HOST_KEY}\n\n\ufeff", [HOST_KEY]),
        (f"@revoked * {OTHER_KEY}\n{HOST_KEY}\n# {OTHER_KEY}", [HOST_KEY]),
    ],
    ids=["plain", "as .pub, several", "known_hosts", "ssh-keyscan", "hashed", "revoked"],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_only_the_keys_that_are_named_are_the_hosts(
    tmp_path: Path, private: PrivateFolder, text: str, keys: list[str], as_file: bool
) -> None:
    if as_file:
        (tmp_path / "keys").write_text(text, "utf-8")
        text = str(tmp_path / "keys")
    options = ssh_options({"HOST_KEYS": text}, private)
    known = private.path / "known-hosts"
    assert known.read_text() == "".join(f"delivery {key}\n" for key in keys)
    assert {
        "HostKeyAlias=delivery",
        f'UserKnownHostsFile="{known}"',
        "GlobalKnownHostsFile=none",
        "StrictHostKeyChecking=yes",
    } <= {*options}


@pytest.mark.parametrize(
    "text",
    ["ssh-ed25519 AAAA", f"@revoked * {HOST_KEY}", f"# {HOST_KEY}", "SHA256:abc me (ED25519)"],
)
def test_what_names_no_key_of_a_host_is_refused(private: PrivateFolder, text: str) -> None:
    with pytest.raises(MisuseError, match="HOST_KEYS names no key"):
        ssh_options({"HOST_KEYS": text}, private)


# Together


def test_a_laptop_uses_what_ssh_has(private: PrivateFolder) -> None:
    assert ssh_options({}, private) == []


@pytest.mark.parametrize("lacking", [["HOST_KEYS"], ["DEPLOY_KEY"], ["HOST_KEYS", "DEPLOY_KEY"]])
def test_a_job_needs_both(private: PrivateFolder, lacking: list[str]) -> None:
    environ = {"CI": "true", "HOST_KEYS": HOST_KEY, "DEPLOY_KEY": PRIVATE_KEY}
    assert len(ssh_options(environ, private)) > 10
    with pytest.raises(MisuseError, match=f"^not set: {', '.join(lacking)}$"):
        ssh_options(environ | dict.fromkeys(lacking, " "), private)
