"""What bin/check and bin/test of a baked project demand: of its packages, and of its locks."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Bake, BakedProject
from tests.support.tools import require

SHOP = '"""Sells things."""\n\n\ndef price(count: int) -> int:\n    return 3 * count\n'
TEST = (
    "from shop.till import price\n\n\ndef test_price() -> None:\n    assert price(count=2) == 6\n"
)


@pytest.fixture
def project(bake: Bake, tools: Path) -> BakedProject:
    """Return a project with a package `shop` beside `app`, and nothing else changed for it."""
    project = bake()
    project.env = {"VENV": str(tools)}
    project.write("shop/__init__.py", '"""A shop."""\n')
    project.write("shop/till.py", SHOP)
    return project


def add_tests(project: BakedProject) -> None:
    """Test the package, in files whose names occur elsewhere, too."""
    project.write("tests/shop/conftest.py", '"""Fixtures of the shop."""\n')
    project.write("tests/shop/test_pages.py", TEST)


def test_a_package_that_is_tested_passes(project: BakedProject) -> None:
    add_tests(project)

    project.must("bin/check")
    assert "tests/shop/test_pages.py" in project.must("bin/test")


def test_the_types_of_a_new_package_are_checked(project: BakedProject) -> None:
    project.write("shop/till.py", SHOP.replace("3 * count", '"three"'))

    done = project.run("bin/check")

    assert done.returncode == 1
    assert "shop/till.py:5: error: Incompatible return value type" in done.stdout


def test_the_types_of_a_new_folder_of_tests_are_checked(project: BakedProject) -> None:
    add_tests(project)
    project.write("tests/shop/test_pages.py", TEST.replace("count=2", 'count="2"'))

    assert "tests/shop/test_pages.py:5: error:" in project.run("bin/check").stdout


def test_a_package_that_no_test_imports_counts_as_not_covered(project: BakedProject) -> None:
    numbers = "".join(f"N{n} = {n}\n" for n in range(20))
    project.write("shop/numbers.py", f'"""Numbers."""\n\n{numbers}')

    done = project.run("bin/test")

    assert done.returncode != 0
    assert re.search(r"^shop/numbers\.py .* 0% ", done.stdout, re.MULTILINE)
    assert "Coverage failure" in done.stdout


def test_gitlab_reads_the_coverage_of_all_that_is_measured(project: BakedProject) -> None:
    add_tests(project)
    project.write("shop/till.py", SHOP + "\n\ndef change() -> int:\n    return 1\n")
    (pattern,) = re.findall(r"^ +coverage: '/(.*)/'$", project.read(".gitlab-ci.yml"), re.MULTILINE)

    said = project.must("bin/test", CI="true")

    (percent,) = re.findall(pattern, said)  # of several, GitLab takes the last
    report = ET.parse(project.path / "reports" / "coverage.xml").getroot()
    covered, valid = (
        int(report.get(f"lines-{kind}", 0)) + int(report.get(f"branches-{kind}", 0))
        for kind in ("covered", "valid")
    )
    assert covered < valid
    assert float(percent) == int(100 * covered / valid)
    names = {str(file.get("filename")).split("/")[0] for file in report.iter("class")}
    assert names == {"app", "shop"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"flask>=3.1"', '"flask>=99"', "requirements.txt: does not lock flask>=99"),
        ('"flask>=3.1"', '"flask[async]"', "requirements.txt: does not lock flask[async]"),
        ('"flask>=3.1"', '"flask", "pytest"', "requirements.txt: does not lock pytest"),
        ('"mypy>=2"', '"mypy", "celery"', "requirements-dev.txt: does not lock celery"),
    ],
    ids=["newer", "extra", "installed for development only", "not installed"],
)
def test_a_dependency_that_was_not_locked_is_told(
    project: BakedProject, old: str, new: str, told: str
) -> None:
    project.write("pyproject.toml", project.read("pyproject.toml").replace(old, new))

    done = project.run("bin/check")

    assert done.returncode == 1
    assert f"\n{told}\n" in done.stdout
    assert "run bin/lock\n" in done.stdout


def test_what_is_locked_again_fits(project: BakedProject) -> None:
    require("uv")
    text = project.read("pyproject.toml")
    project.write("pyproject.toml", text.replace('"flask>=3.1"', '"Flask[dotenv]>=3.1"'))
    assert project.run("bin/check").returncode == 1

    said = project.must("bin/lock")

    assert said.endswith("to install them, run bin/setup\n")
    assert "flask[dotenv]==" in project.read("requirements.txt")
    project.must("bin/check")


def test_the_locks_name_the_extras_that_old_pips_look_for() -> None:
    assert "\ncoverage[toml]==" in (PROJECT / "requirements-dev.txt").read_text("utf-8")
