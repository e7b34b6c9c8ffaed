"""Logging in to Google Cloud."""

import io
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from delivery.appengine.target import NAMES
from delivery.console import Console
from delivery.credentials import PrivateFolder
from delivery.errors import MisuseError
from delivery.google import login
from delivery.process import SECRETS

PROVIDER = "projects/12/locations/global/workloadIdentityPools/gitlab/providers/gitlab"
ACCOUNT = "deployer@demo-project.iam.gserviceaccount.com"
KEYLESS = {
    "GAE_PROJECT": "demo-project",
    "GCP_WORKLOAD_IDENTITY_PROVIDER": PROVIDER,
    "GCP_SERVICE_ACCOUNT": ACCOUNT,
    "GITLAB_OIDC_TOKEN": "head.body.signature",
}
KEY = {
    "type": "service_account",
    "client_email": ACCOUNT,
    "private_key": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n",
    "private_key_id": "1",
    "token_uri": "https://oauth2.googleapis.com/token",
}


class Desk:
    """A private folder and a console, and a login with them."""

    def __init__(self, private: PrivateFolder) -> None:
        self.private = private
        self.said = io.StringIO()

    def login(self, environ: Mapping[str, str]) -> dict[str, str]:
        return login.login(environ, self.private, Console({}, progress=self.said), NAMES)

    def start(self, environ: Mapping[str, str]) -> None:
        """Do what the target does first."""
        login.project(environ, NAMES)
        self.login(environ)

    def credentials(self, environ: Mapping[str, str]) -> dict[str, object]:
        file = Path(self.login(environ)["CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"])
        assert file.is_relative_to(self.private.path)
        if os.name != "nt":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        read = json.loads(file.read_text())
        assert isinstance(read, dict)
        return read


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    private = PrivateFolder(outside=tmp_path / "project")
    private._path = tmp_path / "private"  # so that no process for clean-up is started
    private._path.mkdir()
    return Desk(private)


def test_a_laptop_uses_the_account_that_gcloud_has(desk: Desk) -> None:
    environ = desk.login({"PATH": "/bin"})
    assert environ["PATH"] == "/bin"
    assert "CLOUDSDK_CONFIG" not in environ
    assert environ["CLOUDSDK_CORE_DISABLE_PROMPTS"] == "1"


def test_a_job_without_settings_is_told_all_that_is_missing_and_where_to_set_it(desk: Desk) -> None:
    with pytest.raises(MisuseError) as caught:
        desk.login({"CI": "true"})
    assert caught.value.exit_code == 2
    for name in ("GAE_PROJECT", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT", "GAE_KEY"):
        assert name in caught.value.what
    assert "Settings > CI/CD > Variables" in caught.value.then
    assert "README.md" in caught.value.then


@pytest.mark.parametrize("name", KEYLESS)
def test_each_missing_part_of_a_keyless_login_is_named(desk: Desk, name: str) -> None:
    with pytest.raises(MisuseError, match=f"not set: {name}$"):
        desk.login(KEYLESS | {name: " ", "GAE_KEY": json.dumps(KEY)})


def test_a_key_needs_its_project_on_a_laptop_too(desk: Desk) -> None:
    with pytest.raises(MisuseError, match="not set: GAE_PROJECT"):
        desk.login({"GAE_KEY": json.dumps(KEY)})


@pytest.mark.parametrize("prefix", ["", "//iam.googleapis.com/", "https://iam.googleapis.com/"])
def test_a_keyless_login_exchanges_the_jobs_token(desk: Desk, prefix: str) -> None:
    environ = KEYLESS | {"GCP_WORKLOAD_IDENTITY_PROVIDER": prefix + PROVIDER}
    credentials = desk.credentials(environ)
    source = credentials.pop("credential_source")
    assert isinstance(source, dict)
    assert Path(source["file"]).read_text() == "head.body.signature"
    assert credentials == {
        "type": "external_account",
        "universe_domain": "googleapis.com",
        "audience": f"//iam.googleapis.com/{PROVIDER}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/"
        f"serviceAccounts/{ACCOUNT}:generateAccessToken",
    }


def test_gclouds_own_variables_choose_other_endpoints(desk: Desk) -> None:
    credentials = desk.credentials(
        KEYLESS
        | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": "http://127.0.0.1:1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": "http://127.0.0.1:2",
        }
    )
    assert credentials["token_url"] == "http://127.0.0.1:1/v1/token"
    assert str(credentials["service_account_impersonation_url"]).startswith(
        "http://127.0.0.1:2/v1/projects/-/"
    )


@pytest.mark.parametrize("settings", [{}, KEYLESS, {"GAE_PROJECT": "demo-project"}])
def test_programs_that_are_started_see_no_secret_in_their_environment(
    desk: Desk, settings: dict[str, str]
) -> None:
    secrets = dict.fromkeys(SECRETS, json.dumps(KEY))
    given = secrets if settings else {name: v for name, v in secrets.items() if name != "GAE_KEY"}
    assert not set(SECRETS) & set(desk.login(given | settings))


def test_gcloud_sees_only_the_credentials_that_were_given(desk: Desk) -> None:
    mine = {
        "CLOUDSDK_CONFIG": "/home/me",
        "CLOUDSDK_AUTH_ACCESS_TOKEN": "mine",
        "CLOUDSDK_ACTIVE_CONFIG_NAME": "mine",
    }
    environ = desk.login(KEYLESS | mine)
    assert Path(environ["CLOUDSDK_CONFIG"]).is_relative_to(desk.private.path)
    assert "mine" not in environ.values()
    assert "head.body.signature" not in environ.values()


