"""Turns the settings of a job or a laptop into an environment in which gcloud is signed in."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delivery.console import Console
from delivery.credentials import PrivateFolder, shown
from delivery.errors import CommandError, MisuseError
from delivery.google import gcloud
from delivery.google.keyless import ROLE, exchange
from delivery.google.rest import call, token_in
from delivery.process import SECRETS, Runner


@dataclass(frozen=True)
class Names:
    """What a target calls the variables that are its own."""

    project: str
    key: str
    others: tuple[str, ...] = ()  # what a job must set, too


WHERE = (
    "GitLab: Settings > CI/CD > Variables (protected ones are empty on unprotected branches).\n"
    "delivery/README.md has the commands that create the values."
)

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_PROVIDER = re.compile(
    r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)
_ACCOUNT = re.compile(r"[^@\s/]+@[a-z0-9.-]+\.gserviceaccount\.com")
_KEY_FIELDS = ("client_email", "private_key", "private_key_id", "token_uri")

_QUIET = {
    "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
    "CLOUDSDK_CORE_DISABLE_FILE_LOGGING": "1",
    "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
    "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
}
# What gcloud must not follow instead of what was given.
_OVERRIDDEN = (
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_CORE_ACCOUNT",
)


def project(environ: Mapping[str, str], names: Names) -> str:
    """Return the project's id, or nothing if it is not set, after checking its shape."""
    given = environ.get(names.project, "").strip()
    if given and not _PROJECT.fullmatch(given):
        raise MisuseError(
            f"{names.project} is {shown(given)}, which is no project id",
            why="an id has 6 to 30 of a-z, 0-9 and '-' (it is neither the name nor the number)",
            then=WHERE,
        )
    return given


def login(
    environ: Mapping[str, str],
    private: PrivateFolder,
    console: Console,
    names: Names,
) -> dict[str, str]:
    """Check the settings, keep credentials in the private folder, return gcloud's environment."""
    keyless = any(environ.get(name) for name in _KEYLESS[:2])
    explicit = keyless or bool(environ.get(names.key))
    if explicit or environ.get("CI"):
        _refuse_missing(environ, names, keyless=keyless)
    children = {name: value for name, value in environ.items() if name not in SECRETS} | _QUIET
    if not explicit:
        return children  # a laptop: the account that gcloud has
    if keyless and environ.get(names.key):
        both = f"Both {names.key} and the keyless variables are set"
        console.warn(f"{both}: the keyless login is used.")
    credentials = _keyless(environ, private) if keyless else _key(environ[names.key], names.key)
    file = private.write("credentials.json", json.dumps(credentials))
    for name in _OVERRIDDEN:
        children.pop(name, None)
    # gcloud then needs no login step, and keeps the access token in its configuration directory.
    # In a fresh one it would first look for a machine of Google's, and wait where that is silent.
    return children | {
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CONFIG": str(private.path / "gcloud"),
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": str(file),
    }


_KEYLESS = ("GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT", "GITLAB_OIDC_TOKEN")


def _refuse_missing(environ: Mapping[str, str], names: Names, *, keyless: bool) -> None:
    own = (names.project, *names.others)
    missing = [name for name in own if not environ.get(name, "").strip()]
    if keyless:
        missing += [name for name in _KEYLESS if not environ.get(name, "").strip()]
    elif not environ.get(names.key):
        missing.append(f"{_KEYLESS[0]} and {_KEYLESS[1]} (or else {names.key})")
    if missing:
        raise MisuseError(f"not set: {', '.join(missing)}", then="set it in " + WHERE)


