"""IAM: service accounts and keys, workload identity pools and providers, and logging in by them.

Sources: https://cloud.google.com/iam/docs/reference/rest (resources, paths, 30 days of deletion),
https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers (issuer,
audience, mapping, condition, limits), https://cloud.google.com/iam/docs/principal-identifiers.
The recorded calls of gcloud 528 gave the words for what exists, is unknown or is deleted.
"""

import ast
import base64
import json
import secrets
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from emulators.appengine.tokens import TOKEN_EXCHANGE, Tokens, _form, _grant, _refuse, _verify
from emulators.appengine.wire import Answer, ApiError, Request

from .policies import Policy

Operate = Callable[[str, dict[str, Any]], Answer]
OUTPUT_ONLY = ("name", "state", "expireTime", "ready")


class Iam:
    """The accounts, keys, pools and providers of one project."""

    def __init__(self, project: str, number: str, tokens: Tokens, operate: Operate):
        self.project = project
        self.number = number
        self.accounts: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, Policy] = {}
        self.keys: dict[str, dict[str, str]] = {}  # by id: the account's address and the key
        self.pools: dict[str, dict[str, Any]] = {}
        self.providers: dict[tuple[str, str], dict[str, Any]] = {}
        self.late = 0  # how often a new account is not known yet
        self.unknown: dict[str, int] = {}
        self.principals: dict[str, set[str]] = {}  # who logged in with an ID token: their sets
        self.forbidden: Callable[[str], bool] = lambda _: False  # by an organisation policy
        self._pool_ready: dict[str, float] = {}
        self._tokens = tokens
        self._operate = operate
        self.latency = 0.0

    # Accounts

    def add(self, email: str, **about: Any) -> dict[str, Any]:
        """Make an account without a request: those that Google makes."""
        account = {
            "name": f"projects/{self.project}/serviceAccounts/{email}",
            "projectId": self.project,
            "uniqueId": str(10**20 + secrets.randbelow(10**20)),
            "email": email,
            "etag": base64.b64encode(secrets.token_bytes(8)).decode(),
            **about,
        }
        self.accounts[email] = account
        self.policies[email] = Policy()
        return account

    def knows(self, member: str) -> bool:
        """Whether a policy may name this member."""
        kind, _, name = member.partition(":")
        if kind != "serviceAccount":
            return True
        if self.unknown.get(name, 0) > 0:
            self.unknown[name] -= 1
            return False
        return name in self.accounts or not name.endswith(
            f"@{self.project}.iam.gserviceaccount.com"
        )

    def create_account(self, request: Request, **_: str) -> Answer:
        if self.forbidden("iam.disableServiceAccountCreation"):
            raise ApiError(400, "Service account creation is not allowed on this project.")
        body = request.json()
        email = f"{body['accountId']}@{self.project}.iam.gserviceaccount.com"
        if email in self.accounts:
            raise _exists(
                f"Service account {body['accountId']} already exists within project "
                f"projects/{self.project}."
            )
        about = {k: v for k, v in body.get("serviceAccount", {}).items() if v}
        if len(about.get("description", "").encode()) > 256:
            raise ApiError(400, "The description is longer than 256 bytes.")
        self.unknown[email] = self.late
        return Answer.of(self.add(email, **about))

    def _account(self, email: str) -> dict[str, Any]:
        if email not in self.accounts:
            raise ApiError(404, "Unknown service account")
        return self.accounts[email]

    def get_account(self, email: str, **_: str) -> Answer:
        return Answer.of(self._account(email))

    def list_accounts(self, **_: str) -> Answer:
        return Answer.of({"accounts": list(self.accounts.values())})

    def delete_account(self, email: str, **_: str) -> Answer:
        self._account(email)
        del self.accounts[email], self.policies[email]
        self.keys = {k: v for k, v in self.keys.items() if v["client_email"] != email}
        return Answer.of({})

    def enable_account(self, email: str, **_: str) -> Answer:
        self._account(email).pop("disabled", None)
        return Answer.of({})

    # Keys

    def create_key(self, email: str, **_: str) -> Answer:
        self._account(email)
        if self.forbidden("iam.disableServiceAccountKeyCreation"):
            raise ApiError(400, "Key creation is not allowed on this service account.")
        identity = secrets.token_hex(20)
        key = self._tokens.key(self.token_uri) | {
            "private_key_id": identity,
            "client_email": email,
            "project_id": self.project,
        }
        self.keys[identity] = key
        self._tokens.deployer = email  # whose signature the token endpoint takes
        data = base64.b64encode(json.dumps(key, indent=2).encode()).decode()
        return Answer.of(self._key(email, identity) | {"privateKeyData": data})

    token_uri = ""

    def _key(self, email: str, identity: str) -> dict[str, str]:
        name = f"projects/{self.project}/serviceAccounts/{email}/keys/{identity}"
        return {"name": name, "keyAlgorithm": "KEY_ALG_RSA_2048", "keyType": "USER_MANAGED"}

    def list_keys(self, email: str, **_: str) -> Answer:
        return Answer.of(
            {
                "keys": [
                    self._key(email, k) for k, v in self.keys.items() if v["client_email"] == email
                ]
            }
        )

    def delete_key(self, email: str, key: str, **_: str) -> Answer:
        if self.keys.get(key, {}).get("client_email") != email:
            raise ApiError(404, f"Service account key {key} does not exist.")
        del self.keys[key]
        return Answer.of({})

    # Pools and providers

    def _pool_name(self, pool: str) -> str:
        return f"projects/{self.number}/locations/global/workloadIdentityPools/{pool}"

    def create_pool(self, request: Request, **_: str) -> Answer:
        pool = request.query["workloadIdentityPoolId"]
        if pool in self.pools:
            raise _exists("Requested entity already exists")
        self.pools[pool] = _resource(request.json(), self._pool_name(pool))
        self._pool_ready[pool] = time.monotonic() + self.latency
        return self._operate(f"{self._pool_name(pool)}/operations/", self.pools[pool])

    def get_pool(self, pool: str, **_: str) -> Answer:
        return Answer.of(_found(self.pools, pool))

    def list_pools(self, request: Request, **_: str) -> Answer:
        return Answer.of({"workloadIdentityPools": _seen(request, list(self.pools.values()))})

    def patch_pool(self, request: Request, pool: str, **_: str) -> Answer:
        _patch(_found(self.pools, pool, active=True), request)
        return self._operate(f"{self._pool_name(pool)}/operations/", self.pools[pool])

    def delete_pool(self, pool: str, **_: str) -> Answer:
        _delete(_found(self.pools, pool, active=True))
        return self._operate(f"{self._pool_name(pool)}/operations/", self.pools[pool])

    def undelete_pool(self, pool: str, **_: str) -> Answer:
        _undelete(_found(self.pools, pool))
        return self._operate(f"{self._pool_name(pool)}/operations/", self.pools[pool])

    def create_provider(self, request: Request, pool: str, **_: str) -> Answer:
        if time.monotonic() < self._pool_ready.get(pool, 0):
            raise ApiError(404, "Requested entity was not found.")
        _found(self.pools, pool, active=True)
        provider = request.query["workloadIdentityPoolProviderId"]
        if (pool, provider) in self.providers:
            raise _exists("Requested entity already exists")
        name = f"{self._pool_name(pool)}/providers/{provider}"
        resource = _resource(request.json(), name)
        _check(resource)
        self.providers[pool, provider] = resource
        return self._operate(f"{name}/operations/", resource)

    def get_provider(self, pool: str, provider: str, **_: str) -> Answer:
        return Answer.of(_found(self.providers, (pool, provider)))

    def list_providers(self, request: Request, pool: str, **_: str) -> Answer:
        rows = [value for (where, _), value in self.providers.items() if where == pool]
        return Answer.of({"workloadIdentityPoolProviders": _seen(request, rows)})

    def patch_provider(self, request: Request, pool: str, provider: str, **_: str) -> Answer:
        found = _found(self.providers, (pool, provider), active=True)
        patched = json.loads(json.dumps(found))
        _patch(patched, request)
        _check(patched)
        found.clear()
        found.update(patched)
        return self._operate(f"{found['name']}/operations/", found)

    def delete_provider(self, pool: str, provider: str, **_: str) -> Answer:
        found = _found(self.providers, (pool, provider), active=True)
        _delete(found)
        return self._operate(f"{found['name']}/operations/", found)

    def undelete_provider(self, pool: str, provider: str, **_: str) -> Answer:
        found = _found(self.providers, (pool, provider))
        _undelete(found)
        return self._operate(f"{found['name']}/operations/", found)

    # Logging in

    def exchange(self, request: Request, **_: str) -> Answer:  # noqa: PLR0911 - one per refusal
        """POST /v1/token of STS, as the provider that the audience names wants it."""
        form = _form(request)
        if form.get("grant_type") != TOKEN_EXCHANGE:
            return _refuse("unsupported_grant_type", "Invalid grant_type.")
        parts = form.get("audience", "").split("/")
        provider = self.providers.get((parts[-3], parts[-1])) if len(parts) > 3 else None
        pool = self.pools.get(parts[-3], {}) if provider else {}
        usable = provider and all(
            each.get("state") == "ACTIVE" and not each.get("disabled") for each in (provider, pool)
        )
        if (
            not provider
            or not usable
            or form["audience"] != f"//iam.googleapis.com/{provider['name']}"
        ):
            return _refuse(
                "invalid_target",
                'The target service indicated by the "audience" parameters is invalid.',
            )
        claims = _verify(self._tokens._gitlab.public_key(), form.get("subject_token", ""))
        if claims is None:
            return _refuse("invalid_grant", "Invalid ID Token signature.")
        oidc = provider["oidc"]
        audiences = oidc.get("allowedAudiences") or [
            f"https://iam.googleapis.com/{provider['name']}"
        ]
        if claims["iss"] != oidc["issuerUri"]:
            return _refuse(
                "invalid_grant",
                f"The issuer in ID Token {claims['iss']} does not match the expected ones: "
                f"{oidc['issuerUri']}.",
            )
        if claims["aud"] not in audiences:
            return _refuse(
                "invalid_grant",
                f"The audience in ID Token [{claims['aud']}] does not match the expected audience "
                f"{audiences[0]}.",
            )
        if claims["exp"] < time.time():
            return _refuse("invalid_grant", "ID Token issued has expired.")
        try:
            admitted = evaluate(provider.get("attributeCondition", "true"), claims)
            mapped = {k: evaluate(v, claims) for k, v in provider["attributeMapping"].items()}
        except KeyError as error:
            return _refuse("invalid_grant", f"No such key in the claims: {error}")
        if admitted is not True:
            return _refuse(
                "unauthorized_client",
                "The given credential is rejected by the attribute condition.",
            )
        if len(str(mapped["google.subject"]).encode()) > 127:
            return _refuse(
                "invalid_request",
                "The size of mapped attribute google.subject exceeds the 127 bytes limit.",
            )
        base = f"iam.googleapis.com/{provider['name'].partition('/providers/')[0]}"
        who = f"principal://{base}/subject/{mapped['google.subject']}"
        self.principals[who] = {
            who,
            f"principalSet://{base}/*",
            *(
                f"principalSet://{base}/{k}/{v}"
                for k, v in mapped.items()
                if k.startswith("attribute.")
            ),
        }
        return _grant(self._tokens.issue(who), "urn:ietf:params:oauth:token-type:access_token")

    def exchange_key(self, request: Request, **_: str) -> Answer:
        """POST /token: a key that was deleted, or whose account was, signs nothing any more."""
        if not any(key["client_email"] in self.accounts for key in self.keys.values()):
            return _refuse("invalid_grant", "Invalid JWT Signature.")
        return self._tokens.exchange_key(request)

    def impersonate(self, email: str, **_: str) -> Answer:
        """POST …:generateAccessToken, once the caller was found to have getAccessToken."""
        self._account(email)
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        return Answer.of({"accessToken": self._tokens.issue(email), "expireTime": expires})


