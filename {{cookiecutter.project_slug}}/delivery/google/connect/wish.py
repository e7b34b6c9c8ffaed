"""What a person wants connected, and the names that follow from it."""

from dataclasses import dataclass

MARK = "made by: python -m delivery connect"
"""Stands in the description of whatever is made here; undo removes nothing without it."""

GITLAB = "https://gitlab.com"
POOL = "gitlab"
PROVIDER = "gitlab"
REPOSITORY = "gae-standard"  # where App Engine's builds put their images


@dataclass(frozen=True)
class Wish:
    """The answers, from options, the environment, git, gcloud, or a person."""

    project: str
    gitlab_url: str
    gitlab_project: str
    region: str = ""
    with_key: bool = False
    reviews: bool = False

    @property
    def domain(self) -> str:
        """The part of service accounts' addresses after NAME@."""
        domain, _, name = self.project.rpartition(":")
        return (
            f"{name}.{domain}.iam.gserviceaccount.com"
            if domain
            else f"{name}.iam.gserviceaccount.com"
        )

    @property
    def deployer(self) -> str:
        """The account that delivers."""
        return f"gitlab-deployer@{self.domain}"

    @property
    def reviewer(self) -> str:
        """The account of review apps, for merge requests: jobs of any branch may use it."""
        return f"gitlab-reviewer@{self.domain}"

    @property
    def accounts(self) -> list[str]:
        """All accounts that upload versions."""
        return [self.deployer, *([self.reviewer] if self.reviews else [])]

    def again(self) -> str:
        """Return the command that connects the same again."""
        words = ["python -m delivery connect", f"--project {self.project}"]
        words += [f"--region {self.region}"] * bool(self.region)
        words += [f"--gitlab-project {self.gitlab_project}"] * bool(self.gitlab_project)
        words += [f"--gitlab-url {self.gitlab_url}"] * (self.gitlab_url != GITLAB)
        words += ["--with-key"] * self.with_key + ["--reviews"] * self.reviews
        return " ".join(words)
