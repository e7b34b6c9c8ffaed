"""Measures the image against the guide's, the page against a bare Flask's, and servers.

    uv run bench/containers.py [--rounds N] [--seconds N] [guide] [page] [servers]

Needs Linux, a Docker engine and wrk. All that is compared is measured in turns, so that a machine
that is busy for a while is so for everyone; what is printed is the median, and the range.
"""

import argparse
import contextlib
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

TEMPLATE = Path(__file__).parents[1]
sys.path.insert(0, str(TEMPLATE))  # for the helpers that the tests have

from tests.conftest import bake_quickly  # noqa: E402
from tests.support.engine import Container, container, docker, inspect  # noqa: E402
from tests.support.switch import Switch  # noqa: E402
from tests.support.visitors import Load  # noqa: E402
from tests.support.waiting import until  # noqa: E402

RUN = f"bench-{uuid.uuid4().hex[:8]}"
F1 = ("--cpus=0.6", "--memory=384m")  # App Engine's smallest class
GRANIAN = "2.8.7"
MEGABYTE = 1_000_000
# The application, with a view that says what the guide's says and one that waits for 50 ms.
VIEWS = """\
import time

from flask import Flask, render_template

from app import create_app as plain


def bare():
    app = Flask("app")
    app.add_url_rule("/", view_func=lambda: render_template("index.html", revision="dev"))
    return app


def create_app():
    app = plain()
    app.add_url_rule("/hello", view_func=lambda: "Hello World!")
    app.add_url_rule("/wait", endpoint="wait", view_func=lambda: time.sleep(0.05) or "waited")
    return app
"""
COMMANDS = {
    "gunicorn": "gunicorn --workers={} --threads={} views:create_app()",
    "granian": (
        "python -m granian --interface=wsgi --factory --host=0.0.0.0 --port=5000"
        " --workers={} --blocking-threads={} views:create_app"
    ),
}
SIZES = ((1, 8), (1, 16), (2, 8))
SERVERS = {
    f"{name} {processes} x {threads}": command.format(processes, threads).split()
    for name, command in COMMANDS.items()
    for processes, threads in SIZES
}
WARM = 10_000  # requests, after which memory is looked at
STEADY = 200
TICKS = os.sysconf("SC_CLK_TCK")
TALL = 100  # from here on, a table needs no decimals

Samples = defaultdict[tuple[str, str], list[float]]


def bake(folder: Path) -> Path:
    """Bake the default project."""
    return bake_quickly(folder, project_slug=RUN)


def build(folder: Path, tag: str, *options: str) -> float:
    """Build an image; return the seconds that it took."""
    begun = time.monotonic()
    docker("build", "--quiet", f"--label=run={RUN}", f"--tag={RUN}:{tag}", *options, str(folder))
    return time.monotonic() - begun


def address(made: Container) -> str:
    """Return the address inside Docker's network: published ports have a proxy in front."""
    networks = inspect(made.id)["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


def serves(host: str) -> bool:
    """Whether the front page is there."""
    with contextlib.closing(http.client.HTTPConnection(host, 5000, timeout=5)) as server:
        try:
            server.request("GET", "/")
            return server.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


@contextlib.contextmanager
def started(
    tag: str, *command: str, options: tuple[str, ...] = F1
) -> Iterator[tuple[Container, str, float]]:
    """Start a container; yield it, its address and the milliseconds to its first page."""
    with tempfile.TemporaryDirectory() as folder:
        views = Path(folder, "views.py")
        views.write_text(VIEWS)
        views.chmod(0o644)
        files = {str(views): "/srv/views.py"} if command else {}
        with container(f"{RUN}:{tag}", *command, options=options, files=files) as made:
            host = address(made)
            until(lambda: serves(host), "the first page")
            served = datetime.now(UTC)
            begun = datetime.fromisoformat(inspect(made.id)["State"]["StartedAt"])
            yield made, host, (served - begun).total_seconds() * 1000


def wrk(host: str, path: str, seconds: int, connections: int = 16) -> dict[str, float]:
    """Ask as fast as it answers; return requests per second, their number, and milliseconds."""
    said = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--latency",
            f"http://{host}:5000{path}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if failed := re.search(r"(Socket errors|Non-2xx).*", said):
        print(f"  {host}{path}: {failed[0]}", file=sys.stderr)
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    found = {"requests/s": float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])}
    found["number"] = float(re.findall(r"(\d+) requests in", said)[0])
    for percent in ("50", "99"):
        value, unit = re.findall(rf"\s{percent}%\s+([\d.]+)(us|ms|s)\b", said)[0]
        found[f"p{percent}"] = float(value) * scale[unit]
    return found


