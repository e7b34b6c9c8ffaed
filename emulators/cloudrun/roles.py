"""What each role of a delivery to Cloud Run allows, and who has which.

Modelled after https://cloud.google.com/run/docs/reference/iam/roles,
https://cloud.google.com/artifact-registry/docs/access-control#roles and
https://cloud.google.com/storage/docs/access-control/iam-roles, for the permissions that the
emulator asks for.
"""

from fnmatch import fnmatchcase

ROLES = {
    "roles/owner": ("*",),
    "roles/run.viewer": (
        *("run.services.get", "run.services.list", "run.services.getIamPolicy"),
        *("run.revisions.get", "run.revisions.list", "run.routes.get", "run.routes.list"),
        *("run.configurations.get", "run.configurations.list"),
        *("run.operations.get", "run.operations.list", "run.locations.list"),
        "resourcemanager.projects.get",
    ),
    "roles/run.developer": (
        *("run.services.get", "run.services.list", "run.services.getIamPolicy"),
        *("run.services.create", "run.services.update", "run.services.delete"),
        *("run.revisions.*", "run.routes.*", "run.configurations.*", "run.operations.*"),
        *("run.locations.list", "resourcemanager.projects.get"),
    ),
    "roles/run.admin": ("run.*", "resourcemanager.projects.get"),
    "roles/iam.serviceAccountUser": ("iam.serviceAccounts.actAs",),
    "roles/artifactregistry.reader": ("artifactregistry.repositories.downloadArtifacts",),
    "roles/artifactregistry.writer": (
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.repositories.uploadArtifacts",
    ),
    "roles/storage.objectAdmin": ("storage.objects.*",),
    "roles/logging.viewer": ("logging.logEntries.list",),
}
DEPLOYER = {
    "roles/run.developer",
    "roles/iam.serviceAccountUser",
    "roles/artifactregistry.writer",
    "roles/storage.objectAdmin",
    "roles/logging.viewer",
}


def allows(roles: set[str], permission: str) -> bool:
    """Whether one of the roles has the permission."""
    return any(fnmatchcase(permission, pattern) for role in roles for pattern in ROLES[role])
