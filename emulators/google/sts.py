"""Security Token Service: logging in, with an ID token of GitLab's or with a key.

Sources: https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token (RFC 8693),
https://cloud.google.com/iam/docs/workload-identity-federation-with-other-providers (audience,
issuer, condition, mapping), https://cloud.google.com/iam/docs/principal-identifiers. The words of
refusals are from reports, as in emulators/appengine/tokens.py.
"""

import time
from typing import Any

from emulators.appengine.googleapi import OPEN, Route, route
from emulators.appengine.tokens import TOKEN_EXCHANGE, Tokens, grant, read_form, refuse
from emulators.appengine.wire import Answer, Request

from .cel import evaluate
from .iam import Iam, Resource

LONGEST_SUBJECT = 127  # bytes


class RefusedError(Exception):
    """An error of OAuth 2, and its description."""


class SecurityTokens:
    """Hands tokens out, as the providers and the keys of one project allow."""

    def __init__(self, iam: Iam, tokens: Tokens):
        self._iam = iam
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """Return the ways to log in."""
        return [
            route("POST", "/v1/token", OPEN, self.exchange, "request"),
            route("POST", "/token", OPEN, self.exchange_key, "request"),
        ]

    def exchange_key(self, request: Request) -> Answer:
        """Refuse a key that was deleted, or whose account was: it signs nothing any more."""
        if not any(key["client_email"] in self._iam.accounts for key in self._iam.keys.values()):
            return refuse("invalid_grant", "Invalid JWT Signature.")
        return self._tokens.exchange_key(request)

    def exchange(self, request: Request) -> Answer:
        """Return a token for an ID token, as the provider that the audience names wants it."""
        form = read_form(request)
        if form.get("grant_type") != TOKEN_EXCHANGE:
            return refuse("unsupported_grant_type", "Invalid grant_type.")
        try:
            provider = self._provider(form.get("audience", ""))
            claims = self._claims(provider, form.get("subject_token", ""))
            mapped = _mapped(provider, claims)
        except RefusedError as error:
            return refuse(*error.args)
        who = self._admit(provider["name"].partition("/providers/")[0], mapped)
        return grant(self._tokens.issue(who), "urn:ietf:params:oauth:token-type:access_token")

    def _provider(self, audience: str) -> Resource:
        """Return the provider of an audience, if it and its pool are in use."""
        parts = audience.split("/")
        provider = self._iam.providers.get((parts[-3], parts[-1])) if len(parts) > 3 else None
        if provider and audience == f"//iam.googleapis.com/{provider['name']}":
            both = (provider, self._iam.pools[parts[-3]])
            if all(each["state"] == "ACTIVE" and not each.get("disabled") for each in both):
                return provider
        raise RefusedError(
            "invalid_target",
            'The target service indicated by the "audience" parameters is invalid.',
        )

    def _claims(self, provider: Resource, token: str) -> dict[str, Any]:
        """Return what an ID token says, if it is good and made for this provider."""
        claims = self._tokens.gitlab_claims(token)
        if claims is None:
            raise RefusedError("invalid_grant", "Invalid ID Token signature.")
        oidc, own = provider["oidc"], f"https://iam.googleapis.com/{provider['name']}"
        audiences = oidc.get("allowedAudiences") or [own]
        if claims["iss"] != oidc["issuerUri"]:
            raise RefusedError(
                "invalid_grant",
                f"The issuer in ID Token {claims['iss']} does not match the expected ones: "
                f"{oidc['issuerUri']}.",
            )
        if claims["aud"] not in audiences:
            raise RefusedError(
                "invalid_grant",
                f"The audience in ID Token [{claims['aud']}] does not match the expected audience "
                f"{audiences[0]}.",
            )
        if claims["exp"] < time.time():
            raise RefusedError("invalid_grant", "ID Token issued has expired.")
        return claims

    def _admit(self, pool: str, mapped: dict[str, Any]) -> str:
        """Remember which sets of principals a job is in; return its own name."""
        base = f"iam.googleapis.com/{pool}"
        who = f"principal://{base}/subject/{mapped['google.subject']}"
        attributes = {k: v for k, v in mapped.items() if k.startswith("attribute.")}
        sets = {f"principalSet://{base}/{k}/{v}" for k, v in attributes.items()}
        self._iam.principals[who] = {who, f"principalSet://{base}/*", *sets}
        return who


def _mapped(provider: Resource, claims: dict[str, Any]) -> dict[str, Any]:
    """Return what a provider makes of the claims, if its condition admits them."""
    try:
        admitted = evaluate(provider.get("attributeCondition", "true"), claims)
        mapped = {k: evaluate(v, claims) for k, v in provider["attributeMapping"].items()}
    except KeyError as error:
        raise RefusedError("invalid_grant", f"No such key in the claims: {error}") from error
    if admitted is not True:
        raise RefusedError(
            "unauthorized_client",
            "The given credential is rejected by the attribute condition.",
        )
    if len(str(mapped["google.subject"]).encode()) > LONGEST_SUBJECT:
        raise RefusedError(
            "invalid_request",
            "The size of mapped attribute google.subject exceeds the 127 bytes limit.",
        )
    return mapped