def test_both_kinds_at_once_means_keyless_and_says_so(desk: Desk) -> None:
    credentials = desk.credentials(KEYLESS | {"GAE_KEY": json.dumps(KEY)})
    assert credentials["type"] == "external_account"
    assert "keyless login is used" in desk.said.getvalue()


def test_the_token_that_every_job_gets_does_not_make_a_login_keyless(desk: Desk) -> None:
    environ = {"GAE_PROJECT": "demo-project", "GITLAB_OIDC_TOKEN": "t", "GAE_KEY": json.dumps(KEY)}
    assert desk.credentials(environ)["type"] == "service_account"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(KEY),
        f"\n {json.dumps(KEY, indent=2)}\n",
        f"\ufeff{json.dumps(KEY)}",
        f" \ufeff\r\n{json.dumps(KEY)}\r\n",
    ],
    ids=["plain", "indented", "with a byte order mark", "with a mark between blanks"],
)
def test_a_key_may_be_its_text(desk: Desk, text: str) -> None:
    assert desk.credentials({"GAE_PROJECT": "demo-project", "GAE_KEY": text}) == KEY


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_key_may_be_a_file(desk: Desk, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "key.json").write_text(json.dumps(KEY), encoding)
    environ = {"GAE_PROJECT": "demo-project", "GAE_KEY": f"{tmp_path / 'key.json'}\n"}
    assert desk.credentials(environ) == KEY


def test_a_key_whose_line_ends_went_through_a_shell_still_works(desk: Desk) -> None:
    mangled = json.dumps(KEY).replace("\\n", "\n")
    assert desk.credentials({"GAE_PROJECT": "demo-project", "GAE_KEY": mangled}) == KEY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c2VjcmV0", "neither the JSON text"),
        ("se\0cret", "neither the JSON text"),
        ("secret" * 1000, "neither the JSON text"),
        ('{"secret"', "not valid JSON"),
        (
            '{"type": "authorized_user", "private_key": "secret"}',
            "not the key of a service account",
        ),
        (json.dumps({**KEY, "private_key": ""}), "lacks private_key"),
        (
            json.dumps({**KEY, "token_uri": 1, "client_email": None}),
            "lacks client_email, token_uri",
        ),
    ],
)
def test_a_wrong_key_is_explained_without_repeating_it(desk: Desk, text: str, words: str) -> None:
    with pytest.raises(MisuseError, match=words) as caught:
        desk.login({"GAE_PROJECT": "demo-project", "GAE_KEY": text})
    shown = f"{caught.value.what}{caught.value.why}{caught.value.then}"
    assert "secret" not in shown
    assert "BEGIN" not in shown


def test_a_key_file_that_holds_something_else_is_explained(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "key"
    for content in (b"[]", b"\xff\xfe"):
        file.write_bytes(content)
        with pytest.raises(MisuseError, match="GAE_KEY"):
            desk.login({"GAE_PROJECT": "demo-project", "GAE_KEY": str(file)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GCP_WORKLOAD_IDENTITY_PROVIDER", "gitlab"),
        ("GCP_WORKLOAD_IDENTITY_PROVIDER", PROVIDER.replace("12", "demo-project")),
        ("GCP_SERVICE_ACCOUNT", "me@example.com"),
        ("GCP_SERVICE_ACCOUNT", "deployer"),
    ],
)
def test_a_value_of_the_wrong_shape_is_shown_with_the_right_one(
    desk: Desk, name: str, value: str
) -> None:
    with pytest.raises(MisuseError, match=name) as caught:
        desk.login(KEYLESS | {name: value})
    assert repr(value) in caught.value.what
    assert "its form is" in caught.value.why


@pytest.mark.parametrize("value", ["demo-project", "example.com:demo-project", " demo-project\n"])
def test_project_ids_are_taken_as_they_are(value: str) -> None:
    assert login.project({"GAE_PROJECT": value}, NAMES) == value.strip()


@pytest.mark.parametrize("value", ["Demo Project", "12345678", "demo", "$GAE_PROJECT", "demo-"])
def test_what_is_no_project_id_is_refused(value: str) -> None:
    with pytest.raises(MisuseError, match="no project id"):
        login.project({"GAE_PROJECT": value}, NAMES)


PASTED = {
    "a key": json.dumps(KEY),
    "the start of a key": '{"type": "service_account", "private_key": "MIIEvQ',
    "a part of a key": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIB",
    "a key's id": "0123456789abcdef0123456789abcdef01234567",
    "a token of GitLab": "glpat-aBcdefghij0123456789",
    "an old token of GitLab": "Zx3abcdefGHIJ0123456",
    "an access token": "ya29.c.b0AXv0zTN",
    "an identity token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "an API key": "AIzaSyA-abcdefghij0123456789",
    "something on two lines": "first\nsecond",
    "something long": "word " * 50,
}


@pytest.mark.parametrize(
    "name", ["GAE_PROJECT", "GCP_WORKLOAD_IDENTITY_PROVIDER", "GCP_SERVICE_ACCOUNT"]
)
@pytest.mark.parametrize("value", PASTED.values(), ids=PASTED)
def test_a_secret_that_was_pasted_into_another_variable_is_not_printed(
    desk: Desk, name: str, value: str
) -> None:
    with pytest.raises(MisuseError, match=name) as caught:
        desk.start(KEYLESS | {name: value})
    assert f"a text of {len(value.strip())} characters" in caught.value.what
    assert value[:12] not in f"{caught.value.what}{caught.value.why}{caught.value.then}"
