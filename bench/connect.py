"""`uv run python -m bench.connect`: times connecting, and draws docs/connect.svg from its output.

Against the emulators of Google Cloud and GitLab, so that what is measured is ours: gcloud's start,
Python's, the requests. Google's own time comes on top.
"""

import html
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from emulators.gitlab import GitLab
from emulators.google import Google
from tests.conftest import bake_quickly, clean_environment

ROUNDS = 5
LATENCY = 0.5  # seconds that each operation takes; App Engine's own is a minute or two
SVG = Path(__file__).parents[1] / "docs/connect.svg"
COLOURS = {"to create": "#d9a600", "there": "#3fb950", "differs": "#d9a600", "blocked": "#f85149"}
LINE, WIDTH = 17, 8.4  # of a character, in pixels


def main() -> None:
    """Measure a few rounds, print medians and ranges, draw the last one."""
    seconds: dict[str, list[float]] = {"plan": [], "connect": [], "again": [], "doctor": []}
    with tempfile.TemporaryDirectory() as folder:
        project = bake_quickly(Path(folder))
        for _ in range(ROUNDS):
            said = measure(project, seconds)
    for name, each in seconds.items():
        middle = statistics.median(each)
        print(f"{name:<8} {middle:5.2f} s   ({min(each):.2f} to {max(each):.2f})")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    print(f"{ROUNDS} rounds, {os.cpu_count()} CPUs, load {load:.1f}")
    command = "$ python -m delivery connect --region europe-west --yes"
    SVG.write_text(draw(f"{command}\n{said}"), "utf-8")


def measure(project: Path, seconds: dict[str, list[float]]) -> str:
    """Plan, connect, connect again and look, on two fresh projects; return what connect said."""
    with Google(latency=LATENCY, late=1) as google, GitLab() as gitlab:
        base = clean_environment() | google.environment() | gitlab.environment()
        environ = base | {"GAE_PROJECT": google.project}
        where = ("--gitlab-url", gitlab.url, "--gitlab-project", "acme/site")

        def run(name: str, verb: str, *rest: str) -> str:
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "delivery", verb, *where, *rest],
                cwd=project,
                env=environ,
                capture_output=True,
                text=True,
                check=True,
            )
            seconds[name].append(time.monotonic() - start)
            table, _, end = done.stdout.partition("Google's permissions")
            progress = [line for line in done.stderr.splitlines() if "..." not in line]
            return table + "\n".join(progress) + f"\nGoogle's permissions{end}"

        run("plan", "connect", "--dry-run")
        said = run("connect", "connect", "--region", "europe-west", "--yes")
        run("again", "connect", "--yes")
        run("doctor", "doctor")
    return said


def draw(text: str) -> str:
    """Return a terminal with this text in it, as SVG."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    width = max(map(len, lines)) * WIDTH + 32
    height = len(lines) * LINE + 32
    rows = []
    for number, line in enumerate(lines):
        shown = html.escape(line)
        colour = "#c9d1d9"
        if line.startswith("    "):
            colour = "#8b949e"
        elif re.match(r"  \S.* \(\d", line):
            colour = "#3fb950"
        for state, paint in COLOURS.items():
            mark = f"  {state}  "
            if mark in line:
                shown = shown.replace(mark, f'  <tspan fill="{paint}">{state}</tspan>  ')
        y = 28 + number * LINE
        rows.append(f'<text x="16" y="{y}" fill="{colour}" xml:space="preserve">{shown}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}"'
        ' font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">\n'
        "<title>python -m delivery connect: the plan, and how it is carried out</title>\n"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n'
        + "\n".join(rows)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
