"""What a connected pair of projects has: the list, in the order in which it is made."""

from collections.abc import Callable, Sequence

from delivery.google.connect import access, bindings, project, settings
from delivery.google.connect.bindings import Grant, account
from delivery.google.connect.cloud import Policy, account_policy, bucket_policy, project_policy
from delivery.google.connect.resource import Context, Resource
from delivery.google.connect.wish import REPOSITORY

# https://cloud.google.com/appengine/docs/standard/roles; the first three upload and build.
UPLOAD = ("appengine.deployer", "cloudbuild.builds.editor", "artifactregistry.reader")
DELIVER = (*UPLOAD, "appengine.serviceAdmin", "logging.viewer")
# The account that the application runs as also builds it: images, the log of the build, its files.
RUN = ("artifactregistry.createOnPushWriter", "logging.logWriter")
BUILD_BUCKET = ("storage.objectAdmin", "storage.legacyBucketReader")
RECORD_BUCKET = ("storage.objectAdmin",)


def everything(context: Context, *, undo: bool = False) -> list[Resource]:
    """List the resources in order; for undo, those of every option."""
    keyless = undo or not context.wish.with_key
    keyed = undo or context.wish.with_key
    return [
        *_project(context),
        *_accounts(context),
        *(_federation(context) if keyless else []),
        project.Repository(
            f"image repository {REPOSITORY}",
            "old images are deleted; the newest ten stay",
            context,
            ("artifactregistry.repositories.create", "artifactregistry.repositories.update"),
            "roles/artifactregistry.admin",
        ),
        settings.Branch(
            "GitLab default branch",
            "only protected branches deliver",
            context,
            stays="GitLab's own default",
        ),
        *_variables(context, keyless=keyless, keyed=keyed),
    ]


def _project(context: Context) -> list[Resource]:
    return [
        project.Billing("billing", "Google builds the versions with Cloud Build", context),
        settings.Project(f"GitLab {context.wish.gitlab_project}", "its jobs deliver", context),
        project.Apis(
            f"{len(project.APIS)} APIs",
            "what a delivery calls",
            context,
            ("serviceusage.services.enable",),
            "roles/serviceusage.serviceUsageAdmin",
            stays="the application may need them",
        ),
        project.App(
            "App Engine application",
            "runs the versions",
            context,
            ("appengine.applications.create",),
            "roles/appengine.appCreator",
            stays="neither it nor its region can ever be removed",
        ),
    ]


def _accounts(context: Context) -> list[Resource]:
    wish = context.wish
    creates = (("iam.serviceAccounts.create",), "roles/iam.serviceAccountCreator")
    grants = (("resourcemanager.projects.setIamPolicy",), "roles/resourcemanager.projectIamAdmin")
    acts = (("iam.serviceAccounts.setIamPolicy",), "roles/iam.serviceAccountAdmin")

    def staging() -> Policy:
        name = (context.app or {}).get("codeBucket") or f"staging.{wish.project}.appspot.com"
        return bucket_policy(name)

    def record() -> Policy:
        return bucket_policy(
            (context.app or {}).get("defaultBucket") or f"{wish.project}.appspot.com"
        )

    def on_project() -> list[Grant]:
        return [
            *_grants(DELIVER, wish.deployer),
            *(_grants(UPLOAD, wish.reviewer) if wish.reviews else []),
            *_grants(RUN, context.runtime),
        ]

    def on_staging() -> list[Grant]:
        return [g for who in (*wish.accounts, context.runtime) for g in _grants(BUILD_BUCKET, who)]

    def note() -> str:
        """Name the roles that the application's account has from us: undo takes those away."""
        lacking = [
            grant.role.removeprefix("roles/")
            for policy, grants in (
                (project_policy(wish.project), on_project()),
                (staging(), on_staging()),
            )
            for grant in bindings.lacking(policy.read(context.cloud), grants)
            if grant.member == account(context.runtime)
        ]
        return f"; for the application: {' '.join(lacking)}" if lacking else ""

    def is_older(grant: Grant) -> bool:
        about = (context.deployer or {}).get("description", "")
        return (
            grant.member == account(context.runtime)
            and grant.role.removeprefix("roles/") not in about
        )

    accounts = [
        project.Account(
            "account gitlab-deployer", "delivers", context, *creates, email=wish.deployer, note=note
        ),
        *(
            [
                project.Account(
                    "account gitlab-reviewer",
                    "delivers review apps, moves no traffic",
                    context,
                    *creates,
                    email=wish.reviewer,
                )
            ]
            if wish.reviews
            else []
        ),
    ]
    return [
        *accounts,
        access.Access(
            "roles on the project",
            "deliver, read logs; store images, write logs",
            context,
            *grants,
            policy=lambda: project_policy(wish.project),
            grants=on_project,
            kept=is_older,
        ),
        access.Access(
            "roles on the staging bucket",
            "upload files; read them and write the build's log",
            context,
            policy=staging,
            grants=on_staging,
            kept=is_older,
        ),
        access.Access(
            "roles on the default bucket",
            "keep the record of deliveries",
            context,
            policy=record,
            grants=lambda: _grants(RECORD_BUCKET, wish.deployer),
        ),
        access.Access(
            "roles on the application's account",
            "deploy what runs as it, and as no other",
            context,
            *acts,
            policy=lambda: account_policy(wish.project, context.runtime),
            grants=lambda: [
                g for who in wish.accounts for g in _grants(("iam.serviceAccountUser",), who)
            ],
        ),
    ]


