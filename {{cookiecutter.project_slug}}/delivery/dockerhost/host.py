"""What the deploying user may do on the host, as root: this program, and nothing else.

`prepare` installs it as /usr/local/sbin/delivery-host. sshd runs it for the project's own user,
whatever that user asked for (a forced command in authorized_keys), through sudo:

  sudo -n delivery-host PROJECT

What was asked is in SSH_ORIGINAL_COMMAND, which sudo lets through.

It is plain Python 3.11 and stands alone. Answers are JSON on stdout, complaints go to stderr. Exit
codes: 1 it failed, 2 it cannot be asked that, 3 somebody else was faster; all without a change.

The traffic is a tree of links that the proxy reads for each request, so that nothing is ever
reloaded. A request to DOMAIN takes one of 256 slots at random; the slot is a version's folder, and
the file in it has the name of the version's container:

  /var/lib/delivery/proxy/sites/DOMAIN -> ../projects/PROJECT
  /var/lib/delivery/proxy/projects/PROJECT/now -> splits/TAG
                                          /splits/TAG/00 ... ff -> ../../versions/VERSION
                                          /versions/VERSION/PROJECT--VERSION

`now` is replaced in one rename. So a split holds as a whole, and its tag tells whether it was
replaced since somebody looked.
"""

import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

PROTOCOL = 1  # what is asked and answered here; the other side refuses to talk to another one
SERIAL = 1  # higher with each release: prepare never puts an older program over a newer one
ROOT = Path("/var/lib/delivery")
SETTINGS = Path("/etc/delivery")
SLOTS = 256
PORT = 5000
MEMORY = Path("/run")  # no disk: what is there is gone when the power is
LARGEST = 2**20  # bytes of a record or of a split
START_TIMEOUT = 30.0  # seconds until an application has to answer
PATIENCE = 540  # seconds for all that is asked; whoever asked for the longest waits for 600
FAILED, MISUSED, CONFLICT = 1, 2, 3
NOT_AS_SENT = (ValueError, TypeError, AttributeError, RecursionError)  # JSON of another form

_PROJECT = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_VERSION = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_REVIEW = re.compile(r"mr-\d+")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9.-]*(?::\d+)?(?:/[a-z0-9][a-z0-9._-]*)+@sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[0-9a-f]{16}|none")
_COMMIT = re.compile(r"(?:v\d{8}t\d{6}-)?([0-9a-f]{8})")
_SETTING = re.compile(r"\s*(?:#.*|[^\s=]+=.*)?")
LONGEST = 36  # characters of a project or a version: together they become a host name

# What `ADD https://...` names is fetched by the engine, which reaches the networks of all projects.
# The last rule that fits counts; the files that are sent come by the last of these.
# https://docs.docker.com/build/building/variables/#experimental_buildkit_source_policy
SOURCES = {
    "http://*": "DENY",
    "https://*": "DENY",
    "git://*": "DENY",
    "http://buildkit-session/*": "ALLOW",
}
# As in compose.production.yaml: only /tmp can be written, and no container can harm another one.
HARDENED = (
    *("--read-only", "--tmpfs=/tmp:size=64m", "--tmpfs=/dev/shm:ro", "--tmpfs=/dev/mqueue:ro"),
    *("--cap-drop=ALL", "--security-opt=no-new-privileges:true"),
    *("--memory=384m", "--pids-limit=128"),
    *("--log-driver=json-file", "--log-opt=max-size=10m", "--log-opt=max-file=3"),
)


class RefusedError(Exception):
    """Why it was not done, and the exit code that says which kind of no it is."""

    def __init__(self, why: str, code: int = FAILED) -> None:
        super().__init__(why)
        self.code = code


