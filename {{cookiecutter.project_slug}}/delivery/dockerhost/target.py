"""The target Docker host: a version is a container, and the proxy in front of all splits traffic.

Everything is asked of one program on the host, host.py: the user who delivers may start nothing
else there.
"""

import json
import re
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from delivery import names
from delivery.dockerhost.place import Place, ssh_options
from delivery.dockerhost.ssh import DOCTOR, Host
from delivery.errors import CommandError, ConflictError, MisuseError
from delivery.process import Runner
from delivery.splits import Split
from delivery.target import Stored, Version

# Within the 20 minutes that .gitlab-ci.yml gives a job, so that we can say what happened.
DEPLOY_TIMEOUT = 10 * 60.0
LONGEST = 36  # characters of a version, as in host.py
NEVER = datetime.fromtimestamp(0, UTC)
_VERSION = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")


class DockerHost:
    """One project on one host."""

    STEP: ClassVar[float] = 1.0
    FIRST_SERVES: ClassVar[bool] = False

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._host = Host(runner, Place("", 0, ""))
        self._tag = ""
        self._domain = ""

    def login(self) -> None:
        """Check the settings, and prepare the keys."""
        runner = self._runner
        place = Place.named(runner.environ, runner.root)
        self._host = Host(runner, place, ssh_options(runner.environ, runner.private))

    def accept(self, version: str) -> None:
        """Refuse what cannot be part of a container's name and of an address."""
        if not _VERSION.fullmatch(version) or len(version) > LONGEST:
            raise MisuseError(
                f"{version!r} cannot be the name of a version",
                why=f"it has 1 to {LONGEST} of a-z, 0-9 and single '-', and a letter first",
            )

    def deploy(self, version: str, source: Path) -> None:
        """Let the host pull the image that was tested, or build one; start it and wait for it."""
        image = self._runner.environ.get("IMAGE", "").strip()
        if image:
            words, stdin = ["deploy", version, image], self._registry_login(image)
        else:
            words, stdin = ["deploy", version], self._pack(source)
        doing = f"starting {version}"
        try:
            self._host.change(*words, doing=doing, stdin=stdin, timeout=DEPLOY_TIMEOUT)
        except CommandError as error:
            if error.then == DOCTOR:
                error.then = f"deliver a commit that fixes it; or, if it is the server: {DOCTOR}"
            raise

    def versions(self) -> list[Version]:
        """List the containers, and whatever has traffic."""
        found = self._look()
        split: Split = found["split"]
        made = {name: datetime.fromisoformat(when) for name, when in found["versions"].items()}
        return [
            Version(name, self._address(name), made.get(name, NEVER), split.get(name, 0.0))
            for name in sorted({*made, *split})
        ]

    def serving(self) -> Split:
        """Read how the traffic is split."""
        split: Split = self._look()["split"]
        return split

    def set_traffic(self, split: Split) -> None:
        """Split the traffic, if the split is the one that `serving` last saw."""
        words = json.dumps(split)
        stdin = self._file("split.json", words)
        try:
            self._host.change("move", self._tag, doing="moving the traffic", stdin=stdin)
        except ConflictError as error:
            failure = CommandError(error.what, why=error.why)
            failure.transient = True  # look again, and decide again
            raise failure from error

    def settle(self) -> None:
        """See to it that a move that is still on its way comes too late."""
        if self._runner.dry_run:
            return
        self._host.change("settle", doing="waiting for the traffic")

    def url(self) -> str:
        """Return the public address."""
        return f"https://{self._domain or self._look()['domain']}"

    def delete(self, versions: Sequence[str]) -> None:
        """Delete containers with their images, and what builds have left."""
        doing = f"deleting {', '.join(versions)}"
        self._host.change("delete", *versions, doing=doing, timeout=DEPLOY_TIMEOUT)

    def log(self, version: str) -> list[str]:
        """Return the last lines of the container's log."""
        lines: list[str] = self._host.ask("log", version, doing=f"reading the log of {version}")
        return lines

    def read_record(self) -> Stored:
        """Read the record from the host."""
        found = self._host.ask("read-record", doing="reading the record of deliveries")
        return Stored(found["text"], found["tag"])

    def write_record(self, text: str, tag: str) -> str:
        """Write the record unless it has changed."""
        doing = "writing the record of deliveries"
        stdin = self._file("record.json", text)
        try:
            answer = self._host.change("write-record", tag, doing=doing, stdin=stdin)
        except CommandError as error:
            error.transient = not isinstance(error, ConflictError)
            raise
        return str(answer["tag"])

    def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = self._host.ask("look", doing="looking at the server")
        self._tag, self._domain = found["tag"], found["domain"]
        return found

    def _address(self, version: str) -> str:
        """Return a version's own address: a review app has a name, so that its links work."""
        if names.is_review(version):
            return f"https://{version}.{self._domain}"
        return f"https://{self._domain}/.delivery/{version}"

    def _registry_login(self, image: str) -> Path:
        """Return docker's configuration with the job's login, good for as long as the job runs."""
        environ = self._runner.environ
        registry, password = environ.get("CI_REGISTRY", ""), environ.get("CI_REGISTRY_PASSWORD")
        auths = {}
        if password and image.startswith(f"{registry}/"):
            user = environ.get("CI_REGISTRY_USER", "")
            auths[registry] = {"username": user, "password": password}
        return self._file("docker.json", json.dumps({"auths": auths}))

    def _pack(self, source: Path) -> Path:
        """Return an archive of the files, as `docker build -` takes them."""
        archive = self._runner.private.path / "source.tar.gz"
        # Compressed, half of it is no archive: a connection that breaks off builds nothing.
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(source, arcname=".", filter=_anonymous)
        return archive

    def _file(self, name: str, text: str) -> Path:
        file = self._runner.private.path / name
        file.unlink(missing_ok=True)
        return self._runner.private.write(name, text)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who has the files here, and his umask: they would make another image of them."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member
