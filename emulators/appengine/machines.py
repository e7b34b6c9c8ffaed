"""Turns the resource of a version into files, a process and an address, and removes them again.

Modelled after:

- https://cloud.google.com/appengine/docs/standard/python3/runtime#environment_variables for what an
  app finds in its environment, and https://cloud.google.com/appengine/docs/standard#instance_classes
  for memory;
- https://cloud.google.com/appengine/docs/standard/how-requests-are-routed and
  googlecloudsdk.api_lib.app.deploy_command_util for the address of a version, and the 63 characters
  past which its certificate does not fit.
"""

import itertools
import os
import ssl
import time
from functools import partial
from pathlib import Path
from typing import Any

import trustme

from .builder import Builder, BuildError
from .frontend import Version
from .instance import Instance
from .logs import Logs
from .storage import Storage
from .wire import Server

MEMORY_MB = {"F1": "384", "F2": "768", "F4": "1536", "F4_1G": "3072"}
LONGEST_HOST = 63


class Certificates:
    """A certificate authority for one emulator, and the files that make clients trust it."""

    def __init__(self, root: Path):
        authority = trustme.CA()
        self.server = self._context(authority, "127.0.0.1")
        self.misnamed = self._context(authority, "too-long.invalid")
        self.authority = root / "ca.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        system = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        known = Path(system).read_bytes() if system and Path(system).is_file() else b""
        self.bundle = root / "ca-bundle.pem"
        self.bundle.write_bytes(known + b"\n" + authority.cert_pem.bytes())

    @staticmethod
    def _context(authority: trustme.CA, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context


class Machines:
    """Where versions live; the Admin API says which ones."""

    def __init__(  # noqa: PLR0913 - the emulator's parts, handed over once
        self,
        project: str,
        root: Path,
        storage: Storage,
        logs: Logs,
        certificates: Certificates,
        *,
        deadline: float,
    ):
        self.hostname = ""  # known once the app's own server listens
        self._project = project
        self._root = root
        self._storage = storage
        self._logs = logs
        self._certificates = certificates
        self._deadline = deadline
        self._builder = Builder(root)
        self._numbers = itertools.count(1)

    def start(self, service: str, resource: dict[str, Any], created_by: str) -> Version:
        """Build a version, give it an address and complete its resource; it boots when asked."""
        files = {
            name: self._fetch(name, source["sourceUrl"])
            for name, source in resource["deployment"]["files"].items()
        }
        entrypoint = resource.get("entrypoint", {}).get("shell", "")
        build = self._builder.build(files, resource["runtime"], entrypoint)
        number = next(self._numbers)
        home = self._root / f"instance-{number}"
        home.mkdir()
        resource = {"instanceClass": "F1", **resource}
        environment = {
            "PATH": f"{build.venv / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "TMPDIR": str(home),
            "LANG": "C.UTF-8",
            "GAE_APPLICATION": f"e~{self._project}",
            "GAE_DEPLOYMENT_ID": str(time.time_ns()),
            "GAE_ENV": "standard",
            "GAE_INSTANCE": f"instance-{number:08x}",
            "GAE_MEMORY_MB": MEMORY_MB.get(resource["instanceClass"], "384"),
            "GAE_RUNTIME": resource["runtime"],
            "GAE_SERVICE": service,
            "GAE_VERSION": resource["id"],
            "GOOGLE_CLOUD_PROJECT": self._project,
            **resource.get("envVariables", {}),
        }
        warmup = "INBOUND_SERVICE_WARMUP" in resource.get("inboundServices", [])
        labels = {"module_id": service, "version_id": resource["id"], "zone": "europe-west1-1"}
        instance = Instance(
            build,
            environment,
            warmup=warmup,
            deadline=self._deadline,
            write=partial(self._logs.write, labels),
        )
        version = Version(service, resource["id"], resource, files, instance)
        # Past 63 characters Google's certificate no longer covers the host that it hands out.
        host = f"{version.id}-dot-{service}-dot-{self._project}"
        fits = len(host) <= LONGEST_HOST
        tls = self._certificates.server if fits else self._certificates.misnamed
        version.server = Server(version.answer, tls=tls)
        resource |= {
            "name": f"apps/{self._project}/services/{service}/versions/{version.id}",
            "env": "standard",
            "servingStatus": "SERVING",
            "createTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "createdBy": created_by,
            "diskUsageBytes": str(sum(map(len, files.values()))),
            "versionUrl": f"https://127.0.0.1:{version.server.port}",
        }
        return version

    def end(self, version: Version) -> None:
        """Let a version's requests finish, then end its processes and close its address."""
        version.instance.stop()
        if version.server is not None:
            version.server.stop()
            version.server = None
            self._builder.discard(version.instance.build)

    def _fetch(self, name: str, url: str) -> bytes:
        bucket, _, key = url.removeprefix("https://storage.googleapis.com/").partition("/")
        data = self._storage.read(bucket, key) if bucket in self._storage.buckets else None
        if data is None:
            raise BuildError(f"source file is not in the bucket: {name}")
        return data