def evaluate(expression: str, claims: dict[str, Any]) -> Any:
    """Evaluate the part of CEL that conditions and mappings of ours need; refuse the rest.

    https://cloud.google.com/iam/docs/workload-identity-federation#mapping: `assertion.NAME`,
    strings, ==, !=, +, && and ||. Written with `and` and `or`, that is Python's grammar.
    """
    tree = ast.parse(expression.replace("&&", " and ").replace("||", " or "), mode="eval").body

    def value(node: ast.expr) -> Any:  # noqa: PLR0911 - one per kind
        match node:
            case ast.Constant():
                return node.value
            case ast.Name(id="true" | "false"):
                return node.id == "true"
            case ast.Attribute(value=ast.Name(id="assertion")):
                return claims[node.attr]
            case ast.BinOp(op=ast.Add()):
                return value(node.left) + value(node.right)
            case ast.Compare(ops=[ast.Eq()]):
                return value(node.left) == value(node.comparators[0])
            case ast.Compare(ops=[ast.NotEq()]):
                return value(node.left) != value(node.comparators[0])
            case ast.BoolOp(op=ast.And()):
                return all(value(each) for each in node.values)
            case ast.BoolOp():
                return any(value(each) for each in node.values)
        raise ApiError(400, f"This part of CEL is not modelled: {ast.unparse(node)}")

    return value(tree)


