"""Turns the settings of a job or a laptop into an environment in which gcloud is signed in."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import CommandError, MisuseError
from delivery.google import gcloud
from delivery.process import SECRETS, Runner

SETTINGS = """\
  GAE_PROJECT                     id of the Google Cloud project
  GCP_WORKLOAD_IDENTITY_PROVIDER  keyless login: projects/N/locations/global/
                                  workloadIdentityPools/POOL/providers/PROVIDER
  GCP_SERVICE_ACCOUNT             ... as this service account (its e-mail address)
  GITLAB_OIDC_TOKEN               ... with this token (id_tokens in .gitlab-ci.yml sets it)
  GAE_KEY                         or, instead of these three: a service account's key, as the
                                  path of a file or as its JSON text
On a laptop none is needed: the account and project that gcloud uses are used."""

WHERE = (
    "GitLab: Settings > CI/CD > Variables (protected ones are empty on unprotected branches).\n"
    "delivery/README.md has the commands that create the values."
)

_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_PROVIDER = re.compile(
    r"projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)
_ACCOUNT = re.compile(r"[^@\s/]+@[a-z0-9.-]+\.gserviceaccount\.com")
LONGEST_SHOWN = 120
# What a value that was meant for another variable may hold: part of a key, a word that is longer
# than any name here, one with the prefix of a token, or of letters and digits at random.
_SECRET = re.compile(
    r"(?i:private|secret|password)|[\w+=~-]{33}|\b(?:gl[a-z]{2,8}-|ya29|eyJ|AIza)"
    r"|(?=[\w+~-]*\d)(?=[\w+~-]*[A-Z])(?=[\w+~-]*[a-z])[\w+~-]{14,}"
)
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


def project(environ: Mapping[str, str]) -> str:
    """Return the project's id, or nothing if it is not set, after checking its shape."""
    given = environ.get("GAE_PROJECT", "").strip()
    if given and not _PROJECT.fullmatch(given):
        raise MisuseError(
            f"GAE_PROJECT is {_shown(given)}, which is no project id",
            why="an id has 6 to 30 of a-z, 0-9 and '-' (it is neither the name nor the number)",
            then=WHERE,
        )
    return given


def login(environ: Mapping[str, str], private: PrivateFolder, console: Console) -> dict[str, str]:
    """Check the settings, keep credentials in the private folder, return gcloud's environment."""
    keyless = any(environ.get(name) for name in _KEYLESS[:2])
    explicit = keyless or bool(environ.get("GAE_KEY"))
    if explicit or environ.get("CI"):
        _refuse_missing(environ, keyless=keyless)
    children = {name: value for name, value in environ.items() if name not in SECRETS} | _QUIET
    if not explicit:
        return children  # a laptop: the account that gcloud has
    if keyless and environ.get("GAE_KEY"):
        console.warn("Both GAE_KEY and the keyless variables are set: the keyless login is used.")
    credentials = _keyless(environ, private) if keyless else _key(environ["GAE_KEY"])
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


def _refuse_missing(environ: Mapping[str, str], *, keyless: bool) -> None:
    missing = [] if environ.get("GAE_PROJECT", "").strip() else ["GAE_PROJECT"]
    if keyless:
        missing += [name for name in _KEYLESS if not environ.get(name, "").strip()]
    elif not environ.get("GAE_KEY"):
        missing.append("GCP_WORKLOAD_IDENTITY_PROVIDER and GCP_SERVICE_ACCOUNT (or else GAE_KEY)")
    if missing:
        raise MisuseError(f"not set: {', '.join(missing)}", then="set it in " + WHERE)


def _keyless(environ: Mapping[str, str], private: PrivateFolder) -> dict[str, Any]:
    provider = environ[_KEYLESS[0]].strip()
    provider = re.sub(r"^(https:)?//iam\.googleapis\.com/", "", provider)
    if not _PROVIDER.fullmatch(provider):
        raise MisuseError(
            f"GCP_WORKLOAD_IDENTITY_PROVIDER is {_shown(provider)}, which names no provider",
            why="its form is projects/NUMBER/locations/global/\n"
            "workloadIdentityPools/POOL/providers/PROVIDER",
            then=WHERE,
        )
    account = environ[_KEYLESS[1]].strip()
    if not _ACCOUNT.fullmatch(account):
        raise MisuseError(
            f"GCP_SERVICE_ACCOUNT is {_shown(account)}, which is no service account",
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


def _key(value: str) -> dict[str, Any]:
    """Read a service account's key; whatever is wrong with it, its text is never repeated."""
    text = value.strip("\ufeff \t\r\n")  # some editors begin a file with the first of these
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8-sig")
        except (OSError, ValueError) as error:
            raise MisuseError(
                "GAE_KEY is neither the JSON text of a key nor the path of a file",
                why=getattr(error, "strerror", None) or "it cannot be read",
                then=WHERE,
            ) from None
    try:
        # Not strict: keys that went through a shell often have real line ends inside a string.
        key = json.loads(text, strict=False)
    except ValueError as error:
        position = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "encoding"
        raise MisuseError("GAE_KEY is not valid JSON", why=f"see {position}", then=WHERE) from None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise MisuseError(
            "GAE_KEY is not the key of a service account",
            why='a key has "type": "service_account"',
            then=WHERE,
        )
    absent = [name for name in _KEY_FIELDS if not isinstance(key.get(name), str) or not key[name]]
    if absent:
        raise MisuseError(
            f"GAE_KEY lacks {', '.join(absent)}", why="it seems cut short", then=WHERE
        )
    return key


def _shown(value: str) -> str:
    """Repeat a wrong value, unless it may be a key or a token that was pasted there."""
    plain = len(value) <= LONGEST_SHOWN and value.isprintable() and not _SECRET.search(value)
    return repr(value) if plain else f"a text of {len(value)} characters"


class Account:
    """Who gcloud is signed in as; one start of gcloud tells token and project."""

    def __init__(self, runner: Runner, environ: Mapping[str, str]) -> None:
        self._runner = runner
        self._environ = environ
        self._answer: dict[str, Any] = {}

    def token(self) -> str:
        """Return an access token that is good for the longest of verbs."""
        token = self._ask().get("credential", {}).get("access_token")
        # Of another form, it would be refused as a header, in an error that repeats it.
        if not isinstance(token, str) or not re.fullmatch("[!-~]+", token):
            raise CommandError("signing in: gcloud has no access token", then="gcloud auth login")
        return token

    def project(self) -> str:
        """Return the project that gcloud is set to."""
        project = self._ask().get("configuration", {}).get("properties", {}).get("core", {})
        if not project.get("project"):
            raise MisuseError(
                "no Google Cloud project is chosen",
                then="set GAE_PROJECT, or: gcloud config set project PROJECT",
            )
        return str(project["project"])

    def _ask(self) -> dict[str, Any]:
        if not self._answer:
            text = gcloud.run(
                self._runner,
                *("config", "config-helper", "--format=json", "--min-expiry=30m"),
                environ=self._environ,
                doing="signing in",
                role="roles/iam.workloadIdentityUser, on the deploying account",
            )
            self._answer = json.loads(text)
        return self._answer
