"""What a bake writes: exactly the promised files, with every answer whole wherever it appears."""

import ast
import re
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.conftest import PROJECT, TEMPLATE, Bake, BakedProject
from tests.support.answers import HOSTILE, PROMPTS, PROSE, choices, each_choice, show

pytestmark = pytest.mark.fast

READERS: dict[str, Callable[[str], object]] = {
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
}
EACH_CHOICE = list(each_choice())


class Text(HTMLParser):
    """Gathers what a page shows, and the content of its meta tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown = ""
        self.meta: dict[str | None, str | None] = {}
        self.tags: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "meta":
            self.meta[dict(attrs).get("name")] = dict(attrs).get("content")


def markdown_text(source: str) -> str:
    """Return the text that a reader of rendered Markdown sees."""
    return Text(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source)).shown


@pytest.mark.parametrize("target", PROMPTS["deploy_to"])
def test_a_bake_writes_exactly_these_files(render: Bake, target: str) -> None:
    expected = (TEMPLATE / "tests" / "files" / f"{target}.txt").read_text("utf-8").splitlines()

    assert sorted(render(deploy_to=target).files()) == expected


@pytest.mark.parametrize("answers", EACH_CHOICE, ids=show)
def test_no_choice_but_the_target_adds_or_drops_a_file(
    render: Bake, answers: dict[str, Any]
) -> None:
    if "deploy_to" in answers:
        return
    assert render(**answers).files() == render().files()


@pytest.mark.parametrize("answers", EACH_CHOICE, ids=show)
def test_no_template_mark_is_left(render: Bake, answers: dict[str, Any]) -> None:
    project = render(**answers)

    for name in project.files():
        content = (project.path / name).read_bytes()
        assert "cookiecutter" not in name
        assert b"cookiecutter" not in content, name
        if not name.startswith("app/templates/"):  # Flask's own marks are at home there
            assert b"{%" not in content, name
            assert b"{{" not in content, name


@pytest.mark.parametrize("answers", EACH_CHOICE, ids=show)
def test_no_stray_space_or_line_is_left(render: Bake, answers: dict[str, Any]) -> None:
    project = render(**answers)

    for name in project.files():
        text = project.read(name)
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name
        assert not text.startswith("\n"), name
        assert "\r" not in text, name
        prose = re.sub(r"(?ms)^```python$.*?^```$", "(code)", text)  # Python wants two empty lines
        assert "\n\n\n" not in prose or name.endswith(".py"), name
        if not name.startswith("requirements"):
            assert not [line for line in text.splitlines() if line != line.rstrip()], name


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_comes_out_whole(render: Bake, value: str) -> None:
    project = render(**dict.fromkeys(PROSE, value), project_slug="demo")

    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert metadata["description"] == value
    assert metadata["authors"] == [{"name": value, "email": "you@example.com"}]
    assert f"Copyright {value}. All rights reserved." in project.read("LICENSE")
    assert_page_shows(project, value)
    assert_readme_shows(project, value)


def assert_page_shows(project: BakedProject, value: str) -> None:
    """Assert that the page's own template has the value as text, for a browser and for Flask."""
    page = project.read("app/templates/base.html")
    for mark in ("{{ x", "{% raw", "{# note"):
        assert mark not in page
    text = Text(page)
    assert text.shown.count(value) == 2  # in the title, and on top of the page
    assert text.meta["description"] == value
    assert "script" not in text.tags
    assert "b" not in text.tags


def assert_readme_shows(project: BakedProject, value: str) -> None:
    """Assert that a reader of the README sees the value in each place."""
    shown = markdown_text(project.read("README.md"))
    assert shown.startswith(f"{value}\n{value}\n")
    assert shown.count(value) == len(PROSE)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Café Zoë & Söhne 2.0", "cafe-zoe-sohne-2-0"),
        ("Hello Delivery", "hello-delivery"),
        ("  O'Hara -- Partners ", "o-hara-partners"),
        ("日本", "ri-ben"),
        ("x" * 80, "x" * 50),
    ],
)
def test_the_slug_follows_from_the_name(render: Bake, name: str, slug: str) -> None:
    project = render(project_name=name)

    assert project.path.name == slug
    assert tomllib.loads(project.read("pyproject.toml"))["project"]["name"] == slug


@pytest.mark.parametrize(
    ("license_", "expression", "phrase"),
    [
        ("proprietary", "LicenseRef-Proprietary", "All rights reserved."),
        ("MIT", "MIT", "Permission is hereby granted, free of charge"),
        ("Apache-2.0", "Apache-2.0", "Version 2.0, January 2004"),
        ("BSD-3-Clause", "BSD-3-Clause", "Neither the name of the copyright holder"),
    ],
)
def test_the_licence_is_the_chosen_one(
    render: Bake, license_: str, expression: str, phrase: str
) -> None:
    project = render(license=license_, owner="Söhne & Co")

    assert tomllib.loads(project.read("pyproject.toml"))["project"]["license"] == expression
    text = project.read("LICENSE")
    assert phrase in text
    assert "Söhne & Co" in text


@pytest.mark.parametrize("version", PROMPTS["python_version"])
def test_the_python_version_is_named_wherever_one_is(render: Bake, version: str) -> None:
    others = set(PROMPTS["python_version"]) - {version, "3.11"}  # 3.11 is the oldest supported
    project = render(python_version=version)

    assert f"wanted={version}\n" in project.read("bin/setup")
    for name in project.files() - {"bin/setup", "pyproject.toml"}:
        if not name.startswith(("requirements", "delivery/", "tests/")):
            text = project.read(name)
            assert not [v for v in others if f"python:{v}" in text or f"python{v}" in text], name


def test_every_prompt_has_a_question_and_every_choice_a_label() -> None:
    visible = [name for name in PROMPTS if not name.startswith("_")]
    questions = PROMPTS["__prompts__"]

    assert list(questions) == visible
    for name, values in choices().items():
        if name != "init_git":
            assert list(questions[name]) == ["__prompt__", *values]


def test_template_files_are_plain_files() -> None:
    """Editors, linters and people can read each file before it is baked."""
    for path in PROJECT.rglob("*"):
        if path.suffix in READERS and path.name != "__main__.py":  # which names the target
            READERS[path.suffix](path.read_text("utf-8"))


def test_the_changelog_knows_the_version() -> None:
    changelog = (TEMPLATE / "CHANGELOG.md").read_text("utf-8")

    assert f"\n## {PROMPTS['_template_version']}" in changelog
