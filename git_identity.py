"""A Jinja extension for `cookiecutter.json`: offers whom git knows as the author.

It only changes what a question offers: the project follows from the answers. Cookiecutter and cruft
import it from the template's folder. A module stays imported while a program renders two versions,
so nothing that shapes a file may stand here: that is what templates/ is for.
"""

import runpy
import subprocess
from pathlib import Path

from jinja2 import Environment
from jinja2.ext import Extension

GIT_SECONDS = 5
CHECKS = Path(__file__).parent / "hooks" / "pre_gen_project.py"


class GitIdentity(Extension):
    """Makes `git_user("name")` and `git_user("email")` known to templates."""

    def __init__(self, environment: Environment) -> None:
        """Register the function; git is asked when a question needs its default."""
        super().__init__(environment)
        environment.globals["git_user"] = git_user


def git_user(what: str) -> str:
    """Return the person's name or email, or "" where git has none that the template accepts.

    Only the person's own configuration counts: the repository that one stands in may be anyone's.
    """
    command = ["git", "config", "--global", "--includes", "--get", f"user.{what}"]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
        )
        problem_with = runpy.run_path(str(CHECKS))["CHECKS"][f"author_{what}"]
    except (OSError, subprocess.TimeoutExpired):
        return ""
    value = done.stdout.strip()
    return "" if done.returncode or problem_with(value) else value
