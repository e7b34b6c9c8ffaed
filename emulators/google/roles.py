"""Which permissions a role has, as far as deliveries go.

Source: https://cloud.google.com/iam/docs/roles-permissions (a page per service), basic roles:
https://cloud.google.com/iam/docs/roles-overview#basic
"""

from fnmatch import fnmatchcase

ROLES = {
    "roles/owner": ("*",),
    "roles/viewer": ("*.get", "*.list", "*.getIamPolicy"),
    "roles/appengine.deployer": (
        "appengine.applications.get",
        "appengine.instances.get",
        "appengine.instances.list",
        "appengine.operations.*",
        "appengine.services.get",
        "appengine.services.list",
        "appengine.versions.create",
        "appengine.versions.delete",
        "appengine.versions.get",
        "appengine.versions.list",
        "resourcemanager.projects.get",
    ),
    "roles/appengine.serviceAdmin": (
        "appengine.applications.get",
        "appengine.instances.*",
        "appengine.operations.*",
        "appengine.services.*",
        "appengine.versions.delete",
        "appengine.versions.get",
        "appengine.versions.list",
        "appengine.versions.update",
        "resourcemanager.projects.get",
    ),
    "roles/artifactregistry.reader": (
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.packages.get",
        "artifactregistry.packages.list",
    ),
    "roles/artifactregistry.createOnPushWriter": (
        "artifactregistry.repositories.createOnPush",
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.uploadArtifacts",
    ),
    "roles/artifactregistry.writer": (
        "artifactregistry.repositories.downloadArtifacts",
        "artifactregistry.repositories.get",
        "artifactregistry.repositories.list",
        "artifactregistry.repositories.uploadArtifacts",
    ),
    "roles/cloudbuild.builds.editor": ("cloudbuild.builds.*", "resourcemanager.projects.get"),
    "roles/iam.serviceAccountUser": (
        "iam.serviceAccounts.actAs",
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.list",
    ),
    "roles/iam.workloadIdentityUser": (
        "iam.serviceAccounts.getAccessToken",
        "iam.serviceAccounts.getOpenIdToken",
        "iam.serviceAccounts.get",
        "iam.serviceAccounts.list",
    ),
    "roles/logging.logWriter": ("logging.logEntries.create", "logging.logEntries.route"),
    "roles/logging.viewer": ("logging.logEntries.list", "logging.logs.list"),
    "roles/run.developer": (
        *("run.services.get", "run.services.list", "run.services.getIamPolicy"),
        *("run.services.create", "run.services.update", "run.services.delete"),
        *("run.revisions.*", "run.routes.*", "run.configurations.*", "run.operations.*"),
        *("run.locations.list", "resourcemanager.projects.get"),
    ),
    "roles/storage.admin": ("storage.*",),
    "roles/storage.legacyBucketReader": (
        "storage.buckets.get",
        "storage.multipartUploads.list",
        "storage.objects.list",
    ),
    "roles/storage.objectAdmin": ("storage.objects.*", "storage.multipartUploads.*"),
    "roles/storage.objectUser": (
        "storage.objects.create",
        "storage.objects.delete",
        "storage.objects.get",
        "storage.objects.list",
        "storage.objects.update",
    ),
    "roles/storage.objectViewer": ("storage.objects.get", "storage.objects.list"),
}


def has(role: str, permission: str) -> bool:
    """Whether a role has a permission; one that is not in the table has none."""
    return any(fnmatchcase(permission, pattern) for pattern in ROLES.get(role, ()))