def _check(provider: dict[str, Any]) -> None:
    """Refuse what the reference of the provider's resource says cannot be."""
    oidc = provider.get("oidc", {})
    local = "127.0.0.1" in oidc.get("issuerUri", "")  # a GitLab emulator has no certificate
    if not oidc.get("issuerUri", "").startswith("https://") and not local:
        raise ApiError(400, "The issuer URI must use HTTPS.")
    if "google.subject" not in provider.get("attributeMapping", {}):
        raise ApiError(400, "google.subject must be mapped.")
    if len(provider.get("attributeCondition", "")) > 4096:
        raise ApiError(400, "The attribute condition is longer than 4096 characters.")
    public = "https://gitlab.com"
    if oidc["issuerUri"] == public and "assertion." not in provider.get("attributeCondition", ""):
        raise ApiError(400, "The attribute condition must reference one of the provider's claims.")


def _resource(body: dict[str, Any], name: str) -> dict[str, Any]:
    kept = {k: v for k, v in body.items() if k not in OUTPUT_ONLY and v not in (False, "")}
    return kept | {"name": name, "state": "ACTIVE"}


def _patch(resource: dict[str, Any], request: Request) -> None:
    body = request.json()
    for path in request.query.get("updateMask", ",".join(body)).split(","):
        name = path.split(".")[0]
        head = name[0] + "".join(
            c.upper() if p == "_" else c for p, c in pairwise(name) if c != "_"
        )
        if head in OUTPUT_ONLY:
            continue
        if body.get(head) in (None, False, ""):
            resource.pop(head, None)
        elif "." in path:
            resource[head] = resource.get(head, {}) | body[head]
        else:
            resource[head] = body[head]


def _found(store: dict[Any, dict[str, Any]], key: Any, *, active: bool = False) -> dict[str, Any]:
    found = store.get(key)
    if found is None or (active and found["state"] != "ACTIVE"):
        raise ApiError(404, "Requested entity was not found.")
    return found


def _delete(resource: dict[str, Any]) -> None:
    in_a_month = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 30 * 86400))
    resource.update(state="DELETED", expireTime=in_a_month)


def _undelete(resource: dict[str, Any]) -> None:
    if resource["state"] != "DELETED":
        raise ApiError(400, "Requested entity is not deleted.")
    resource["state"] = "ACTIVE"
    resource.pop("expireTime", None)


def _seen(request: Request, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    deleted = request.query.get("showDeleted", "false").lower() == "true"
    return [row for row in rows if deleted or row["state"] == "ACTIVE"]


class ExistsError(ApiError):
    """A 409 whose status is ALREADY_EXISTS, not ABORTED."""

    def answer(self) -> Answer:
        """Return the refusal as JSON."""
        body = {"code": 409, "message": self.message, "status": "ALREADY_EXISTS"}
        return Answer.of({"error": body}, 409)


def _exists(message: str) -> ApiError:
    return ExistsError(409, message)
