"""What git cannot merge is a person's to decide, and everything else arrives whole."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.upgrade.small import POEM, Client, SmallTemplate

pytestmark = pytest.mark.upgrade

TALL = POEM.replace("line 3\n", "a taller line 3\n")
WIDE = POEM.replace("line 3\n", "a wider line 3\n")
LATE = POEM.replace("line 25\n", "a later line 25\n")


def settle(client: Client, *commands: tuple[str, ...]) -> None:
    """Resolve by commands, and continue as the upgrade said."""
    for command in commands:
        client.must("git", *command)
    client.must("git", "-c", "core.editor=true", "cherry-pick", "--continue")
    assert client.status() == []


def assert_conflict(client: Client, to: str, path: str, reason: str) -> None:
    """Upgrade into exactly this conflict, with all three sides for git, and nothing else left."""
    before = client.head()
    said = client.upgrade(to, code=5)
    listed = said.partition("these files need you:\n")[2].partition("\nEdit them")[0]
    assert [line.split(maxsplit=1) for line in listed.splitlines()] == [[path, reason]]
    assert "git cherry-pick --continue" in said
    assert client.branch() == f"upgrade/{to}"
    assert client.must("git", "rev-parse", "main").strip() == before
    assert not list(client.path.rglob("*.rej"))
    assert '"checkout": "1.0"' in client.must("git", "show", "HEAD:.cruft.json")


def test_both_changed_the_same_lines(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": WIDE})

    assert_conflict(client, "2.0", "app/pages.py", "both changed the same lines")
    stages = client.must("git", "ls-files", "--unmerged").splitlines()
    assert [line.split()[2] for line in stages] == ["1", "2", "3"]
    settle(client, ("checkout", "--theirs", "app/pages.py"), ("add", "app/pages.py"))
    assert client.read("app/pages.py") == TALL
    assert '"checkout": "2.0"' in client.read(".cruft.json")
    assert client.must("git", "log", "-1", "--format=%s").startswith("Upgrade to small-template")


def test_a_conflict_can_be_left(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": WIDE})
    before = client.everything()

    said = client.upgrade("2.0", code=5)
    back = said.partition("To go back: ")[2].partition("\n")[0]
    client.must("sh", "-c", back)
    assert client.everything() == before


def test_git_remembers_how_a_conflict_was_settled(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.must("git", "config", "rerere.enabled", "true")
    client.commit({"app/pages.py": WIDE})
    both = TALL.replace("a taller", "a taller, wider")
    client.upgrade("2.0", code=5)
    client.write("app/pages.py", both)
    settle(client, ("add", "app/pages.py"))
    client.must("git", "switch", "--quiet", "main")
    client.must("git", "branch", "--quiet", "-D", "upgrade/2.0")

    client.upgrade("2.0", code=5)
    assert client.read("app/pages.py") == both


def test_the_template_renamed_a_file_that_the_client_edited(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": None, "app/views.py": TALL})
    client.commit({"app/pages.py": LATE})

    client.upgrade("2.0")
    assert "a taller line 3\n" in client.read("app/views.py")
    assert "a later line 25\n" in client.read("app/views.py")
    assert "app/pages.py" not in client.files()


def test_the_template_removed_a_file_that_the_client_edited(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": None})
    client.commit({"app/pages.py": LATE})

    reason = "you changed it, the template removed or renamed it"
    assert_conflict(client, "2.0", "app/pages.py", reason)
    settle(client, ("rm", "--quiet", "app/pages.py"))


def test_the_client_renamed_a_file_that_the_template_changed(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": None, "app/mine.py": LATE})

    client.upgrade("2.0")
    assert "a taller line 3\n" in client.read("app/mine.py")
    assert "a later line 25\n" in client.read("app/mine.py")
    assert "app/pages.py" not in client.files()


def test_the_client_removed_a_file_that_the_template_changed(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": None})

    reason = "you removed or renamed it, the template changed it"
    assert_conflict(client, "2.0", "app/pages.py", reason)
    settle(client, ("rm", "--quiet", "app/pages.py"))
    assert "app/pages.py" not in client.files()


def test_a_file_that_the_client_removed_stays_away(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/other.py": None})

    client.upgrade("2.0")
    assert "app/other.py" not in client.files()
    assert client.read("app/pages.py") == TALL


def test_modes_are_merged(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL, "bin/new": "#!/bin/sh\n"})
    client.must("git", "update-index", "--chmod=+x", "app/pages.py")
    (client.path / "app/pages.py").chmod(0o755)
    client.must("git", "commit", "--quiet", "--message", "Run the pages")

    client.upgrade("2.0")
    tree = client.must("git", "ls-tree", "-r", "HEAD")
    modes = {line.split("\t")[1]: line.split()[0] for line in tree.splitlines()}
    assert modes["app/pages.py"] == modes["bin/new"] == modes["bin/check"] == "100755"
    assert client.read("app/pages.py") == TALL


def test_both_added_the_same_file(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/new.py": "theirs\n"})
    client.commit({"app/new.py": "ours\n"})

    assert_conflict(client, "2.0", "app/new.py", "both added it")
    settle(client, ("checkout", "--ours", "app/new.py"), ("add", "app/new.py"))


def test_the_very_same_change_on_both_sides_is_no_conflict(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"app/pages.py": TALL, "app/new.py": "same\n"})
    client.commit({"app/pages.py": TALL, "app/new.py": "same\n"})

    client.upgrade("2.0")
    assert client.must("git", "show", "--format=", "--name-only").split() == [".cruft.json"]


@pytest.mark.parametrize("how", ["merge", "squash", "clone"])
def test_a_second_upgrade_does_not_bring_back_a_settled_conflict(
    template: SmallTemplate, client: Client, tmp_path: Path, how: str
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    template.release("3.0", {"app/pages.py": TALL.replace("line 25\n", "a later line 25\n")})
    client.commit({"app/pages.py": WIDE})
    client.upgrade("2.0", code=5)
    client.write("app/pages.py", WIDE)
    settle(client, ("add", "app/pages.py"))
    client.must("git", "switch", "--quiet", "main")
    if how == "merge":
        client.must("git", "merge", "--quiet", "--no-edit", "upgrade/2.0")
    else:
        client.must("git", "merge", "--quiet", "--squash", "upgrade/2.0")
        client.must("git", "commit", "--quiet", "--message", "Upgrade")
        client.must("git", "branch", "--quiet", "-D", "upgrade/2.0")
    if how == "clone":
        client = client.clone(tmp_path / "fresh", "--depth=1")

    client.upgrade("3.0")
    assert client.read("app/pages.py") == WIDE.replace("line 25\n", "a later line 25\n")
    assert '"checkout": "3.0"' in client.read(".cruft.json")


@pytest.mark.parametrize("name", ["app/größe.py", 'app/a "quoted" name.py', "app/with space.py"])
def test_names_of_any_letters(template: SmallTemplate, client: Client, name: str) -> None:
    template.release("2.0", {name: "theirs\n"})
    client.commit({name: "ours\n"})

    reason = "both added it"
    said = client.upgrade("2.0", code=5)
    assert f"  {name}  {reason}\n" in said
    assert client.must("git", "diff", "--name-only", "--diff-filter=U", "-z") == f"{name}\0"


def test_lines_that_end_in_crlf(template: SmallTemplate, client: Client) -> None:
    """A client's editor on Windows: the repository itself has CRLF."""
    template.release("1.1", {".gitattributes": "* text=auto\n"})
    template.release("2.0", {"app/pages.py": TALL})
    client.upgrade("1.1")
    page = client.path / "app/pages.py"
    page.write_bytes(LATE.replace("\n", "\r\n").encode())
    blob = client.must("git", "hash-object", "-w", "--no-filters", "app/pages.py").strip()
    client.must("git", "update-index", "--cacheinfo", f"100644,{blob},app/pages.py")
    client.must("git", "commit", "--quiet", "--message", "Edit on Windows")
    assert client.status() == []

    client.upgrade("2.0")
    text = page.read_bytes().decode().replace("\r", "")
    assert text == TALL.replace("line 25\n", "a later line 25\n")


