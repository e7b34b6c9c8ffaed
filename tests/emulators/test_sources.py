"""What is modelled names its source, and what is only assumed stands in docs/reality.md."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE

pytestmark = pytest.mark.fast

# These stand for nothing of Google's: they start the emulator, and plant faults in it.
OURS = {"__init__", "__main__", "command", "emulator", "faults"}
MODULES = sorted(p for p in (TEMPLATE / "emulators").rglob("*.py") if p.stem not in OURS)
SOURCE = re.compile(r"https://|googlecloudsdk\.|\bSources?:")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_module_names_the_source_of_what_it_models(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert SOURCE.search(text), "its docstring says what it is modelled after"


def test_each_assumption_has_a_source_a_judgement_and_a_consequence() -> None:
    text = (TEMPLATE / "docs" / "reality.md").read_text("utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assumptions = [row for row in rows if re.fullmatch(r" *[A-Z]\d+", row[0])]
    names = [row[0].strip() for row in assumptions]
    assert len(names) == len(set(names)) > 50
    for row in assumptions:
        assert len(row) == 6, row
        assert all(cell.strip() for cell in row), row