def megabytes(container_id: str) -> float:
    """Return the memory of a container, without the cache of files that can be dropped."""
    used = docker("stats", "--no-stream", "--format={{.MemUsage}}", container_id).split()[0]
    number, unit = re.findall(r"([\d.]+)(\w+)", used)[0]
    return float(number) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / MEGABYTE


def show(title: str, samples: Samples, rows: list[str], columns: list[str]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for row in rows:
        cells = []
        for column in columns:
            values = samples[row, column]
            digits = 0 if statistics.median(values) >= TALL else 2 if " / " in column else 1
            low, middle, high = (
                f"{v:,.{digits}f}" for v in (min(values), statistics.median(values), max(values))
            )
            cells.append(middle if low == high else f"{middle} ({low} to {high})")
        print(f"| {row} | {' | '.join(cells)} |")


def against_the_guide(project: Path, guide: Path, rounds: int, seconds: int) -> None:
    """Compare with the guide's image: builds, size, start, requests."""
    samples: Samples = defaultdict(list)
    text = (project / "Dockerfile").read_text()
    (base,) = re.findall("^ARG BASE=(.+)$", text, re.MULTILINE)
    sources = {"guide": (guide, guide / "app.py"), "here": (project, project / "app" / "pages.py")}
    for n in range(rounds):
        for name, (folder, source) in sources.items():
            # Cold: no layer, and no package in the cache that the build keeps for itself.
            cold = text.replace("type=cache,", f"type=cache,id={uuid.uuid4().hex}-$TARGETARCH,")
            (project / "Dockerfile").write_text(cold)
            samples["cold build, s", name].append(
                build(folder, name, "--no-cache", f"--build-arg=BASE={base}")
            )
            (project / "Dockerfile").write_text(text)
            build(folder, name, f"--build-arg=BASE={base}")
            source.write_text(f"{source.read_text()}# {uuid.uuid4()}\n")
            edited = build(folder, name, f"--build-arg=BASE={base}")
            samples["build after an edit, s", name].append(edited)
            added = inspect(f"{RUN}:{name}")["Size"] - inspect(base)["Size"]
            samples["MB over the base", name].append(added / MEGABYTE)
        for where, options in (
            (" on this machine", (f"--env=WEB_CONCURRENCY={os.cpu_count()}",)),
            (" on an F1", F1),
        ):
            for name in sources:
                command = ["gunicorn", "views:create_app()"] if name == "here" else []
                with started(name, *command, options=options) as (_, host, start):
                    samples[f"first page{where}, ms", name].append(start)
                    rate = wrk(host, "/", seconds)["requests/s"]
                    samples[f"requests/s{where}, own page", name].append(rate)
                    same = "/hello" if name == "here" else "/"
                    rate = wrk(host, same, seconds)["requests/s"]
                    samples[f"requests/s{where}, same text", name].append(rate)
        print(f"guide: round {n + 1} of {rounds}", file=sys.stderr)
    rows = list(dict.fromkeys(row for row, _ in samples))
    for row in rows:
        pairs = zip(samples[row, "here"], samples[row, "guide"], strict=True)
        samples[row, "here / guide"] = [round(a / b, 2) for a, b in pairs]
    show("Against the guide", samples, rows, ["guide", "here", "here / guide"])


def against_a_bare_flask(rounds: int, seconds: int) -> None:
    """Compare the page with that of a Flask which renders the same template and does no more."""
    samples: Samples = defaultdict(list)
    rows = ["requests/s", "requests per CPU second"]
    factories = {"bare Flask": "views:bare()", "here": "views:create_app()"}
    with contextlib.ExitStack() as stack:
        made = {
            name: stack.enter_context(started("here", "gunicorn", factory, options=()))
            for name, factory in factories.items()
        }
        for n in range(rounds + 1):
            found: dict[str, tuple[float, float]] = {}
            for name in sorted(made, reverse=bool(n % 2)):  # in turns, each first in half of them
                box, host, _ = made[name]
                before = cpu_seconds(box)
                asked = wrk(host, "/", seconds)
                used = cpu_seconds(box) - before
                found[name] = (asked["requests/s"], asked["number"] / used)
            if n:  # the first round warms them up
                for row, here, bare in zip(rows, found["here"], found["bare Flask"], strict=True):
                    samples[row, "here"].append(here)
                    samples[row, "bare Flask"].append(bare)
                    samples[row, "here / bare"].append(here / bare)
            print(f"page: round {n} of {rounds}", file=sys.stderr)
    show("Against a bare Flask", samples, rows, ["bare Flask", "here", "here / bare"])


def cpu_seconds(made: Container) -> float:
    """Return the CPU time that a container's processes have used until now."""
    stats = made.read("sh", "-c", "cat /proc/[0-9]*/stat").splitlines()
    fields = [line.rpartition(")")[2].split() for line in stats]
    return sum(int(user) + int(system) for user, system in (f[11:13] for f in fields)) / TICKS


def servers(rounds: int, seconds: int) -> None:
    """Compare servers in a container of an F1's size."""
    samples: Samples = defaultdict(list)
    for n in range(rounds):
        for name, command in SERVERS.items():
            one_server(samples, name, command, seconds)
            samples[name, "lost on restart"].append(restart(command))
        print(f"servers: round {n + 1} of {rounds}", file=sys.stderr)
    columns = ["first page, ms", "requests/s", "p50, ms", "p99, ms", "MB", "50 ms view, requests/s"]
    columns += ["50 ms view, p99, ms", "lost on restart"]
    show("Servers, processes x threads", samples, list(SERVERS), columns)


def one_server(samples: Samples, name: str, command: list[str], seconds: int) -> None:
    """Measure a server: start, requests, memory after 10,000 of them, a view that waits."""
    with started("servers", *command) as (made, host, start):
        samples[name, "first page, ms"].append(start)
        found = wrk(host, "/", seconds)
        samples[name, "requests/s"].append(found["requests/s"])
        samples[name, "p50, ms"].append(found["p50"])
        samples[name, "p99, ms"].append(found["p99"])
        number = found["number"]
        while number < WARM:
            number += wrk(host, "/", seconds)["number"]
        samples[name, "MB"].append(megabytes(made.id))
        found = wrk(host, "/wait", seconds, connections=32)
        samples[name, "50 ms view, requests/s"].append(found["requests/s"])
        samples[name, "50 ms view, p99, ms"].append(found["p99"])


def restart(command: list[str]) -> int:
    """Replace a container under load as the tests do; count the requests that got no answer."""
    plain = [part.replace("views:", "app:") for part in command]
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(container(f"{RUN}:servers", *plain, options=F1))
        until(old.answers, "the old container")
        new = stack.enter_context(container(f"{RUN}:servers", *plain, options=F1))
        until(new.answers, "the new container")
        switch = stack.enter_context(Switch(old.port))
        with Load(switch.port, visitors=10, pause=0.005) as load:
            until(lambda: load.revisions.total() > STEADY, "load on the old container")
            switch.move(new.port)
            old.terminate()
            old.exit_code()
        return len(load.lost)


def main() -> None:
    """Measure what is asked for, and remove what that made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "what", nargs="*", default=["guide", "page", "servers"], help="guide, page, servers"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        parser.error("wrk is not installed: apt-get install wrk, or brew install wrk")
    try:
        with tempfile.TemporaryDirectory() as folder:
            project = bake(Path(folder))
            guide = Path(shutil.copytree(TEMPLATE / "bench" / "guide", Path(folder, "guide")))
            build(project, "here")
            both = Path(folder, "servers")
            both.mkdir()
            Path(both, "Dockerfile").write_text(
                f"FROM {RUN}:here\n"
                "USER root\n"
                "ENV PYTHONPATH=/opt/granian\n"
                f"RUN pip install --quiet --target=/opt/granian granian=={GRANIAN}\n"
                "USER 10001\n"
            )
            if "page" in asked.what:
                against_a_bare_flask(asked.rounds, asked.seconds)
            if "servers" in asked.what:
                build(both, "servers")
                servers(asked.rounds, asked.seconds)
            if "guide" in asked.what:
                against_the_guide(project, guide, asked.rounds, asked.seconds)
    finally:
        if images := docker("images", "--all", "--quiet", f"--filter=label=run={RUN}").split():
            docker("image", "rm", "--force", *dict.fromkeys(images))


if __name__ == "__main__":
    main()
