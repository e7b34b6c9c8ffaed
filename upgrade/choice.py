"""Which files of the template belong to some answers only: a render keeps those of its own.

cookiecutter.json names them under `_files_of`: prompt -> choice -> paths. A path may stand under
several choices of a prompt. hooks/post_gen_project.py does the same in every bake; it cannot import
this, as Cookiecutter runs it alone.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def keep_chosen(project: Path, context: Mapping[str, Any]) -> None:
    """Remove from a render the files of choices that were not made."""
    for prompt, paths_of in context.get("_files_of", {}).items():
        listed = {path for paths in paths_of.values() for path in paths}
        for path in listed - set(paths_of[context[prompt]]):
            if (project / path).is_dir():
                shutil.rmtree(project / path)
            else:
                (project / path).unlink()
