"""Flask's best-known extensions in a baked project, used as their own guides say."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Bake
from tests.support.tools import find_python, require

SHOP = Path(__file__).parent / "extensions"
EXTENSIONS = ("email-validator", "flask-login", "flask-sqlalchemy", "flask-wtf")


# From 3.13 on, Python says when a database was left open, in whichever test runs just then.
@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_a_shop_as_the_guides_say_passes_check_and_tests(bake: Bake, version: str) -> None:
    require("uv")
    if find_python(version) is None:
        pytest.skip(f"needs Python {version}")
    project = bake(python_version=version)
    shutil.copy(SHOP / "shop.py", project.path / "app")
    shutil.copy(SHOP / "test_shop.py", project.path / "tests")
    shutil.copytree(SHOP / "templates", project.path / "app" / "templates", dirs_exist_ok=True)
    factory = project.read("app/__init__.py").replace("logs, pages", "logs, pages, shop")
    start, end = factory.split("    return app\n")
    project.write("app/__init__.py", f"{start}    shop.init_app(app)\n    return app\n{end}")
    start, end = project.read("pyproject.toml").split("\ndependencies = [\n")
    needed = "".join(f'  "{name}",\n' for name in EXTENSIONS)
    project.write("pyproject.toml", f"{start}\ndependencies = [\n{needed}{end}")

    project.must("bin/lock")
    project.must("bin/setup")

    project.must("bin/check")
    assert "passed" in project.must("bin/test")
    changed = project.must("git", "status", "--porcelain").split()[1::2]
    assert [name for name in changed if "instance" in name or "sqlite" in name] == []


def test_a_deprecated_call_of_the_project_itself_fails_its_test(bake: Bake, tools: Path) -> None:
    project = bake()
    project.write(
        "tests/test_old.py",
        "import warnings\n\nfrom app import pages\n\n\n"
        "def test_old() -> None:\n"
        "    warnings.warn_explicit('old', DeprecationWarning, 'x.py', 1, module=pages.__name__)\n",
    )

    done = project.run("bin/test", "tests/test_old.py", VENV=str(tools))

    assert done.returncode == 1
    assert "DeprecationWarning: old" in done.stdout
