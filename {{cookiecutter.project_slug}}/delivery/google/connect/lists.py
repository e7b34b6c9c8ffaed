"""The parts of the list that every product of Google has: accounts, the way in, GitLab."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from delivery.connect import project
from delivery.connect.project import Branch, Variable
from delivery.connect.resource import Resource
from delivery.google.connect import policies
from delivery.google.connect.google import Google
from delivery.google.connect.key import Key
from delivery.google.connect.policies import Grant
from delivery.google.connect.resources import Access, Account, Apis, Billing, Named, Repository

# What granting on each kind of thing needs, for Access.
ON_PROJECT: dict[str, Any] = {
    "permissions": tuple(f"resourcemanager.projects.{do}IamPolicy" for do in ("get", "set")),
    "role": "roles/resourcemanager.projectIamAdmin",
}
ON_ACCOUNT: dict[str, Any] = {
    "permissions": tuple(f"iam.serviceAccounts.{do}IamPolicy" for do in ("get", "set")),
    "role": "roles/iam.serviceAccountAdmin",
}
ON_REPOSITORY = {
    "permissions": tuple(f"artifactregistry.repositories.{do}IamPolicy" for do in ("get", "set")),
    "role": "roles/artifactregistry.admin",
}
ON_BUCKET = {"permission_there": "storage.buckets.setIamPolicy"}
POOL_VERBS = ("get", "create", "undelete", "update")
POOL_ADMIN = "roles/iam.workloadIdentityPoolAdmin"
KEEP, DELETE = "delivery-keep-newest", "delivery-delete-old"
CLEANUP: dict[str, dict[str, Any]] = {
    KEEP: {"action": "KEEP", "mostRecentVersions": {"keepCount": 10}},  # of each name
    DELETE: {"action": "DELETE", "condition": {"tagState": "ANY", "olderThan": "2592000s"}},
}


def ready(google: Google, why_billing: str, apis: Sequence[str]) -> list[Resource]:
    """List what only a person can put right, and the APIs, which all else needs."""
    return [
        Billing("billing", why_billing, google=google),
        project.Rights(
            f"GitLab {google.options.gitlab_project}",
            "its jobs deliver",
            project=google.gitlab,
            # Before, a fork's merge request had the project_id of its target: see condition().
            oldest=() if google.options.with_key else (18, 2),
            why_oldest="its tokens tell forks apart only from 18.2 on",
            otherwise="; or use a key: connect --with-key",
        ),
        Apis(f"{len(apis)} APIs", "what a delivery calls", google=google, apis=apis),
    ]


def account(google: Google, email: str, purpose: str, display: str, **more: Any) -> Resource:
    """Return a service account."""
    name = email.partition("@")[0]
    commands = {
        "create": [f"gcloud iam service-accounts create {name} --project={google.project}"],
        "update": [f"gcloud iam service-accounts enable {email}"],
    }
    return Account(
        f"account {name}",
        purpose,
        google=google,
        collection=lambda: f"{google.path}/serviceAccounts",
        id=email,
        about={"displayName": display},
        command=commands.__getitem__,
        **more,
    )


def accounts(google: Google, note: Callable[[], str] = str) -> list[Resource]:
    """List the accounts that deliver. `note` goes into the description of the first."""
    display = "GitLab delivers with it"
    found = [account(google, google.deployer, "delivers", display, note=note)]
    if google.options.reviews:
        found.append(account(google, google.reviewer, "delivers review apps", display))
    return found


def access(google: Google) -> list[Access]:
    """List the roles of the target's table, a policy each."""
    return [
        Access(
            f"roles on the {on}",
            purpose,
            google=google,
            policy=partial(google.policy, on),
            grants=partial(google.grants, on),
            **needs,
        )
        for on, (purpose, needs) in google.ACCESS.items()
    ]


def condition(google: Google) -> str:
    """Return whom the identity provider lets in.

    All projects of a GitLab share an issuer, and numbers survive a rename. `project_id` is the
    source of a fork's merge request since 18.2.2, `job_project_id` (18.4) is where the job runs.
    A protected branch, as nobody but its maintainers can push to it.
    https://docs.gitlab.com/ci/secrets/id_token_authentication
    """
    gitlab = project.known(google.gitlab)
    claims = {"project_id": gitlab.about()["id"]}
    if gitlab.is_at_least(18, 4):
        claims["job_project_id"] = claims["project_id"]
    if not google.options.reviews:
        claims["ref_protected"] = "true"
    return " && ".join(f"assertion.{claim} == '{value}'" for claim, value in claims.items())


# A subject has 127 bytes, too few for a branch's name.
MAPPING = {
    "google.subject": '"project:" + assertion.project_id + ":job:" + assertion.job_id',
    "attribute.project_id": "assertion.project_id",
    "attribute.ref_protected": "assertion.ref_protected",
}


