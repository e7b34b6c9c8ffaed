"""Measurements; bench/README.md says how each is made."""

import sys
from pathlib import Path

# As pytest does (pyproject.toml): what a bake holds is imported as it stands in the template.
sys.path.append(str(Path(__file__).parent.parent / "{{cookiecutter.project_slug}}"))
