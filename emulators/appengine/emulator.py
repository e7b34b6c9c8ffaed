"""One App Engine on this machine: what the tests hold in their hands."""

import hashlib
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .admin import Admin
from .api import Api
from .frontend import FrontEnd, Service, Version
from .logs import Logs
from .machines import Certificates, Machines
from .storage import Storage
from .tokens import Tokens
from .wire import Server


@dataclass(frozen=True)
class Snapshot:
    """The default service, and the objects of the default bucket, at one moment."""

    allocations: dict[str, float]
    versions: dict[str, dict[str, Any]]
    objects: dict[str, bytes]


class AppEngine:
    """A project with App Engine, its APIs and its front end, alive inside a `with` block.

    `created=False` is a project before `gcloud app create`; `latency` is how long operations
    take (0 answers with finished ones, so gcloud need not poll every 5 s); `deadline` is how long
    a request may take, boot included (App Engine: 10 minutes); `auth=False` asks for no token.
    """

    def __init__(  # noqa: PLR0913 - every one has a default, and is a thing that tests vary
        self,
        project: str = "demo-project",
        *,
        created: bool = True,
        auth: bool = True,
        latency: float = 0.0,
        deadline: float = 10.0,
        seed: int = 1,
        port: int = 0,
    ):
        self.project = project
        self.tokens = Tokens(project)
        self._auth = auth
        self._stack = ExitStack()
        self._root = Path(tempfile.mkdtemp(prefix="appengine-"))
        self._stack.callback(shutil.rmtree, self._root, ignore_errors=True)
        self.staging_bucket = f"staging.{project}.appspot.com"
        self.default_bucket = f"{project}.appspot.com"
        self.storage = Storage(self.staging_bucket, self.default_bucket)
        self._certificates = Certificates(self._root)
        self.logs = Logs(project)
        machines = Machines(
            project, self._root, self.storage, self.logs, self._certificates, deadline=deadline
        )
        self.admin = Admin(
            project,
            machines,
            buckets=(self.staging_bucket, self.default_bucket),
            created=created,
            latency=latency,
        )
        self._stack.callback(self.admin.close)
        self.front = FrontEnd(self.admin.services, seed)
        front = Server(self.front.answer, tls=self._certificates.server)
        self._stack.callback(front.stop)
        machines.hostname = f"127.0.0.1:{front.port}"
        self.url = f"https://{machines.hostname}"
        self.api = Api(self.admin, self.storage, self.logs, self.tokens, auth=auth)
        server = Server(self.api.respond, port=port)
        self._stack.callback(server.stop)
        self.api_url = self.storage.url = f"http://127.0.0.1:{server.port}/"
        # The API's faults are planted on the emulator itself, the public address's on `front`.
        self.requests = self.api.requests
        self.unmodelled = self.api.unmodelled
        self.fail_next = self.api.faults.fail_next
        self.drop_next = self.api.faults.drop_next
        self.delay_next = self.api.faults.delay_next
        self.hold_next = self.api.faults.hold_next

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process and server by its handle, and remove every file."""
        self.heal()
        self._stack.close()

    def heal(self) -> None:
        """Forget every planted fault."""
        self.api.faults.clear()
        self.api.denied.clear()
        self.front.faults.clear()

    # What a test looks at

    @property
    def services(self) -> dict[str, Service]:
        return self.admin.services

    @property
    def traffic(self) -> dict[str, float]:
        """The default service's shares by version; empty before the first version."""
        service = self.services.get("default")
        return dict(service.allocations) if service else {}

    @property
    def versions(self) -> list[str]:
        """The ids of the default service's versions, in the order they were deployed."""
        service = self.services.get("default")
        return list(service.versions) if service else []

    def version(self, version: str, service: str = "default") -> Version:
        """Return a version: its resource, files, instance and count of answers by status."""
        return self.services[service].versions[version]

    def version_url(self, version: str, service: str = "default") -> str:
        return str(self.version(version, service).resource["versionUrl"])

    def uploads(self, version: str, service: str = "default") -> set[str]:
        """Return the names of the files that a version was made of, generated ones included."""
        return set(self.version(version, service).files)

    def received(self, version: str, service: str = "default") -> dict[str, bytes]:
        """Return every file that a version was made of as it came, generated ones included."""
        return dict(self.version(version, service).files)

    def staged(self) -> list[bytes]:
        """Return the content of every object in the app's buckets."""
        return self.storage.contents()

    def secrets(self) -> list[str]:
        """Return every string that no log, upload or left-over file may hold."""
        return self.tokens.secrets()

    # What a test arranges

    def copy_version(self, source: str, version: str, **files: str | None) -> Version:
        """Deploy, without any client, what `source` was made of, with some files changed.

        None leaves a file out; a file's name is a keyword, so tests pass `**{"app/x.py": "..."}`.
        """
        old = self.version(source)
        contents = dict(old.files) | {k: v.encode() for k, v in files.items() if v is not None}
        manifest = {
            name: {"sourceUrl": self._stage(data)}
            for name, data in contents.items()
            if files.get(name, "") is not None
        }
        resource = old.resource | {"id": version, "deployment": {"files": manifest}}
        return self.admin.install(old.service, resource, "the test")

    def _stage(self, data: bytes) -> str:
        """Store a file as gcloud does, under its SHA-1; return the URL for a manifest."""
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        self.storage.write(self.staging_bucket, name, data)
        return f"https://storage.googleapis.com/{self.staging_bucket}/{name}"

    def reset(self, version: str, *others: str) -> None:
        """Move all traffic to one version, keep `others` beside it, and forget the rest.

        The rest is every fault and delay, every other version, and what is in the default bucket.
        """
        self.heal()
        self.storage.empty(self.default_bucket)
        self.storage.seconds_between_writes = self.logs.delay = 0.0
        self.logs.empty_pages = 0
        self.admin.latency = self.front.propagation = 0.0
        self.admin.reset({version: 1.0}, {version, *others})

    def snapshot(self) -> Snapshot:
        """Remember the default service and the default bucket, for `restore`."""
        self.admin.settle()
        service = self.services["default"]
        objects = self.storage.buckets[self.default_bucket].objects
        return Snapshot(
            dict(service.allocations),
            {name: version.resource for name, version in service.versions.items()},
            {name: each.data for name, each in objects.items()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what was remembered, as `reset` does; what was deleted is built again."""
        self.admin.settle()
        for name in snapshot.versions.keys() - set(self.versions):
            self.admin.install("default", snapshot.versions[name], "the test")
        self.reset(*snapshot.versions)
        self.admin.reset(snapshot.allocations, snapshot.versions)
        for name, data in snapshot.objects.items():
            self.storage.write(self.default_bucket, name, data)

    @contextmanager
    def without(self, *permissions: str) -> Iterator[None]:
        """Refuse what needs one of `permissions`, in Google's words, for a while."""
        self.api.denied.update(permissions)
        try:
            yield
        finally:
            self.api.denied.difference_update(permissions)

    # What a client needs

    def environment(self, *, signed_in: bool = False) -> dict[str, str]:
        """Return the variables that lead gcloud and delivery to this emulator, with a private home.

        `signed_in` is the laptop on which `gcloud auth login` was done; otherwise gcloud has no
        account, as in a CI job.
        """
        config = Path(tempfile.mkdtemp(prefix="gcloud-", dir=self._root))
        base = self.api_url
        variables = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_APPENGINE": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{base}storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": base,
            "CLOUDSDK_AUTH_TOKEN_HOST": f"{base}token",
            "CLOUDSDK_CONFIG": str(config),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
            "SSL_CERT_FILE": str(self._certificates.bundle),
        }
        if not self._auth:
            variables["CLOUDSDK_AUTH_DISABLE_CREDENTIALS"] = "true"
        elif signed_in:
            token = self.access_token_file(f"developer@{self.project}.example")
            variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] = str(token)
        return variables

    def access_token_file(self, account: str) -> Path:
        """Write a token of an account, for gcloud on a laptop; return where it is."""
        token = Path(tempfile.mkdtemp(prefix="gcloud-", dir=self._root)) / "access-token"
        token.touch(0o600)
        token.write_text(self.tokens.issue(account))
        return token

    def service_account_key(self) -> dict[str, str]:
        """Return the value of GAE_KEY: the deployer's key, whose token_uri is this emulator's."""
        return self.tokens.key(f"{self.api_url}token")

    def gitlab_token(self, **claims: str | int) -> str:
        """Return a job's ID token; this project's provider trusts it unless `claims` differ."""
        return self.tokens.gitlab_token(**claims)

    @property
    def provider(self) -> str:
        """GCP_WORKLOAD_IDENTITY_PROVIDER: the provider that trusts `gitlab_token`."""
        return self.tokens.provider

    @property
    def service_account(self) -> str:
        """GCP_SERVICE_ACCOUNT: the deployer that both kinds of credentials stand for."""
        return self.tokens.deployer

    def client_tls(self) -> ssl.SSLContext:
        """Return a context that trusts the front end, for clients in the test's own process."""
        return ssl.create_default_context(cafile=str(self._certificates.authority))
