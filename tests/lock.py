"""`python -m tests.lock [--upgrade]`: locks the template again, by the bin/lock of a bake."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from tests.conftest import PROJECT, TEMPLATE


def main() -> None:
    """Bake, lock there, and take the locks back into the template."""
    with tempfile.TemporaryDirectory() as folder:
        baked = Path(cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder))
        subprocess.run([baked / "bin" / "lock", *sys.argv[1:]], check=True)
        for name in ("requirements.txt", "requirements-dev.txt"):
            shutil.copyfile(baked / name, PROJECT / name)


if __name__ == "__main__":
    main()