class Project:
    """One project on this host."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.private = ROOT / "projects" / name
        self.public = ROOT / "proxy" / "projects" / name
        self.record = self.private / "record.json"
        try:
            self.domain = (self.private / "domain").read_text("utf-8").strip()
        except OSError as error:
            raise RefusedError(f"there is no project {name} here: {error}", MISUSED) from error

    # What can be asked

    def look(self, _words: list[str], _data: BinaryIO) -> object:
        """Return the versions, the split and its tag."""
        found = {
            row["Config"]["Labels"]["delivery.version"]: row["Created"]
            for row in self._containers()
        }
        split, tag = self._split()
        return {"domain": self.domain, "versions": found, "split": split, "tag": tag}

    def read_record(self, _words: list[str], _data: BinaryIO) -> object:
        """Return the record of deliveries and its tag."""
        text = self._record()
        return {"text": text, "tag": _tag_of(text)}

    def log(self, words: list[str], _data: BinaryIO) -> object:
        """Return the last lines that a version wrote, its own and those of its errors."""
        return _words(self._container(_version(words[0])), 200).splitlines()

    # What can be changed, one at a time

    def write_record(self, words: list[str], data: BinaryIO) -> object:
        """Replace the record that had this tag; return the new tag."""
        text = _text(data)
        json.loads(text)  # of a connection that broke, half of it may have come
        if _tag_of(self._record()) != _tag(words[0]):
            raise RefusedError("the record was written by someone else", CONFLICT)
        _write(self.record, text)
        return {"tag": _tag_of(text)}

    def move(self, words: list[str], data: BinaryIO) -> object:
        """Split the traffic, if the split that was there still has this tag."""
        wanted = {_version(name): share for name, share in json.loads(_text(data)).items()}
        split, tag = self._split()
        if tag != _tag(words[0]):
            raise RefusedError(f"the traffic was moved by someone else: {split}", CONFLICT)
        there = all((self._folder(name) / self._container(name)).is_file() for name in wanted)
        if not there or not abs(sum(wanted.values()) - 100) < 0.01 or min(wanted.values()) <= 0:
            raise RefusedError(f"the traffic cannot be split like this: {wanted}")
        return {"tag": self._switch(wanted)}

    def settle(self, _words: list[str], _data: BinaryIO) -> object:
        """Give the split another tag, so that a move that is still on its way comes too late."""
        return {"tag": self._switch(self._split()[0])}

    def deploy(self, words: list[str], data: BinaryIO) -> object:
        """Start a version beside the others, of an image by digest, or of files on stdin.

        Return when it answers. What does not start is removed again.
        """
        version, image = _version(words[0]), words[1] if len(words) > 1 else ""
        _check_settings(SETTINGS / f"{self.name}.env")
        # An image has no name here: one could be guessed, in the Dockerfile of another project.
        if image:
            image = _pull(_matching(_IMAGE, image, "image", limit=500), _text(data))
            _refuse_other_commit(version, image)
        else:
            image = self._build(version, data)
        try:
            if self._remove([version], keep=image):
                with _locked(self.private / SPLIT):  # a move on its way was meant for that one
                    self._switch(self._split()[0])
            self._start(version, image)
            folder = self._folder(version)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / self._container(version)).touch()
            _sync(folder)
            _sync(folder.parent)
            if _REVIEW.fullmatch(version):
                self._open_site(version)
        except BaseException:
            self._remove([version])
            _discard(image)
            raise
        return {}

    def delete(self, words: list[str], _data: BinaryIO) -> object:
        """Delete versions, with all that they take up on the disk."""
        self._remove([_version(word) for word in words])
        # What a day's builds did not use again; a build that finds its layers takes two seconds.
        ours = f"--filter=label=delivery.project={self.name}"
        with contextlib.suppress(RefusedError):  # there is one at a time on a host
            _docker("builder", "prune", "--force", "--filter=until=24h")
            _docker("image", "prune", "--force", ours)
        return {}

    # How

    def _container(self, version: str) -> str:
        return f"{self.name}--{version}"

    def _folder(self, version: str) -> Path:
        return self.public / "versions" / version

    def _containers(self) -> list[dict[str, Any]]:
        ours = f"--filter=label=delivery.project={self.name}"
        for _ in range(10):  # one may be deleted before it is inspected
            found = _docker("container", "ls", "--all", "--quiet", "--no-trunc", ours).split()
            try:
                rows = _inspect(*found) if found else []
                # What the owner runs of an image to look at it is no version.
                return [row for row in rows if "delivery.version" in row["Config"]["Labels"]]
            except RefusedError as error:
                if "no such container" not in str(error).lower():
                    raise
        raise RefusedError("the containers change all the time")

    def _build(self, version: str, data: BinaryIO) -> str:
        with tempfile.TemporaryDirectory(prefix="delivery-", dir=MEMORY) as folder:
            policy = Path(folder) / "policy.json"
            rules = [
                {"action": action, "selector": {"identifier": source}}
                for source, action in SOURCES.items()
            ]
            policy.write_text(json.dumps({"rules": rules}), "utf-8")
            command = [
                # Not with the logins that root has.
                *("docker", "--config", folder, "build", "--quiet"),
                f"--build-arg=APP_REVISION={version}",
                # Caches of its own: another project could leave anything in them.
                f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={self.name}",
                *(f"--label=delivery.project={self.name}", "-"),
            ]
            # The builder before BuildKit knows no policy: without buildx, fail.
            policies = {"DOCKER_BUILDKIT": "1", "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": str(policy)}
            return _run(command, data, {**os.environ, **policies}).strip()

    def _start(self, version: str, image: str) -> None:
        name = self._container(version)
        _docker(
            # Nobody reads what the image's health check finds, and it would start Python every
            # five seconds in each version that is kept.
            *("run", "--detach", "--pull=never", "--no-healthcheck"),
            *(f"--name={name}", f"--network=delivery-{self.name}"),
            *(f"--label=delivery.project={self.name}", f"--label=delivery.version={version}"),
            *(*HARDENED, f"--env-file={SETTINGS / self.name}.env"),
            *(f"--env=APP_REVISION={version}", f"--env=PORT={PORT}", "--env=TRUSTED_PROXIES=1"),
            image,
        )
        until = time.monotonic() + START_TIMEOUT
        while True:
            (row,) = _inspect(name)
            if not row["State"]["Running"]:
                raise RefusedError(
                    f"{version} has ended (exit code {row['State']['ExitCode']}):\n{_words(name)}"
                )
            if _answers(row["NetworkSettings"]["Networks"][f"delivery-{self.name}"]["IPAddress"]):
                break
            if time.monotonic() > until:
                raise RefusedError(
                    f"{version} gives no answer within {START_TIMEOUT:.0f} s:\n{_words(name)}"
                )
            time.sleep(0.1)
        # Only now: what crashes at its start would be started again and again.
        _docker("update", "--restart=unless-stopped", name)

    def _remove(self, versions: list[str], keep: str = "") -> bool:
        """Remove versions, as far as there is something of them; return whether there was."""
        with _locked(self.private / SPLIT):  # from here on, no traffic can be moved to them
            busy = sorted({*versions} & {*self._split()[0]})
            if busy:
                raise RefusedError(f"not with traffic: {', '.join(busy)}")
            for version in versions:
                if self._has_site(version):
                    self._site(version).unlink()
                shutil.rmtree(self.public / "reviews" / version, ignore_errors=True)
                shutil.rmtree(self._folder(version), ignore_errors=True)
        rows = [
            row
            for row in self._containers()
            if row["Config"]["Labels"]["delivery.version"] in versions
        ]
        names = [row["Name"].lstrip("/") for row in rows]
        if names:
            _docker("stop", *names)  # all at once; they finish what they are asked
            _docker("rm", "--force", "--volumes", *names)
        for image in {row["Image"] for row in rows} - {keep}:
            _discard(image)
        return bool(names)

    def _split(self) -> tuple[dict[str, float], str]:
        """Return the split and its tag."""
        for _ in range(100):  # it may be replaced while it is read
            try:
                tag = (self.public / "now").readlink().name
            except FileNotFoundError:
                return {}, "none"
            with contextlib.suppress(FileNotFoundError):
                return json.loads((self.public / "splits" / tag / "split.json").read_text()), tag
        raise RefusedError(f"{self.public / 'now'} leads nowhere")

    def _switch(self, split: dict[str, float]) -> str:
        """Let requests go to these versions from now on; return the split's tag."""
        tag = _lay_out(self.public, split)
        for old in (self.public / "splits").iterdir():
            if old.name != tag:
                shutil.rmtree(old, ignore_errors=True)
        return tag

    def _open_site(self, version: str) -> None:
        """Give a review app a name of its own: its links must not lead to production."""
        if self._site(version).is_symlink() and not self._has_site(version):
            raise RefusedError(f"{self._site(version).name} belongs to another project")
        folder = self.public / "reviews" / version
        folder.mkdir(parents=True, exist_ok=True)
        _link(folder / "versions", "../../versions")
        _lay_out(folder, {version: 100})
        _link(self._site(version), self._leads_to(version))

    def _site(self, version: str) -> Path:
        return ROOT / "proxy" / "sites" / f"{version}.{self.domain}"

    def _leads_to(self, version: str) -> str:
        return f"../projects/{self.name}/reviews/{version}"

    def _has_site(self, version: str) -> bool:
        """Whether there is a site of this version: the name may be that of another project's."""
        site = self._site(version)
        return site.is_symlink() and os.readlink(site) == self._leads_to(version)

    def _record(self) -> str:
        try:
            return self.record.read_text("utf-8")
        except FileNotFoundError:
            return ""