def _keyless(environ: Mapping[str, str], private: PrivateFolder) -> dict[str, Any]:
    provider = environ[_KEYLESS[0]].strip()
    provider = re.sub(r"^(https:)?//iam\.googleapis\.com/", "", provider)
    if not _PROVIDER.fullmatch(provider):
        raise MisuseError(
            f"GCP_WORKLOAD_IDENTITY_PROVIDER is {shown(provider)}, which names no provider",
            why="its form is projects/NUMBER/locations/global/\n"
            "workloadIdentityPools/POOL/providers/PROVIDER",
            then=WHERE,
        )
    account = environ[_KEYLESS[1]].strip()
    if not _ACCOUNT.fullmatch(account):
        raise MisuseError(
            f"GCP_SERVICE_ACCOUNT is {shown(account)}, which is no service account",
            why="its form is NAME@PROJECT.iam.gserviceaccount.com",
            then=WHERE,
        )
    token = private.write("oidc-token", environ[_KEYLESS[2]].strip())
    # What `gcloud iam workload-identity-pools create-cred-config` writes, a second sooner; unlike
    # it, this follows gcloud's own variables for other endpoints.
    exchange = _endpoint(environ, "STS", "https://sts.googleapis.com/")
    accounts = _endpoint(environ, "IAMCREDENTIALS", "https://iamcredentials.googleapis.com/")
    return {
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": f"//iam.googleapis.com/{provider}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{exchange}/v1/token",
        "service_account_impersonation_url": (
            f"{accounts}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"
        ),
        "credential_source": {"file": str(token)},
    }


def _endpoint(environ: Mapping[str, str], service: str, default: str) -> str:
    return environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{service}", default).rstrip("/")


def _key(value: str, name: str) -> dict[str, Any]:
    """Read a service account's key; whatever is wrong with it, its text is never repeated."""
    text = value.strip("\ufeff \t\r\n")  # some editors begin a file with the first of these
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise MisuseError(
                f"{name} is neither the JSON text of a key nor the path of a file",
                why=getattr(error, "strerror", None) or "it cannot be read",
                then=WHERE,
            ) from None
    try:
        # Not strict: keys that went through a shell often have real line ends inside a string.
        key = json.loads(text, strict=False)
    except ValueError as error:
        position = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "encoding"
        raise MisuseError(f"{name} is not valid JSON", why=f"see {position}", then=WHERE) from None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise MisuseError(
            f"{name} is not the key of a service account",
            why='a key has "type": "service_account"',
            then=WHERE,
        )
    absent = [part for part in _KEY_FIELDS if not isinstance(key.get(part), str) or not key[part]]
    if absent:
        raise MisuseError(f"{name} lacks {', '.join(absent)}", why="it seems cut short", then=WHERE)
    return key


class Account:
    """Who delivers: a job without a key, or whoever gcloud is signed in as.

    One start of gcloud tells the token and what gcloud is set to.
    """

    def __init__(self, runner: Runner, environ: Mapping[str, str], names: Names) -> None:
        self._runner = runner
        self._environ = environ
        self._names = names
        self._answer: dict[str, Any] = {}
        self._token = ""

    def token(self) -> str:
        """Return an access token that is good for the longest of verbs."""
        if not self._token:
            self._token = self._exchanged() or self._of_gcloud()
        return self._token

    def _exchanged(self) -> str:
        """Return the token of a job without a key; nothing for everybody else."""
        file = self._environ.get("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
        credentials = json.loads(Path(file).read_text("utf-8")) if file else {}
        if credentials.get("type") != "external_account":
            return ""
        return call(lambda: exchange(credentials, self._runner), "signing in", ROLE)

    def _of_gcloud(self) -> str:
        token = token_in(self._ask().get("credential", {}), "access_token")
        if not token:
            raise CommandError("signing in: gcloud has no access token", then="gcloud auth login")
        return token

    def project(self) -> str:
        """Return the project that gcloud is set to."""
        project = self.property("core", "project")
        if not project:
            raise MisuseError(
                "no Google Cloud project is chosen",
                then=f"set {self._names.project}, or: gcloud config set project PROJECT",
            )
        return project

    def property(self, section: str, name: str) -> str:
        """Return one of gcloud's properties, or nothing if it is not set."""
        properties = self._ask().get("configuration", {}).get("properties", {})
        return str(properties.get(section, {}).get(name) or "")

    def _ask(self) -> dict[str, Any]:
        if not self._answer:
            text = gcloud.run(
                self._runner,
                *("config", "config-helper", "--format=json", "--min-expiry=30m"),
                environ=self._environ,
                doing="signing in",
                role=ROLE,
            )
            self._answer = json.loads(text)
        return self._answer
