"""Who may call: service-account keys, GitLab's ID tokens, and the access tokens both turn into.

Modelled after:

- https://developers.google.com/identity/protocols/oauth2/service-account (a signed JWT for a
  token), https://cloud.google.com/iam/docs/reference/sts/rest (token exchange, RFC 8693) and
  https://cloud.google.com/iam/docs/reference/credentials/rest (generateAccessToken);
- the google-auth library inside gcloud, which sends these requests and reads their errors;
- https://docs.gitlab.com/ci/secrets/id_token_authentication/ for the claims of an ID token;
- https://cloud.google.com/iam/docs/workload-identity-federation-with-deployment-pipelines for
  audience and attribute condition. The words of refusals are from reports.
"""

import base64
import json
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .wire import Answer, ApiError, Request

PROJECT_NUMBER = "123456789012"
GITLAB_ISSUER = "https://gitlab.com"
GITLAB_AUDIENCE = "https://gitlab.com"
GITLAB_PROJECT_ID = "4242"
TOKEN_SECONDS = 3600
GITLAB_TOKEN_SECONDS = 300
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True)
class Token:
    """An access token that the emulator handed out."""

    account: str
    expires: float


class Tokens:
    """Issues and checks every credential that one emulator knows."""

    def __init__(self, project: str):
        self.deployer = f"deployer@{project}.iam.gserviceaccount.com"
        self.provider = (
            f"projects/{PROJECT_NUMBER}/locations/global/workloadIdentityPools/gitlab"
            "/providers/gitlab"
        )
        self._google = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._gitlab = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._issued: dict[str, Token] = {}
        self._gitlab_tokens: set[str] = set()
        self._lock = threading.Lock()

    @property
    def _pem(self) -> str:
        return self._google.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def key(self, token_uri: str) -> dict[str, str]:
        """Return a key as `gcloud iam service-accounts keys create` writes it."""
        return {
            "type": "service_account",
            "project_id": self.deployer.partition("@")[2].partition(".")[0],
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": self._pem,
            "client_email": self.deployer,
            "client_id": "100000000000000000001",
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }

    def gitlab_token(self, **claims: str | int) -> str:
        """Return what GitLab puts into `id_tokens`; `claims` replace the usual ones."""
        now = int(time.time())
        token = _sign(
            self._gitlab,
            {
                "iss": GITLAB_ISSUER,
                "aud": GITLAB_AUDIENCE,
                "sub": "project_path:demo/demo:ref_type:branch:ref:main",
                "project_id": GITLAB_PROJECT_ID,
                "project_path": "demo/demo",
                "ref": "main",
                "ref_type": "branch",
                "ref_protected": "true",
                "job_id": secrets.token_hex(4),
                "iat": now,
                "nbf": now - 5,
                "exp": now + GITLAB_TOKEN_SECONDS,
                **claims,
            },
        )
        with self._lock:
            self._gitlab_tokens.add(token)
        return token

    def gitlab_claims(self, token: str) -> dict[str, Any] | None:
        """Return what an ID token says, if GitLab signed it."""
        return _verify(self._gitlab.public_key(), token)

    def secrets(self) -> list[str]:
        """Return every string that no log, upload or left-over file may hold."""
        lines = self._pem.splitlines()[1:-1]
        with self._lock:
            return [*lines, *self._issued, *self._gitlab_tokens]

    def issue(self, account: str, seconds: float = TOKEN_SECONDS) -> str:
        """Return a fresh access token for `account`."""
        token = f"ya29.{secrets.token_urlsafe(48)}"
        with self._lock:
            self._issued[token] = Token(account, time.time() + seconds)
        return token

    def account(self, request: Request) -> str:
        """Return the account behind a request's bearer token; without one, 401."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        account = self.owner(token) if kind.lower() == "bearer" else None
        if account is None:
            raise ApiError(
                401,
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.",
            )
        return account

    def owner(self, token: str) -> str | None:
        """Return the account of an access token that is still good."""
        with self._lock:
            known = self._issued.get(token)
        return known.account if known and known.expires > time.time() else None

    def exchange_key(self, request: Request) -> Answer:
        """POST /token: a JWT that the key signed becomes an access token."""
        form = read_form(request)
        if form.get("grant_type") != JWT_BEARER:
            return refuse("unsupported_grant_type", "Invalid grant_type.")
        claims = _verify(self._google.public_key(), form.get("assertion", ""))
        if claims is None:
            return refuse("invalid_grant", "Invalid JWT Signature.")
        if claims.get("iss") != self.deployer:
            return refuse("invalid_grant", "Invalid grant: account not found")
        if claims.get("exp", 0) < time.time():
            return refuse("invalid_grant", "Invalid JWT: Token must be a short-lived token")
        return grant(self.issue(self.deployer))

    def exchange_gitlab_token(self, request: Request) -> Answer:
        """POST /v1/token of STS: GitLab's ID token becomes a federated access token."""
        form = read_form(request)
        if form.get("grant_type") != TOKEN_EXCHANGE:
            return refuse("unsupported_grant_type", "Invalid grant_type.")
        if form.get("audience") != f"//iam.googleapis.com/{self.provider}":
            return refuse("invalid_request", 'Invalid value for "audience".')
        claims = self.gitlab_claims(form.get("subject_token", ""))
        if problem := _distrust(claims):
            return refuse(*problem)
        return grant(self.issue(self._principal), "urn:ietf:params:oauth:token-type:access_token")

    def impersonate(self, request: Request) -> Answer:
        """POST …:generateAccessToken of IAM Credentials: the federated token becomes a real one."""
        account = request.path.rpartition("/")[2].removesuffix(":generateAccessToken")
        if self.account(request) != self._principal or account != self.deployer:
            raise ApiError(
                403,
                "Permission 'iam.serviceAccounts.getAccessToken' denied on resource "
                "(or it may not exist).",
            )
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + TOKEN_SECONDS))
        return Answer.of({"accessToken": self.issue(account), "expireTime": expires})

    @property
    def _principal(self) -> str:
        pool = self.provider.partition("/providers/")[0]
        return f"principalSet://iam.googleapis.com/{pool}/attribute.project_id/{GITLAB_PROJECT_ID}"


