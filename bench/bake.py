"""Measures what a person waits for at the start: see README.md here.

    uv run python -m bench.bake [--rounds N]

All that is compared is measured in turns, so that a machine that is busy for a while is so for
everyone; what is printed is the median.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from tests.conftest import TEMPLATE, clean_environment


def timed(*command: str | Path, cwd: Path) -> float:
    """Run a command that has to succeed; return how many seconds it took."""
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=clean_environment(), check=True, capture_output=True)
    return time.perf_counter() - start


def bake(template: Path, folder: Path) -> float:
    """Bake the defaults of a template from the command line."""
    options = ("--no-input", "--default-config", "--output-dir", folder)
    return timed(sys.executable, "-m", "cookiecutter", *options, template, cwd=folder)


def empty_template(folder: Path) -> Path:
    """Make the smallest template that Cookiecutter takes."""
    (folder / "{{cookiecutter.project_slug}}").mkdir(parents=True)
    (folder / "cookiecutter.json").write_text('{"project_slug": "hello-delivery"}')
    return folder


def measure_once(folder: Path, seconds: dict[str, list[float]]) -> None:
    """Bake, set up, test and commit once, in an empty folder."""
    empty = empty_template(folder / "template")
    for name in ("a", "b"):
        (folder / name).mkdir()
    seconds["bake of an empty template"].append(bake(empty, folder / "a"))
    seconds["bake"].append(bake(TEMPLATE, folder / "b"))
    project = folder / "b" / "hello-delivery"
    seconds["bin/setup, warm caches"].append(timed("bin/setup", cwd=project))
    seconds["bin/test"].append(timed("bin/test", cwd=project))
    for what, options in {"commit without hooks": ["--no-verify"], "commit": []}.items():
        with (project / "app" / "pages.py").open("a") as page:
            page.write(f"\n\n# {what}\n")
        seconds[what].append(timed("git", "commit", "-qam", what, *options, cwd=project))


def main() -> None:
    """Print the medians, and the differences that people feel."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(parser.parse_args().rounds):
        with tempfile.TemporaryDirectory() as folder:
            measure_once(Path(folder), seconds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    median["bake, beyond an empty one"] = median["bake"] - median["bake of an empty template"]
    median["bake to green tests"] = sum(
        median[name] for name in ("bake", "bin/setup, warm caches", "bin/test")
    )
    median["what the hooks add to a commit"] = median["commit"] - median["commit without hooks"]
    for name, value in median.items():
        print(f"{name:32} {value:6.2f} s")


if __name__ == "__main__":
    main()