def _federation(context: Context) -> list[Resource]:
    wish = context.wish
    admin = "roles/iam.workloadIdentityPoolAdmin"
    who = "iam.workloadIdentityPool"

    def login(email: str, attribute: Callable[[], str], purpose: str) -> Resource:
        name = email.partition("@")[0]

        def grants() -> list[Grant]:
            member = f"{context.principals}/attribute.{attribute()}"
            return [Grant("roles/iam.workloadIdentityUser", member)]

        return access.Access(
            f"roles on {name}",
            purpose,
            context,
            ("iam.serviceAccounts.setIamPolicy",),
            "roles/iam.serviceAccountAdmin",
            policy=lambda: account_policy(wish.project, email),
            grants=grants,
        )

    return [
        access.Pool(
            "identity pool gitlab",
            "GitLab's jobs log in without a key",
            context,
            (f"{who}s.create", f"{who}s.undelete", f"{who}s.update"),
            admin,
            stays="",
        ),
        access.Provider(
            "identity provider gitlab",
            "... those of this project",
            context,
            (f"{who}Providers.create", f"{who}Providers.update"),
            admin,
        ),
        login(
            wish.deployer,
            lambda: "ref_protected/true",
            "jobs on protected branches are the deployer",
        ),
        *(
            [
                login(
                    wish.reviewer,
                    lambda: f"project_id/{context.gitlab_project['id']}",
                    "jobs on any branch are the reviewer",
                )
            ]
            if wish.reviews
            else []
        ),
    ]


def _variables(context: Context, *, keyless: bool, keyed: bool) -> list[Resource]:
    reviews = context.wish.reviews

    def variable(key: str, purpose: str, *, scope: str = "*", protected: bool) -> Resource:
        name = f"variable {key}" + (f" ({scope})" if scope != "*" else "")
        return settings.Variable(name, purpose, context, key=key, scope=scope, protected=protected)

    found = [variable("GAE_PROJECT", "which Google Cloud project", protected=not reviews)]
    if keyless:
        found += [
            variable("GCP_WORKLOAD_IDENTITY_PROVIDER", "who lets jobs in", protected=not reviews),
            variable("GCP_SERVICE_ACCOUNT", "as whom", protected=True),
        ]
    if reviews:
        found += [
            variable(
                "GCP_SERVICE_ACCOUNT", "as whom, for review apps", scope="review/*", protected=False
            ),
            variable("REVIEW_APPS", "each merge request gets a version", protected=False),
        ]
    if keyed:
        key = (("iam.serviceAccountKeys.create",), "roles/iam.serviceAccountKeyAdmin")
        found.append(
            settings.KeyVariable(
                "variable GAE_KEY",
                "jobs on protected branches log in with it",
                context,
                *key,
                key="GAE_KEY",
                masked=True,
            )
        )
    return found


def _grants(roles: Sequence[str], email: str) -> list[Grant]:
    return [Grant(f"roles/{role}", account(email)) for role in roles]