Verb = Callable[[Project, list[str], BinaryIO], object]
RECORD, SPLIT, VERSIONS = "record.lock", "split.lock", "versions.lock"
# Each kind waits for its own: a move does not wait for somebody's build. And who is sent what.
VERBS: dict[str, tuple[Verb, str, bool]] = {
    "look": (Project.look, "", False),
    "read-record": (Project.read_record, "", False),
    "log": (Project.log, "", False),
    "write-record": (Project.write_record, RECORD, True),
    "move": (Project.move, SPLIT, True),
    "settle": (Project.settle, SPLIT, False),
    "deploy": (Project.deploy, VERSIONS, True),
    "delete": (Project.delete, VERSIONS, False),
}


def main(arguments: list[str]) -> int:
    """Do what was asked; return the exit code."""
    try:
        # From root as a second word; sudo's rule allows the deploying user none.
        name, asked = [*arguments, os.environ.get("SSH_ORIGINAL_COMMAND", ""), ""][:2]
        verb, *words = asked.split() or [""]
        if verb not in VERBS:
            raise RefusedError(f"{verb!r} is not done here; known are: {' '.join(VERBS)}", MISUSED)
        run, lock, is_sent = VERBS[verb]
        project = Project(_matching(_PROJECT, name, "project"))
        with tempfile.SpooledTemporaryFile(LARGEST, dir=str(ROOT)) as data:
            if is_sent:  # all of it before the lock: whoever sends it may go away halfway
                shutil.copyfileobj(sys.stdin.buffer, data)
                data.seek(0)
            with _locked(project.private / lock) if lock else contextlib.nullcontext():
                answer = run(project, words, cast("BinaryIO", data))
    except RefusedError as error:
        print(error, file=sys.stderr)
        return error.code
    except IndexError:
        print(f"{asked!r} lacks a word", file=sys.stderr)
        return MISUSED
    except (*NOT_AS_SENT, OSError, subprocess.SubprocessError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"protocol": PROTOCOL, "answer": answer}), flush=True)
    return 0