def federation(google: Google) -> list[Resource]:
    """List what lets GitLab's jobs in without a key: tokens of this GitLab, of this project."""
    if not google.keyless:
        return []
    url = google.gitlab.url if google.gitlab else ""
    pools = f"{google.path}/locations/global/workloadIdentityPools"
    gcloud = "gcloud iam workload-identity-pools"
    who = "iam.workloadIdentityPool"

    def pool_command(verb: str) -> list[str]:
        flag = " --no-disabled" * (verb == "update")
        return [f"{gcloud} {verb} gitlab --location=global --project={google.project}{flag}"]

    def provider_command(verb: str) -> list[str]:
        where = (
            f"gitlab --location=global --workload-identity-pool=gitlab --project={google.project}"
        )
        if verb == "undelete":
            return [f"{gcloud} providers undelete {where}", *provider_command("update")]
        mapping = ",".join(f"{name}={value}" for name, value in MAPPING.items())
        flags = f"--issuer-uri={url} --allowed-audiences={url} --attribute-mapping='{mapping}'"
        rule = f'--attribute-condition="{condition(google)}"'
        return [f"{gcloud} providers {verb}-oidc {where} {flags} {rule}"]

    def login(email: str, purpose: str, attribute: Callable[[], str]) -> Resource:
        def grants() -> list[Grant]:
            member = f"principalSet://iam.googleapis.com/{google.pool}/attribute.{attribute()}"
            return [Grant("roles/iam.workloadIdentityUser", member)]

        return Access(
            f"roles on {email.partition('@')[0]}",
            purpose,
            google=google,
            policy=lambda: policies.of_account(google.project, email),
            grants=grants,
            needs_gitlab=email == google.reviewer,
            **ON_ACCOUNT,
        )

    found: list[Resource] = [
        Named(
            "identity pool gitlab",
            "GitLab's jobs log in without a key",
            permissions=tuple(f"{who}s.{do}" for do in POOL_VERBS),
            role=POOL_ADMIN,
            google=google,
            collection=lambda: pools,
            id="gitlab",
            id_is="workloadIdentityPoolId",
            about={"displayName": "GitLab"},
            command=pool_command,
        ),
        Named(
            "identity provider gitlab",
            "... those of this project",
            permissions=tuple(f"{who}Providers.{do}" for do in POOL_VERBS),
            role=POOL_ADMIN,
            needs_gitlab=True,
            google=google,
            collection=lambda: f"{pools}/gitlab/providers",
            parent="the pool",
            id="gitlab",
            id_is="workloadIdentityPoolProviderId",
            fields=lambda: {
                "attributeCondition": condition(google),
                "attributeMapping": MAPPING,
                "oidc": {"issuerUri": url, "allowedAudiences": [url]},
            },
            about={"displayName": "GitLab"},
            command=provider_command,
        ),
        login(
            google.deployer,
            "jobs on protected branches are the deployer",
            lambda: "ref_protected/true",
        ),
    ]
    if google.options.reviews:
        number = lambda: f"project_id/{project.known(google.gitlab).about()['id']}"  # noqa: E731
        found.append(login(google.reviewer, "jobs on any branch are the reviewer", number))
    return found


def repository(google: Google, name: str, region: Callable[[], str]) -> Resource:
    """Return a repository of Docker images in a region."""

    def command(verb: str) -> list[str]:
        where = f"{name} --location={region()} --project={google.project}"
        create = f"gcloud artifacts repositories create {where} --repository-format=docker"
        cleanup = f"gcloud artifacts repositories set-cleanup-policies {where} --policy=-"
        # gcloud has another form for a file than the API has for a policy.
        policies = [
            {"name": key, **policy, "action": {"type": policy["action"]}}
            for key, policy in CLEANUP.items()
        ]
        return [create] * (verb == "create") + [f"echo '{json.dumps(policies)}' | {cleanup}"]

    return Repository(
        f"image repository {name}",
        "old images are deleted; the newest ten stay",
        google=google,
        collection=lambda: f"{google.path}/locations/{region()}/repositories",
        id=name,
        about={"format": "DOCKER"},
        fields=lambda: {
            "cleanupPolicies": {key: {"id": key, **policy} for key, policy in CLEANUP.items()}
        },
        command=command,
    )


def in_gitlab(google: Google) -> list[Resource]:
    """List what the project in GitLab has."""
    # Review apps run on branches that are not protected, where protected variables are empty.
    reviews, account = bool(google.options.reviews), "GCP_SERVICE_ACCOUNT"
    variable = partial(Variable.of, google.gitlab)
    public = partial(variable, protected=not reviews)
    found: list[Resource] = [
        Branch(
            "GitLab default branch",
            "only protected branches deliver",
            stays="GitLab's own default",
            project=google.gitlab,
        )
    ]
    found += [public(name, *setting) for name, setting in google.settings().items()]
    if google.keyless:
        path = lambda: f"{google.pool}/providers/gitlab"  # noqa: E731
        found.append(public("GCP_WORKLOAD_IDENTITY_PROVIDER", "who lets jobs in", path))
        found.append(variable(account, "as whom", lambda: google.deployer))
    if google.keyless and reviews:
        who = lambda: google.reviewer  # noqa: E731
        found.append(public(account, "as whom, for review apps", who, scope="review/*"))
        found.append(public("REVIEW_APPS", "each merge request gets a version", lambda: "true"))
    if google.keyed:
        purpose = "jobs on protected branches log in with it"
        found.append(
            Key.of(google.gitlab, google.NAMES.key, purpose, str, masked=True, google=google)
        )
    return found
