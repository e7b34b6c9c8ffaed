"""How long the verbs take on each target, against the emulators: `uv run python -m bench.delivery`.

Medians of the rounds, in seconds, and the requests that visitors lost meanwhile. Google's own
time, to build or to start something, comes on top.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from tests.support.visitors import Load
from tests.targets.scenes import delivered, start_over
from tests.targets.test_suite import WORLDS
from tests.targets.world import World

VERBS = ("deploy", "verify", "promote", "rollback", "prune")


def measure(world: World, rounds: int) -> tuple[dict[str, float], int, int]:
    """Return the median of each verb, how many requests there were, and how many were lost."""
    seconds: dict[str, list[float]] = {verb: [] for verb in VERBS}
    asked = lost = 0
    for number in range(rounds):
        start_over(world)
        with Load(world.where(), visitors=1, seconds=300) as load:
            world.commit({"app/static/new.txt": f"round {number}"})
            image = world.build()
            for verb in VERBS:
                seconds[verb].append(world.must_run(verb, **image).seconds)
        asked, lost = asked + load.revisions.total(), lost + len(load.lost)
    return {verb: statistics.median(each) for verb, each in seconds.items()}, asked, lost


def main() -> None:
    """Measure each target in turn, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'':12}", *(f"{verb:>9}" for verb in VERBS), f"{'requests':>9}", f"{'lost':>5}")
    for kind in WORLDS:
        with (
            tempfile.TemporaryDirectory() as folder,
            delivered(kind, Path(folder)) as world,
        ):
            medians, asked, lost = measure(world, options.rounds)
        row = (f"{medians[verb]:9.1f}" for verb in VERBS)
        print(f"{kind.deploy_to:12}", *row, f"{asked:9}", f"{lost:5}", flush=True)


if __name__ == "__main__":
    main()
