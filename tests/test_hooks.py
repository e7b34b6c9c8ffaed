"""Cookiecutter's hooks as modules: what they refuse, and what they make of git's answers."""

import importlib.util
import json
import tomllib
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import PROJECT, TEMPLATE
from tests.support.answers import HOSTILE, PROSE

pytestmark = pytest.mark.fast

GOOD = {
    "project_name": "Hello",
    "project_slug": "hello",
    "description": "It greets.",
    "author_name": "Ada",
    "author_email": "ada@example.com",
    "owner": "Acme, Inc.",
    "license": "MIT",
    "init_git": True,
    "_template_name": "the-template",
    "_template_version": "1.2.3",
}


def load(name: str, **answers: Any) -> ModuleType:
    """Import a hook as Cookiecutter renders it for some answers."""
    spec = importlib.util.spec_from_file_location(name, TEMPLATE / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["ANSWERS"] = json.dumps(GOOD | answers)
    return module


@pytest.fixture(scope="module")
def pre() -> ModuleType:
    """Return the hook that refuses bad answers."""
    return load("pre_gen_project")


def test_good_answers_pass(pre: ModuleType) -> None:
    assert pre.problems(GOOD) == []


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("prompt", PROSE)
def test_any_line_of_text_is_good_prose(pre: ModuleType, prompt: str, value: str) -> None:
    assert pre.problems(GOOD | {prompt: value}) == []


@pytest.mark.parametrize("prompt", PROSE)
@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        (" padded", "must not begin or end with a space"),
        ("two\nlines", "must be one line of printable characters"),
        ("null\0byte", "must be one line of printable characters"),
        ("sep\u2028arator", "must be one line of printable characters"),
        ("half \ud83d emoji", "must be one line of printable characters"),
        ("x" * 201, "may have 200 characters, not 201"),
    ],
)
def test_what_is_no_line_of_text_is_refused(
    pre: ModuleType, prompt: str, value: str, advice: str
) -> None:
    assert pre.problems(GOOD | {prompt: value}) == [f"{prompt}: {value!r} {advice}"]


@pytest.mark.parametrize("slug", ["ab", "a1", "2-brothers", "x" * 50, "cafe-zoe-2-0"])
def test_a_good_slug_passes(pre: ModuleType, slug: str) -> None:
    assert pre.problems(GOOD | {"project_slug": slug}) == []


@pytest.mark.parametrize(
    "slug",
    [
        "a",
        "Hello",
        "a_b",
        "a b",
        "-ab",
        "ab-",
        "a--b",
        "a/b",
        "..",
        "a.b",
        "é",
        "x" * 51,
        "ab\n",
    ],
)
def test_a_slug_of_other_characters_is_refused(pre: ModuleType, slug: str) -> None:
    (problem,) = pre.problems(GOOD | {"project_slug": slug})

    assert problem.startswith(f"project_slug: {slug!r} must be 2 to 50 lower-case letters")


def test_a_slug_that_the_name_does_not_give_is_asked_for(pre: ModuleType) -> None:
    assert pre.problems(GOOD | {"project_name": "!!!", "project_slug": ""}) == [
        "project_slug: '' is empty: project_name has no letter or digit to derive it from; set both"
    ]


@pytest.mark.parametrize("slug", ["con", "nul", "com1"])
def test_a_name_that_windows_keeps_is_refused(pre: ModuleType, slug: str) -> None:
    (problem,) = pre.problems(GOOD | {"project_slug": slug})

    assert "Windows" in problem


def test_a_project_cannot_be_called_like_its_dependencies(pre: ModuleType) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    names = project["dependencies"] + project["optional-dependencies"]["dev"]

    for name in (name.split(">")[0] for name in names):
        (problem,) = pre.problems(GOOD | {"project_slug": name})
        assert "depends on" in problem


@pytest.mark.parametrize("email", ["ada@example.com", "o'hara+x@mail.example.org", "a@b.co"])
def test_a_good_address_passes(pre: ModuleType, email: str) -> None:
    assert pre.problems(GOOD | {"author_email": email}) == []


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@x.org", "a b@x.org", "a@b", "a@x.org>", 'a"@x.org', "a@x.org\n"]
)
def test_what_is_no_address_is_refused(pre: ModuleType, email: str) -> None:
    assert pre.problems(GOOD | {"author_email": email}) == [
        f"author_email: {email!r} must be an e-mail address such as name@example.com"
    ]


def test_all_problems_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    hook = load("pre_gen_project", project_slug="A B", author_email="x", owner="")

    assert hook.main() == 1
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        "project_slug",
        "author_email",
        "owner",
    ]


class Git:
    """Stands in for the hook's `git`: remembers the calls and refuses what it is told to."""

    def __init__(self, hook: ModuleType, **refused: str) -> None:
        self.hook = hook
        self.refused = refused
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str) -> str:
        self.calls.append(arguments)
        verb = next(a for a in arguments if not a.startswith("-") and "=" not in a)
        if verb in self.refused:
            raise self.hook.GitError(self.refused[verb])
        return "false"


def test_a_repository_is_made_with_hooks_and_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    post = load("post_gen_project")
    git = Git(post, **{"rev-parse": "not a repository"})
    monkeypatch.setattr(post, "git", git)

    assert post.make_repository(GOOD, []) is None
    verbs = [next(a for a in call if not a.startswith("-") and "=" not in a) for call in git.calls]
    assert verbs == ["rev-parse", "init", "config", "add", "config", "commit"]
    assert git.calls[2] == ("config", "core.hooksPath", ".githooks")
    assert git.calls[-1][-1] == "Start from the-template 1.2.3"


@pytest.mark.parametrize("verb", ["init", "config", "add"])
def test_whatever_git_refuses_is_a_warning_that_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    post = load("post_gen_project")
    refusing = Git(post, **{"rev-parse": "not a repository", verb: "disk full"})
    monkeypatch.setattr(post, "git", refusing)

    warning = post.make_repository(GOOD, [])
    assert warning.startswith("disk full; when it works, type: git init && bin/setup && git add")


def test_git_that_hangs_is_a_git_error(monkeypatch: pytest.MonkeyPatch) -> None:
    post = load("post_gen_project")

    def hang(*_: Any, **__: Any) -> None:
        raise post.subprocess.TimeoutExpired("git", 30)

    monkeypatch.setattr(post.subprocess, "run", hang)
    with pytest.raises(post.GitError, match="git commit took over 30 s"):
        post.git("commit")