def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of one that is there twice, the last."""
    return {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}


def _distrust(claims: dict[str, Any] | None) -> tuple[str, str] | None:
    """Say why the provider does not trust an ID token; None when it does."""
    if claims is None:
        return "invalid_grant", "Invalid ID Token signature."
    if claims["aud"] != GITLAB_AUDIENCE:
        found = f"The audience in ID Token [{claims['aud']}]"
        return "invalid_grant", f"{found} does not match the expected audience {GITLAB_AUDIENCE}."
    if claims["exp"] < time.time():
        return "invalid_grant", "ID Token issued has expired."
    if claims["project_id"] != GITLAB_PROJECT_ID:
        condition = "The given credential is rejected by the attribute condition."
        return "unauthorized_client", condition
    return None


def refuse(error: str, description: str) -> Answer:
    """Return a refusal in the form of OAuth 2."""
    return Answer.of({"error": error, "error_description": description}, 400)


def grant(token: str, kind: str | None = None) -> Answer:
    """Return a token in the form of OAuth 2."""
    granted: dict[str, Any] = {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
    }
    return Answer.of(granted | ({"issued_token_type": kind} if kind else {}))


def _sign(key: rsa.RSAPrivateKey, claims: dict[str, Any]) -> str:
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    signed = ".".join(_encode(json.dumps(part).encode()) for part in parts)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_encode(signature)}"


def _verify(key: rsa.RSAPublicKey, token: str) -> dict[str, Any] | None:
    signed, _, signature = token.rpartition(".")
    try:
        key.verify(_decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(_decode(signed.partition(".")[2]))
    except (InvalidSignature, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
