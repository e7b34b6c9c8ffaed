"""A target in memory for test_cli.py, also as a program: `python -m tests.delivery.memory VERB`."""

import json
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from delivery import cli
from delivery.destination import Destination
from delivery.errors import ConflictError, DeliveryError
from delivery.probe import Reply
from delivery.splits import Split
from delivery.target import Stored, Version

OLD = "v20261102t100000-bbbbbbbb"
NEW = "v20261103t100000-cccccccc"
PUBLIC = "https://app.test"
DEPLOYED = datetime(2026, 11, 10, tzinfo=UTC)


class MemoryTarget:
    """OLD serves and NEW waits; remembers what was changed, and fails where it is told to."""

    STEP: ClassVar[float] = 0.1
    FIRST_SERVES: ClassVar[bool] = False

    def __init__(self, *names: str, serving: str = OLD) -> None:
        self.deployed: dict[str, Version] = {}
        self.done: list[str] = []
        self.failures: dict[str, BaseException] = {}
        self.ill: set[str] = set()  # in production only
        self.record = Stored("", "0")
        self.chance = random.Random(1)  # noqa: S311 - the same chance in every run
        for name in names or (OLD, NEW):
            self._add(name, 100 if name == serving else 0)

    def _add(self, name: str, share: float) -> None:
        created = DEPLOYED + timedelta(hours=len(self.deployed))
        self.deployed[name] = Version(name, f"https://{name}.test", created, share)

    def _fail(self, function: str) -> None:
        if function in self.failures:
            raise self.failures.pop(function)

    def login(self) -> None:
        self._fail("login")

    def accept(self, version: str) -> None:
        assert version

    def deploy(self, version: str, source: Path) -> None:
        assert source.is_dir()
        self.done.append(f"deploy {version}")
        self._add(version, 0)

    def versions(self) -> list[Version]:
        return list(self.deployed.values())

    def serving(self) -> Split:
        return {v.id: v.share for v in self.deployed.values() if v.share}

    def set_traffic(self, split: Split) -> None:
        shares = " ".join(f"{name}={share:g}" for name, share in sorted(split.items()))
        self.done.append(f"traffic {shares}")
        for name, version in self.deployed.items():
            self.deployed[name] = replace(version, share=split.get(name, 0))
        self._fail("set_traffic")

    def settle(self) -> None:
        """Nothing is ever under way."""

    def url(self) -> str:
        self._fail("url")
        return PUBLIC

    def delete(self, versions: Sequence[str]) -> None:
        self.done += [f"delete {version}" for version in versions]
        for version in versions:
            del self.deployed[version]

    def log(self, version: str) -> list[str]:
        return [f"{version} has started"]

    def read_record(self) -> Stored:
        return self.record

    def write_record(self, text: str, tag: str) -> str:
        if tag != self.record.tag:
            raise ConflictError("changed")
        self.record = Stored(text, str(int(tag) + 1))
        return self.record.tag

    def fetch(self, url: str, timeout: float) -> Reply:
        """Answer as the versions would."""
        assert timeout > 0
        host = url.split("/")[2].removesuffix(".test")
        serving = self.serving()
        revision = self.chance.choices(list(serving), list(serving.values()))[0]
        revision = revision if host == "app" else host
        if host == "app" and revision in self.ill:
            return Reply(500)
        return Reply(200, json.dumps({"revision": revision}).encode())


def main() -> int:
    """Run a verb on a target in memory; write what was changed into the file $DONE.

    $ILL fails in production. It begins once $GATE, a pipe, has ended.
    """
    target = MemoryTarget()
    target.ill = {os.environ.get("ILL", "")}
    if "GATE" in os.environ:
        os.read(int(os.environ["GATE"]), 1)
    cli.fetch = target.fetch  # type: ignore[attr-defined]
    try:
        return cli.main(Destination(lambda _: target, ""), root=Path(os.environ["ROOT"]))
    finally:
        Path(os.environ["DONE"]).write_text("\n".join(target.done))


def failing(error: DeliveryError) -> MemoryTarget:
    """Make a target whose login fails."""
    target = MemoryTarget()
    target.failures["login"] = error
    return target


if __name__ == "__main__":
    sys.exit(main())
