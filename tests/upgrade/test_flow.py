"""An upgrade from its start to what it says in the end."""

import json
import os
import re
import sys

import pytest

from tests.conftest import TEMPLATE
from tests.upgrade.small import POEM, Client, SmallTemplate
from upgrade import state

pytestmark = pytest.mark.upgrade

TALL = POEM.replace("line 3\n", "a taller line 3\n")
CHANGELOG = """# Changelog

Text that belongs to no release.

## 3.0 (2026-03-01)

### You must do

- Set `NEW` in GitLab.

### Fixed

- The roof.

## 2.0 (2026-02-01)

### You must do

- Run the migration.

### Added

- A door,
  with a lock.

## 1.0

- The first.
"""


def test_an_upgrade_is_one_commit_on_a_branch_of_its_own(
    template: SmallTemplate, client: Client
) -> None:
    commit = template.release("2.0", {"app/pages.py": TALL, "app/new.py": "new\n"})
    before = client.head()

    said = client.upgrade("2.0")
    assert client.branch() == "upgrade/2.0"
    assert client.must("git", "rev-list", "main..").split() == [client.head()]
    assert client.must("git", "rev-parse", "main", "HEAD^").split() == [before, before]
    assert client.read("app/pages.py") == TALL
    assert client.read("app/new.py") == "new\n"
    assert client.status() == []
    now = state.read(client.path)
    assert (now.release, now.commit) == ("2.0", commit)
    for command in ("bin/setup", "bin/check", "bin/test"):
        assert f"checked by {command}\n" in said
    assert said.endswith(
        "To take it: git switch main && git merge upgrade/2.0\n"
        "To drop it: git switch main && git branch -D upgrade/2.0\n"
    )


def test_the_commit_says_what_is_new_and_first_what_a_person_must_do(
    template: SmallTemplate, client: Client
) -> None:
    for tag in ("2.0", "3.0"):
        template.write("CHANGELOG.md", CHANGELOG)
        template.release(tag, {"app/pages.py": TALL})

    said = client.upgrade("3.0")
    message = client.must("git", "log", "-1", "--format=%B").strip()
    assert message.startswith("Upgrade to small-template 3.0 from 1.0\n\nYou must do:\n")
    duties, _, rest = message.partition("\n\n2.0:\n")
    assert duties.splitlines()[-2:] == ["- Run the migration.", "- Set `NEW` in GitLab."]
    assert rest.splitlines()[:3] == ["Added:", "- A door,", "  with a lock."]
    assert "- The first." not in message
    assert "belongs to no release" not in message
    assert "You must do:\n- Run the migration.\n- Set `NEW` in GitLab.\n" in said


def test_nothing_to_do_is_said(client: Client) -> None:
    before = client.everything()

    assert "Nothing to do" in client.upgrade("1.0")
    assert "Nothing to do" in client.upgrade("1.0", "--set", "owner=Acme")
    assert client.everything() == before


def test_the_newest_release_is_no_way_back(template: SmallTemplate, client: Client) -> None:
    """A project that was baked from a commit after the newest tag."""
    template.release("2.0", {"app/pages.py": TALL})
    client.upgrade("2.0")

    assert "Nothing to do" in client.upgrade("1.0")


def test_a_dry_run_shows_all_and_touches_nothing(template: SmallTemplate, client: Client) -> None:
    template.write("CHANGELOG.md", CHANGELOG)
    template.release("2.0", {"app/pages.py": TALL})
    client.edit("app/other.py", "other 3\n", "work of today\n")
    before = client.everything()

    said = client.upgrade("2.0", "--dry-run")
    assert "Upgrade to small-template 2.0 from 1.0" in said
    assert "- Run the migration." in said
    assert "\n-line 3\n+a taller line 3\n" in said
    assert "checked by" not in said
    assert client.everything() == before

    client.commit({"app/pages.py": POEM.replace("line 3\n", "a wider line 3\n")})
    before = client.everything()
    said = client.upgrade("2.0", "--dry-run", code=5)
    assert "conflict: app/pages.py: both changed the same lines\n" in said
    assert client.everything() == before


