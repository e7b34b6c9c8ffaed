"""Which service, where, and where its images are: the variables, and what they are by default."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from delivery.credentials import shown
from delivery.errors import MisuseError
from delivery.google import login

NAMES = login.Names(project="GCP_PROJECT", key="GCP_KEY", others=("RUN_REGION",))

SETTINGS = """\
  GCP_PROJECT                     id of the Google Cloud project
  RUN_REGION                      region of the service, such as europe-west1
  RUN_SERVICE                     name of the service (default: the project's in pyproject.toml,
                                  cut to 21 characters)
  RUN_REPOSITORY                  where images are kept (default:
                                  RUN_REGION-docker.pkg.dev/GCP_PROJECT/RUN_SERVICE)
  IMAGE                           the image to deliver, by digest, as the pipeline's job build
                                  pushed it; without it, deploy builds one with Docker
  GCP_WORKLOAD_IDENTITY_PROVIDER  keyless login: projects/N/locations/global/
                                  workloadIdentityPools/POOL/providers/PROVIDER
  GCP_SERVICE_ACCOUNT             ... as this service account (its e-mail address)
  GITLAB_OIDC_TOKEN               ... with this token (id_tokens in .gitlab-ci.yml sets it)
  GCP_KEY                         or, instead of these three: a service account's key, as the
                                  path of a file or as its JSON text
In CI, GCP_PROJECT, RUN_REGION and one of the two logins are required. On a laptop none is needed:
the account, project and run/region that gcloud uses are used."""

# TAG---SERVICE-HASH-REGION.a.run.app must be a host name, whose first part has 63 characters at
# most; gcloud shortens an overlong service in it without a word. A tag that is made after a commit
# has 25. https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#tags
TAG_AND_SERVICE = 46
LONGEST_SERVICE = 21
# With one of these the service is made. It is nothing to go back to.
PLACEHOLDERS = ("us-docker.pkg.dev/cloudrun/container/hello", "gcr.io/cloudrun/hello")
_LABEL = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_REPOSITORY = re.compile(r"[a-z0-9.-]+(?::\d+)?(?:/[a-z0-9][a-z0-9._-]*)+")


@dataclass(frozen=True)
class Place:
    """One service of one project."""

    project: str
    region: str
    service: str
    repository: str  # HOST/PATH

    @property
    def bucket(self) -> str:
        """Where the records are: unique like the project's id, and, with it, never too long.

        https://cloud.google.com/storage/docs/buckets#naming
        """
        return f"{re.sub('[:.]', '-', self.project)}-delivery-{self.region}"


def is_label(name: str) -> bool:
    """Whether it can be the name of a service or a tag, but for its length."""
    return _LABEL.fullmatch(name) is not None


def place(environ: Mapping[str, str], root: Path, project: str, region: str) -> Place:
    """Return the place that the variables name; `project` and `region` were found already."""
    if not _REGION.fullmatch(region):
        wrong = f"RUN_REGION is {shown(region)}, which is no region"
        raise MisuseError(
            wrong if region else "no region is chosen",
            then="set RUN_REGION, such as europe-west1: gcloud run regions list shows them",
        )
    service = environ.get("RUN_SERVICE", "").strip() or default_service(root)
    if not is_label(service) or len(service) > LONGEST_SERVICE:
        raise MisuseError(
            f"{shown(service)} cannot be the name of the service",
            why=f"it has 1 to {LONGEST_SERVICE} of a-z, 0-9 and '-', begins with a letter and\n"
            "ends with a letter or digit: with a version it becomes part of a host name",
            then="set RUN_SERVICE to another name, wherever you set RUN_REGION",
        )
    given = environ.get("RUN_REPOSITORY", "").strip()
    repository = given or f"{region}-docker.pkg.dev/{project.replace(':', '/')}/{service}"
    if not _REPOSITORY.fullmatch(repository):
        raise MisuseError(
            f"RUN_REPOSITORY is {shown(repository)}, which is no repository",
            why="its form is REGION-docker.pkg.dev/PROJECT/REPOSITORY",
        )
    return Place(project, region, service, repository)


def default_service(root: Path) -> str:
    """Return the name of the project, cut to what a service's may have."""
    try:
        with (root / "pyproject.toml").open("rb") as file:
            name = tomllib.load(file)["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MisuseError(
            "RUN_SERVICE is not set, and pyproject.toml names no project",
            why=str(error),
            then="set RUN_SERVICE to the name of the service",
        ) from error
    return str(name)[:LONGEST_SERVICE].rstrip("-")