def test_a_work_tree_in_crlf(template: SmallTemplate, client: Client, tmp_path: Path) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    windows = client.clone(tmp_path / "windows", "-c", "core.autocrlf=true")
    assert b"\r\n" in (windows.path / "app/pages.py").read_bytes()

    windows.upgrade("2.0")
    assert (windows.path / "app/pages.py").read_bytes() == TALL.replace("\n", "\r\n").encode()
    assert windows.must("git", "show", "HEAD:app/pages.py") == TALL
    assert windows.status() == []


def test_a_submodule_stays_as_it_is(
    template: SmallTemplate, client: Client, tmp_path: Path
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    other = SmallTemplate.at(tmp_path / "other")
    allowed = ("-c", "protocol.file.allow=always")
    client.must("git", *allowed, "submodule", "--quiet", "add", other.path.as_uri(), "lib/other")
    client.commit()
    (client.path / "lib/other/untracked").write_text("work")

    client.upgrade("2.0")
    assert client.read("app/pages.py") == TALL
    assert "160000" in client.must("git", "ls-tree", "HEAD", "lib/other")
    assert (client.path / "lib/other/cookiecutter.json").exists()
    assert client.must("git", "worktree", "list").count("\n") == 1


@pytest.mark.parametrize("ignored", [False, True])
def test_untracked_files_in_the_way_are_not_overwritten(
    template: SmallTemplate, client: Client, *, ignored: bool
) -> None:
    template.release("2.0", {"app/new.py": "theirs\n"})
    if ignored:
        client.commit({".gitignore": "new.py\n"})
    client.write("app/new.py", "a night's work\n")
    before = client.everything()

    said = client.upgrade("2.0", code=3)
    assert "git does not know these files" in said
    assert "  app/new.py\n" in said
    assert client.everything() == before


def test_a_file_in_the_way_of_a_folder_changes_nothing(
    template: SmallTemplate, client: Client
) -> None:
    template.release("2.0", {"docs/new.md": "theirs\n"})
    client.write("docs", "a night's work\n")
    before = client.everything()

    said = client.upgrade("2.0", code=1)
    assert "bin/upgrade: git switch" in said
    assert "Traceback" not in said
    assert client.everything() == before


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_text(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    odd = os.fsdecode(b"app/caf\xe9.py")
    client.commit({odd: "mine\n"})
    client.write(odd, "not committed\n")

    assert "  app/caf\\udce9.py\n" in client.upgrade("2.0", code=3)
    client.commit()
    client.upgrade("2.0")
    assert client.read(odd) == "not committed\n"


def test_a_git_that_speaks_another_language(template: SmallTemplate, client: Client) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": WIDE})

    german = {"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"}
    said = client.upgrade("2.0", code=5, env=german)
    assert "app/pages.py  both changed the same lines" in said


def test_a_project_in_a_folder_of_a_repository(
    template: SmallTemplate, client: Client, tmp_path: Path
) -> None:
    template.release("2.0", {"app/pages.py": TALL})
    client.commit({"app/pages.py": LATE})
    outer = Client(tmp_path / "outer", template=template.path)
    outer.path.mkdir()
    subprocess.run(["cp", "-r", client.path, outer.path / "inner"], check=True)
    subprocess.run(["rm", "-rf", outer.path / "inner" / ".git"], check=True)
    outer.must("git", "init", "--quiet", "--initial-branch=main")
    outer.commit({"README.md": "Outer\n"})

    inner = Client(outer.path / "inner", template=template.path)
    inner.upgrade("2.0")
    assert "a taller line 3" in inner.read("app/pages.py")
    assert outer.read("README.md") == "Outer\n"
    assert outer.must("git", "show", "--format=", "--name-only").split() == [
        "inner/.cruft.json",
        "inner/app/pages.py",
    ]


MOVED = json.dumps({"paths": {"app/pages.py": "app/views.py"}})
REWRITTEN = "".join(f"rewritten {n}\n" for n in range(40)) + POEM[-90:]


def test_a_file_that_moved_beyond_recognition_is_found_by_the_migrations(
    template: SmallTemplate, client: Client
) -> None:
    template.write("upgrade/migrations.json", MOVED)
    template.release("2.0", {"app/pages.py": None, "app/views.py": REWRITTEN})
    client.commit({"app/pages.py": POEM + "the end\n"})

    client.upgrade("2.0")
    assert client.read("app/views.py") == REWRITTEN + "the end\n"
    assert "app/pages.py" not in client.files()
    assert client.must("git", "rev-list", "--count", "main..").strip() == "1"


def test_a_moved_file_that_conflicts_conflicts_in_its_new_place(
    template: SmallTemplate, client: Client
) -> None:
    template.write("upgrade/migrations.json", MOVED)
    template.release("2.0", {"app/pages.py": None, "app/views.py": REWRITTEN})
    client.commit({"app/pages.py": WIDE})
    before = client.head()

    said = client.upgrade("2.0", code=5)
    assert "  app/views.py  both changed the same lines\n" in said
    settle(client, ("checkout", "--theirs", "app/views.py"), ("add", "app/views.py"))
    assert client.must("git", "rev-parse", "main").strip() == before
    assert client.must("git", "log", "--format=%s", "main..").splitlines() == [
        "Upgrade to small-template 2.0 from 1.0",
        "Move files to where 2.0 has them",
    ]