def test_an_answer_can_be_changed_later(template: SmallTemplate, client: Client) -> None:
    said = client.upgrade("1.0", "--set", "license=proprietary", "--set", "owner=Zoë {{ 7*7 }}")

    assert "Bake 1.0 again with owner=Zoë {{ 7*7 }}, license=proprietary" in said
    assert client.read("LICENSE") == "proprietary\n"
    assert client.read("README.md") == "# Zoë {{ 7*7 }}\n"
    assert state.read(client.path).answers["owner"] == "Zoë {{ 7*7 }}"
    client.must("git", "switch", "--quiet", "main")
    client.must("git", "merge", "--quiet", "upgrade/1.0")

    template.release("2.0", {"app/pages.py": TALL})
    client.upgrade("2.0", "--set", "init_git=no", "--no-checks")
    assert client.read("README.md") == "# Zoë {{ 7*7 }}\n"
    assert state.read(client.path).answers["init_git"] is False


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("licence=MIT", "there is no prompt 'licence': choose from project_slug, owner, license"),
        ("license=GPL", "license cannot be 'GPL' in this version: choose from MIT, proprietary"),
        ("init_git=perhaps", "init_git cannot be 'perhaps' in this version: choose from yes, no"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(
    template: SmallTemplate, client: Client, change: str, advice: str
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    before = client.everything()

    assert advice in client.upgrade("2.0", "--set", change, code=3)
    assert client.everything() == before


def test_the_template_may_refuse_an_answer(template: SmallTemplate, client: Client) -> None:
    template.write("hooks/pre_gen_project.py", "import sys\nsys.exit('owner: too short')\n")
    template.write("hooks/post_gen_project.py", "open('made-by-hook', 'w').close()\n")
    template.release("2.0")
    before = client.everything()

    said = client.upgrade("2.0", "--set", "owner=A", code=3)
    assert "version 2.0 cannot be rendered with these answers:\n" in said
    assert "  owner: too short\n" in said
    assert client.everything() == before

    template.write("hooks/pre_gen_project.py", "")
    template.release("3.0")
    client.upgrade("3.0")
    assert "made-by-hook" not in client.files()


def test_answers_of_old_projects_are_called_what_they_are_called_today(
    template: SmallTemplate, client: Client
) -> None:
    template.prompts = {
        "project_slug": "demo",
        "client": "Nobody",
        "license": ["closed", "MIT"],
        "contact": "{{ cookiecutter.client }}@example.com",
        "_template_name": "small-template",
    }
    migrations = {
        "answers": {"owner": "client", "init_git": None},
        "values": {"license": {"proprietary": "closed"}},
    }
    template.write("upgrade/migrations.json", json.dumps(migrations))
    template.release("2.0", {"README.md": "# {{ cookiecutter.client }}\n"})
    client.upgrade("1.0", "--set", "license=proprietary", "--no-checks")
    client.must("git", "switch", "--quiet", "main")
    client.must("git", "merge", "--quiet", "upgrade/1.0")

    client.upgrade("2.0")
    assert client.read("LICENSE") == "closed\n"
    assert client.read("README.md") == "# Acme\n"
    assert state.read(client.path).answers == {
        "project_slug": "demo",
        "client": "Acme",
        "license": "closed",
        "contact": "Acme@example.com",
    }


def test_red_checks_leave_the_branch_and_say_so(template: SmallTemplate, client: Client) -> None:
    broken = "#!/bin/sh\necho the roof leaks\nexit 1\n"
    template.release("2.0", {"bin/check": broken, "app/pages.py": TALL})
    before = client.head()

    said = client.upgrade("2.0", code=1)
    assert "the roof leaks" in said
    assert "bin/check failed: see above. Fix it here and commit; main is as it was." in said
    assert "checked by bin/test" not in said
    assert client.branch() == "upgrade/2.0"
    assert client.must("git", "rev-parse", "main").strip() == before


def test_changes_without_a_commit_are_refused(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.edit("app/other.py", "other 3\n", "work of today\n")
    before = client.everything()

    said = client.upgrade("2.0", code=3)
    assert "these changes are in no commit:\n  app/other.py\n" in said
    assert "git commit or git stash them, then repeat" in said
    assert client.everything() == before


@pytest.mark.parametrize("what", ["merge", "cherry-pick", "rebase", "revert"])
def test_work_under_way_is_not_mixed_with(
    template: SmallTemplate, client: Client, what: str
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.must("git", "switch", "--quiet", "--create", "other")
    client.commit({"app/other.py": "theirs\n"})
    client.must("git", "switch", "--quiet", "main")
    client.commit({"app/other.py": "ours\n"})
    older = "HEAD~1" if what == "revert" else "other"
    client.commit({"app/other.py": "ours again\n"})
    assert client.run("git", what, older).returncode != 0
    before = client.everything()

    said = client.upgrade("2.0", code=3)
    assert f"a {what} is under way: end it with git {what} --continue or --abort" in said
    assert client.everything() == before


def test_a_branch_with_work_is_not_overwritten(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.upgrade("2.0")
    client.commit({"app/mine.py": "mine\n"})
    client.must("git", "switch", "--quiet", "main")
    before = client.everything()

    said = client.upgrade("2.0", code=3)
    assert "the branch upgrade/2.0 exists, with commits that are not in main" in said
    assert client.everything() == before


def test_the_branch_of_the_upgrade_is_no_place_to_start_from(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.upgrade("2.0")
    before = client.everything()

    said = client.upgrade("2.0", "--set", "license=proprietary", code=3)
    assert "you are on upgrade/2.0 itself: merge it" in said
    assert client.everything() == before


def test_the_projects_checks_see_the_shell_of_the_person(
    template: SmallTemplate, client: Client
) -> None:
    show = '#!/bin/sh\necho "path $PYTHONPATH|$VIRTUAL_ENV|$LC_ALL|$GIT_DIR|$PATH"\n'
    template.release("2.0", {"bin/check": show})
    own = f"{sys.prefix}/bin"
    outer = {"VIRTUAL_ENV": sys.prefix, "LC_ALL": "C.UTF-8", "PATH": f"{own}:{os.environ['PATH']}"}

    said = client.upgrade("2.0", env=outer)
    seen = next(line for line in said.splitlines() if line.startswith("path "))
    assert seen.startswith("path ||C.UTF-8||")
    assert own not in seen.rpartition("|")[2].split(":")


def test_a_folder_without_repository_or_state_says_what_to_type(client: Client) -> None:
    text = client.read(".cruft.json")
    client.commit({".cruft.json": None})
    assert "bin/upgrade --adopt TAG --template ADDRESS" in client.upgrade("1.0", code=3)
    client.write(".cruft.json", text)
    assert ".cruft.json is in no commit" in client.upgrade("1.0", code=3)
    client.commit({".cruft.json": "{"})
    assert ".cruft.json cannot be read (JSONDecodeError" in client.upgrade("1.0", code=3)
    client.must("rm", "-rf", ".git")
    assert "has no commit to start from" in client.upgrade("1.0", code=3)


def test_a_version_that_is_not_there_is_said(client: Client) -> None:
    said = client.upgrade("9.9", code=3)

    assert "the template has no version '9.9' here. Its newest releases: 1.0." in said


def test_a_project_of_a_commit_that_the_template_lost(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    text = client.read(".cruft.json")
    client.commit({".cruft.json": re.sub(r'"commit": "\w+"', f'"commit": "{"1" * 40}"', text)})

    said = client.upgrade("2.0", code=3)
    assert f"no version '{'1' * 40}' here" in said
    assert "git fetch --unshallow --tags" in said


def test_a_shallow_clone_has_all_that_it_takes(
    template: SmallTemplate, client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": POEM + "the end\n"})
    shallow = client.clone(tmp_path_factory.mktemp("ci") / "clone", "--depth=1")

    shallow.upgrade("2.0")
    assert shallow.read("app/pages.py") == TALL + "the end\n"


def test_without_an_identity_nothing_begins(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    nobody = {"GIT_COMMITTER_NAME": "", "GIT_AUTHOR_NAME": "", "EMAIL": ""}
    client.must("git", "config", "user.useConfigOnly", "true")
    before = client.everything()

    said = client.upgrade("2.0", code=3, env=nobody)
    assert 'git config user.name "Your Name"' in said
    assert client.everything() == before


def test_a_mistake_on_the_command_line_is_a_misuse(client: Client) -> None:
    assert "'owner' is not PROMPT=VALUE" in client.upgrade("1.0", "--set", "owner", code=2)
    assert "--frobnicate" in client.upgrade("1.0", "--frobnicate", code=2)


def test_without_git_it_says_so(client: Client) -> None:
    empty = {"PATH": str(client.path / "nothing"), "PYTHONPATH": str(TEMPLATE)}
    done = client.run(*client.upgrade_command("1.0"), **empty)

    assert done.returncode != 0
    assert "git is not installed" in done.stdout
    assert "Traceback" not in done.stdout
    assert sys.executable
