"""Lock files in an upgrade: merged by package, and locked again only where that is due."""

import pytest

from tests.upgrade.small import Client, SmallTemplate
from upgrade import locks

pytestmark = pytest.mark.upgrade

HEAD = "# This file was made by bin/lock\n"
# As much of bin/lock as it takes to see that it ran, and on which lock.
LOCK = "#!/bin/sh\necho '# locked again' >>requirements.txt\n"


def lock(**versions: str) -> str:
    """Write a lock file of packages, each with a hash of its own."""
    return HEAD + "".join(
        f"{name}=={version} \\\n    --hash=sha256:{name}{version}\n"
        for name, version in sorted(versions.items())
    )


BASE = lock(flask="3.0", click="8.0", jinja2="3.1")


@pytest.mark.parametrize(
    ("ours", "theirs", "merged"),
    [
        (BASE, lock(flask="3.1"), lock(flask="3.1")),
        (lock(flask="3.0", boto="1.0"), BASE, lock(flask="3.0", boto="1.0")),
        (  # each side's own package, and what the template upgraded
            lock(flask="3.0", click="8.0", jinja2="3.1", boto="1.0"),
            lock(flask="3.1", click="8.0", jinja2="3.1", redis="5.0"),
            lock(flask="3.1", click="8.0", jinja2="3.1", boto="1.0", redis="5.0"),
        ),
        (  # what the client upgraded stays; where both did, it is the template's
            lock(flask="3.0.1", click="8.0", jinja2="3.2"),
            lock(flask="3.1", click="8.0", jinja2="3.1"),
            lock(flask="3.1", click="8.0", jinja2="3.2"),
        ),
        (  # what one side dropped stays away
            lock(flask="3.0", jinja2="3.1"),
            lock(flask="3.1", click="8.0"),
            lock(flask="3.1"),
        ),
    ],
)
@pytest.mark.fast
def test_locks_are_merged_by_package(ours: str, theirs: str, merged: str) -> None:
    assert locks.merge(BASE, ours, theirs) == merged


@pytest.fixture
def releases(template: SmallTemplate) -> SmallTemplate:
    """Return a template whose newest release has newer packages."""
    template.release("1.0.1", {"requirements.txt": BASE, "bin/lock": LOCK})
    template.release("2.0", {"requirements.txt": lock(flask="3.1", click="8.1", jinja2="3.1")})
    return template


@pytest.fixture
def locked(releases: SmallTemplate, client: Client) -> Client:
    """Return a project that has locks."""
    assert releases
    client.upgrade("1.0.1", "--no-checks")
    return client


def test_the_templates_lock_is_taken_as_it_is(locked: Client) -> None:
    locked.upgrade("2.0")

    assert locked.read("requirements.txt") == lock(flask="3.1", click="8.1", jinja2="3.1")


def test_a_project_with_its_own_packages_is_locked_again(locked: Client) -> None:
    locked.commit({"requirements.txt": lock(flask="3.0", click="8.0", jinja2="3.1", boto="1.0")})

    locked.upgrade("2.0")
    wanted = lock(flask="3.1", click="8.1", jinja2="3.1", boto="1.0")
    assert locked.read("requirements.txt") == wanted + "# locked again\n"
    assert locked.must("git", "rev-list", "--count", "upgrade/1.0.1..").strip() == "1"
    assert locked.status() == []


def test_a_lock_that_cannot_be_made_is_said(releases: SmallTemplate, locked: Client) -> None:
    releases.release("3.0", {"bin/lock": "#!/bin/sh\necho no network\nexit 1\n"})
    locked.commit({"requirements.txt": lock(flask="3.0", click="8.0", jinja2="3.1", boto="1.0")})

    said = locked.upgrade("3.0", code=1)
    assert "bin/lock failed" in said
    assert "  no network\n" in said
    assert "When it works: bin/lock && git commit --all --amend --no-edit" in said
    assert "boto==1.0" in locked.read("requirements.txt")
    assert "flask==3.1" in locked.read("requirements.txt")


def test_a_conflict_elsewhere_says_to_lock(releases: SmallTemplate, locked: Client) -> None:
    releases.release("3.0", {"README.md": "# Theirs\n"})
    lock_ = lock(flask="3.0", click="8.0", jinja2="3.1", boto="1.0")
    locked.commit({"requirements.txt": lock_, "README.md": "# Ours\n"})

    said = locked.upgrade("3.0", code=5)
    assert "  README.md  both changed the same lines\n" in said
    assert "requirements.txt  " not in said
    assert said.index("  bin/lock") < said.index("  git cherry-pick --continue")


def test_a_project_without_the_templates_locks_keeps_it_so(locked: Client) -> None:
    locked.commit({"requirements.txt": None, "uv.lock": "version = 1\n"})

    said = locked.upgrade("2.0", code=5)
    assert "  requirements.txt  you removed or renamed it, the template changed it\n" in said