def _matching(pattern: re.Pattern[str], text: str, what: str, limit: int = LONGEST) -> str:
    if len(text) > limit or not pattern.fullmatch(text):
        raise RefusedError(f"{text[:100]!r} is no {what}", MISUSED)
    return text


def _text(data: BinaryIO) -> str:
    text = data.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise RefusedError("that is too much", MISUSED)
    return text.decode()


def _version(text: str) -> str:
    return _matching(_VERSION, text, "version")


def _tag(text: str) -> str:
    return _matching(_TAG, text, "tag")


def _tag_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else "none"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it, however this process ends
        yield


def _check_settings(path: Path) -> None:
    """Name a line that docker would refuse; docker's own words would repeat it in a log."""
    for number, line in enumerate(path.read_text("utf-8", "replace").split("\n"), 1):
        if "\ufffd" in line or not _SETTING.fullmatch(line):
            raise RefusedError(f"{path}, line {number}: not of the form NAME=value; mend it there")


def _write(path: Path, text: str) -> None:
    """Replace a file; after a loss of power there is the old text or the new one."""
    new = path.with_suffix(".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Have the disk keep what a folder lists."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(path: Path, to: str) -> None:
    """Make or replace a link, at once."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    new.replace(path)


def _slots(split: dict[str, float]) -> list[str]:
    """Return the version of each slot."""
    slots: list[str] = []
    total = 0.0
    for version, share in sorted(split.items()):
        total += share
        slots += [version] * (round(total * SLOTS / 100) - len(slots))
    return slots


def _lay_out(folder: Path, split: dict[str, float]) -> str:
    """Fill the slots of a folder, and let `now` lead to them; return the split's new tag."""
    tag = secrets.token_hex(8)
    new = folder / "splits" / tag
    new.mkdir(parents=True)
    try:
        for slot, version in enumerate(_slots(split)):
            (new / f"{slot:02x}").symlink_to(f"../../versions/{version}")
        _write(new / "split.json", json.dumps(split))
        _sync(new.parent)
        _link(folder / "now", f"splits/{tag}")
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    with contextlib.suppress(OSError):  # it is done: after a loss of power, it may be undone
        _sync(folder)
    return tag


def _run(
    command: list[str], stdin: BinaryIO | None = None, environ: dict[str, str] | None = None
) -> str:
    """Run a program and return what it printed; raise RefusedError with what it complained of."""
    done = subprocess.run(
        command, stdin=stdin or subprocess.DEVNULL, capture_output=True, check=False, env=environ
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        words = [word for word in command if not word.startswith(("-", str(MEMORY)))]
        raise RefusedError(f"{' '.join(words[:3])}: {said[-3000:]}")
    return done.stdout.decode(errors="replace")


def _docker(*words: str) -> str:
    return _run(["docker", *words])


def _inspect(*names: str, kind: str = "container") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(_docker(kind, "inspect", *names))
    return rows


def _pull(image: str, config: str) -> str:
    """Pull an image with a login that is good for this moment, and is nowhere afterwards."""
    # Nothing else of docker's configuration: it can also name programs to start.
    logins = {"auths": json.loads(config or "{}").get("auths", {})}
    with tempfile.TemporaryDirectory(prefix="delivery-", dir=MEMORY) as folder:
        path = Path(folder) / "config.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(logins), "utf-8")
        _docker("--config", folder, "pull", "--quiet", image)
    (found,) = _inspect(image, kind="image")
    return str(found["Id"])


def _refuse_other_commit(version: str, image: str) -> None:
    """Raise RefusedError for the image of another commit: a variable IMAGE that was left behind.

    Nothing else would show it, as the name of the version is what /health answers.
    """
    (found,) = _inspect(image, kind="image")
    revision = (found["Config"].get("Labels") or {}).get("org.opencontainers.image.revision", "")
    made_of, wanted = _COMMIT.fullmatch(revision), _COMMIT.fullmatch(version)
    if made_of and wanted and made_of[1] != wanted[1]:
        _discard(image)
        raise RefusedError(
            f"IMAGE was built of commit {made_of[1]}, and not of that of {version}: unset it, and"
            " the server builds the image; in GitLab, job build sets it"
        )


def _discard(image: str) -> None:
    """Remove an image, unless a container needs it."""
    if not _docker("container", "ls", "--all", "--quiet", f"--filter=ancestor={image}"):
        _docker("image", "rm", "--force", image)


def _answers(address: str) -> bool:
    """Whether the application gives any answer; `verify` judges which."""
    connection = http.client.HTTPConnection(address, PORT, timeout=2)
    try:
        connection.request("GET", "/health")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _words(container: str, lines: int = 40) -> str:
    """Return the last lines that a container wrote."""
    done = subprocess.run(
        ["docker", "logs", f"--tail={lines}", container],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=30,
    )
    return done.stdout[-LARGEST:].decode(errors="replace").rstrip()


def _too_late(*_: object) -> None:
    """End what hangs, or waits for what hangs, before whoever asked has gone."""
    raise RefusedError(f"it was not done within {PATIENCE} s")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 30)  # again, for what hangs at cleaning up
    raise SystemExit(main(sys.argv[1:]))
