"""IAM: service accounts, their keys, and the tokens that others get for them.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts (and `keys`
below it), https://cloud.google.com/iam/docs/reference/credentials/rest (generateAccessToken), and
https://cloud.google.com/resource-manager/docs/organization-policy/restricting-service-accounts.
The recorded calls of gcloud 528 gave the words for what exists or is unknown.
"""

import base64
import json
import secrets
import time

from emulators.appengine.googleapi import Route, route
from emulators.appengine.tokens import TOKEN_SECONDS, Tokens
from emulators.appengine.wire import Answer, ApiError, Request

from .iam import Resource
from .policies import Policy
from .policy_routes import policy_routes
from .project import Project

PATH = "/v1/projects/[^/:]+/serviceAccounts"
ACCOUNT = f"{PATH}/(?P<email>[^/:]+)"
KEY = f"{ACCOUNT}/keys/(?P<key>[^/]+)"
KIND = "iam.serviceAccounts"
KEYS = "iam.serviceAccountKeys"


class ServiceAccounts:
    """Creates and deletes the accounts and keys of one project; `token_uri` is for keys."""

    def __init__(self, project: Project, tokens: Tokens, token_uri: str):
        self._project = project
        self._iam = project.iam
        self._tokens = tokens
        self._token_uri = token_uri

    def routes(self) -> list[Route]:
        """Return the methods of accounts and keys."""
        return [
            route("POST", PATH, f"{KIND}.create", self.create, "request"),
            route("GET", PATH, f"{KIND}.list", self.list),
            route("GET", ACCOUNT, f"{KIND}.get", self.get),
            route("DELETE", ACCOUNT, f"{KIND}.delete", self.delete),
            route("POST", f"{ACCOUNT}:enable", f"{KIND}.enable", self.enable),
            *policy_routes(self._project, ACCOUNT, KIND, self._policy),
            route(
                "POST",
                f"{ACCOUNT}:generateAccessToken",
                f"{KIND}.getAccessToken",
                self.generate_access_token,
                api="iamcredentials",
            ),
            route("POST", f"{ACCOUNT}/keys", f"{KEYS}.create", self.create_key),
            route("GET", f"{ACCOUNT}/keys", f"{KEYS}.list", self.list_keys),
            route("DELETE", KEY, f"{KEYS}.delete", self.delete_key),
        ]

    def _find(self, email: str) -> Resource:
        if email not in self._iam.accounts:
            raise ApiError(404, "Unknown service account")
        return self._iam.accounts[email]

    def _policy(self, email: str) -> Policy:
        self._find(email)
        return self._iam.policies[email]

    # Accounts

    def create(self, request: Request) -> Answer:
        """Make an account, which policies know a little later."""
        if "iam.disableServiceAccountCreation" in self._project.org_policies:
            raise ApiError(400, "Service account creation is not allowed on this project.")
        body, project = request.json(), self._project.project
        email = f"{body['accountId']}@{project}.iam.gserviceaccount.com"
        if email in self._iam.accounts:
            raise ApiError(
                409,
                f"Service account {body['accountId']} already exists within project "
                f"projects/{project}.",
                status="ALREADY_EXISTS",
            )
        about = {k: v for k, v in body.get("serviceAccount", {}).items() if v}
        if len(about.get("description", "").encode()) > 256:
            raise ApiError(400, "The description is longer than 256 bytes.")
        self._iam.unknown[email] = self._iam.late
        return Answer.of(self._iam.add(email, **about))

    def get(self, email: str) -> Answer:
        """Return an account."""
        return Answer.of(self._find(email))

    def list(self) -> Answer:
        """List the accounts."""
        return Answer.of({"accounts": list(self._iam.accounts.values())})

    def delete(self, email: str) -> Answer:
        """Delete an account, and with it its keys and its policy."""
        self._find(email)
        del self._iam.accounts[email], self._iam.policies[email]
        self._iam.keys = {k: v for k, v in self._iam.keys.items() if v["client_email"] != email}
        return Answer.of({})

    def enable(self, email: str) -> Answer:
        """Enable an account that was disabled."""
        self._find(email).pop("disabled", None)
        return Answer.of({})

    def generate_access_token(self, email: str) -> Answer:
        """Return a token for a caller that was found to have getAccessToken."""
        self._find(email)
        expires = time.gmtime(time.time() + TOKEN_SECONDS)
        return Answer.of(
            {
                "accessToken": self._tokens.issue(email),
                "expireTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", expires),
            }
        )

    # Keys

    def create_key(self, email: str) -> Answer:
        """Make a key; its private part is in this answer and nowhere else."""
        self._find(email)
        if "iam.disableServiceAccountKeyCreation" in self._project.org_policies:
            raise ApiError(400, "Key creation is not allowed on this service account.")
        identity = secrets.token_hex(20)
        key = self._tokens.key(self._token_uri) | {
            "private_key_id": identity,
            "client_email": email,
            "project_id": self._project.project,
        }
        self._iam.keys[identity] = key
        self._tokens.deployer = email  # whose signature the token endpoint takes
        data = base64.b64encode(json.dumps(key, indent=2).encode()).decode()
        return Answer.of(self._shown(email, identity) | {"privateKeyData": data})

    def _shown(self, email: str, identity: str) -> Resource:
        name = f"projects/{self._project.project}/serviceAccounts/{email}/keys/{identity}"
        return {"name": name, "keyAlgorithm": "KEY_ALG_RSA_2048", "keyType": "USER_MANAGED"}

    def list_keys(self, email: str) -> Answer:
        """List the keys of an account."""
        mine = [k for k, v in self._iam.keys.items() if v["client_email"] == email]
        return Answer.of({"keys": [self._shown(email, key) for key in mine]})

    def delete_key(self, email: str, key: str) -> Answer:
        """Delete a key."""
        if self._iam.keys.get(key, {}).get("client_email") != email:
            raise ApiError(404, f"Service account key {key} does not exist.")
        del self._iam.keys[key]
        return Answer.of({})
