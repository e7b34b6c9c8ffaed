"""One Cloud Run on this machine: what the tests hold in their hands."""

import base64
import secrets
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from emulators.appengine.logs import Logs
from emulators.appengine.machines import Certificates
from emulators.appengine.storage import Storage
from emulators.appengine.tokens import PROJECT_NUMBER, Tokens
from emulators.appengine.wire import Server

from .api import Api
from .frontend import FrontEnd
from .instance import Docker
from .machines import Machines
from .registry import ArtifactRegistry, Registry, RegistryError
from .resources import Revision, Service
from .roles import DEPLOYER, allows
from .services import Services, copied

HOST = "run.test"  # reserved for tests by RFC 6761; only the emulator's proxy knows it


@dataclass(frozen=True)
class Snapshot:
    """Services, and the objects of the bucket, at one moment."""

    services: dict[str, Service]
    objects: dict[str, bytes]


class CloudRun:
    """A project with Cloud Run in one region, alive inside a `with` block.

    `latency` is how long a change takes until it begins to have an effect, in seconds; `deadline`
    how long a request or a start may take at most, whatever the service says; `auth=False` asks
    for no token. `name` is the repository in Artifact Registry that exists.
    """

    def __init__(  # noqa: PLR0913 - every one has a default, and is a thing that tests vary
        self,
        project: str = "demo-project",
        *,
        region: str = "europe-west1",
        name: str = "app",
        auth: bool = True,
        latency: float = 0.0,
        deadline: float = 30.0,
        seed: int = 1,
        port: int = 0,
    ):
        self.project = project
        self.region = region
        self.tokens = Tokens(project)
        self.owner = f"developer@{project}.example"
        self.roles: dict[str, set[str]] = {
            self.owner: {"roles/owner"},
            self.service_account: set(DEPLOYER),
        }
        self._auth = auth
        self._stack = ExitStack()
        self._root = Path(tempfile.mkdtemp(prefix="cloudrun-"))
        self._stack.callback(shutil.rmtree, self._root, ignore_errors=True)
        self.bucket = f"{project}-delivery-{region}"
        self.storage = Storage(self.bucket)
        self._certificates = Certificates(self._root)
        self.logs = Logs(project, "cloud_run_revision")
        self.docker = Docker(self._root / "docker", secrets.token_hex(4))
        self._stack.callback(self.docker.close)
        self.images = ArtifactRegistry(
            self._root / "images",
            self.tokens.owner,
            self._check_image,
            {f"{project}/{name}"},
            region,
        )
        self._stack.callback(self.images.close)
        self.repository = f"{self.images.host}/{project}/{name}"
        agent = f"service-{PROJECT_NUMBER}@serverless-robot-prod.iam.gserviceaccount.com"
        self.roles[agent] = {"roles/artifactregistry.reader"}
        login = f"oauth2accesstoken:{self.tokens.issue(agent, seconds=7 * 86400)}"
        self.docker.log_in(self.images.host, base64.b64encode(login.encode()).decode())
        self.gitlab = GitLabRegistry(self._root / "gitlab")
        self._stack.callback(self.gitlab.close)
        self.front = FrontEnd(
            self._find,
            self._certificates.server,
            seed,
        )
        self._stack.callback(self.front.close)
        machines = Machines(
            project,
            region,
            docker=self.docker,
            images=self.images,
            logs=self.logs,
            front=self.front,
            deadline=deadline,
        )
        self._stack.callback(machines.close)
        self.run = Services(project, region, machines, latency=latency)
        self._stack.callback(self.run.close)
        self.api = Api(self.run, self.storage, self.logs, self.tokens, auth=auth)
        self.api.authorize = self._authorize
        server = Server(self.api.respond, port=port)
        self._stack.callback(server.stop)
        self.api_url = self.storage.url = f"http://127.0.0.1:{server.port}/"
        # The API's faults are planted on the emulator itself, the public address's on `front`,
        # the registry's on `images`, and those of what happens after an answer on `run`.
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
        """End every container and server by its handle, and remove every file."""
        self.heal()
        self._stack.close()

    def heal(self) -> None:
        """Forget every planted fault."""
        self.run.heal()
        self.api.faults.clear()
        self.api.denied.clear()
        self.front.faults.clear()
        self.images.faults.clear()
        self.gitlab.faults.clear()

    # What a test looks at

    @property
    def service(self) -> Service:
        """The only service, or the first one."""
        return next(iter(self.run.services.values()))

    @property
    def url(self) -> str:
        """The public address of that service."""
        return self.service.url

    @property
    def traffic(self) -> dict[str, int]:
        """Its shares in per cent, as they are: by tag, or by revision for one without a tag.

        Google's sample, with which a service begins, is left out.
        """
        if not self.run.services:
            return {}
        service = self.service
        tags = {revision: tag for tag, revision in service.tags.items()}
        return {
            tags.get(name, name): share
            for name, share in service.shares.items()
            if name in tags or not service.revisions[name].is_sample
        }

    @property
    def versions(self) -> list[str]:
        """Its tags."""
        return list(self.service.tags) if self.run.services else []

    def revision(self, version: str) -> Revision:
        """Return what a tag leads to, or the revision of that name."""
        return self.service.revisions[self.service.tags.get(version, version)]

    def version_url(self, version: str) -> str:
        """Return a tag's address."""
        return self.front.url(self.service.name, version)

    def staged(self) -> list[bytes]:
        """Return the content of every object in the bucket, and every manifest of an image."""
        return [*self.storage.contents(), *self.images.documents(), *self.gitlab.documents()]

    def secrets(self) -> list[str]:
        """Return every string that no log, upload or left-over file may hold."""
        given = [*self.images.secrets(), *self.gitlab.secrets()]
        return [*self.tokens.secrets(), *given]

    # What a test arranges

    def snapshot(self) -> Snapshot:
        """Remember the services and the bucket, for `restore`."""
        self.run.settle()
        objects = self.storage.buckets[self.bucket].objects
        return Snapshot(
            {name: copied(service) for name, service in self.run.services.items()},
            {name: each.data for name, each in objects.items()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to what was remembered; every fault, delay and log entry is forgotten.

        Its revisions must still be there. What has come since ends, without being waited for.
        """
        self.heal()
        self.run.latency = self.front.propagation = self.logs.delay = 0.0
        self.run.settle()
        self.run.keep(snapshot.services)
        self.logs.empty_pages = 0
        self.logs.forget()
        self.storage.seconds_between_writes = 0.0
        self.storage.empty(self.bucket)
        for name, data in snapshot.objects.items():
            self.storage.write(self.bucket, name, data)

    def stop_instances(self) -> None:
        """End every instance, as when nobody has come for a while: the next visitor waits."""
        for service in self.run.services.values():
            for revision in service.revisions.values():
                revision.instance.end()

    @contextmanager
    def without(self, *permissions: str) -> Iterator[None]:
        """Refuse what needs one of `permissions`, in Google's words, for a while."""
        self.api.denied.update(permissions)
        try:
            yield
        finally:
            self.api.denied.difference_update(permissions)

    def _find(self, service: str) -> Service | None:
        return self.run.services.get(service)

    def _authorize(self, account: str, permission: str, _bucket: str) -> None:
        if not allows(self.roles.get(account, set()), permission):
            raise self.api.denial(permission, account)

    def _check_image(self, account: str, permission: str) -> None:
        if permission in self.api.denied:
            raise PermissionError(permission)
        if self._auth and not allows(self.roles.get(account, set()), permission):
            raise PermissionError(permission)

    # What a client needs

    def environment(self, *, signed_in: bool = False) -> dict[str, str]:
        """Return the variables that lead gcloud, docker and delivery to this emulator.

        With a private home for gcloud. `signed_in` is the laptop on which `gcloud auth login` was
        done; otherwise gcloud has no account, as in a CI job.
        """
        config = Path(tempfile.mkdtemp(prefix="gcloud-", dir=self._root))
        base = self.api_url
        variables = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://{HOST}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{base}storage/v1/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STS": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING": base,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE": base,
            "CLOUDSDK_AUTH_TOKEN_HOST": f"{base}token",
            # gcloud puts the region before the override's host: only a proxy finds that.
            "http_proxy": base,
            "no_proxy": "127.0.0.1,localhost",
            "CLOUDSDK_CONFIG": str(config),
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
            "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
            "CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API": "false",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
            "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
            "SSL_CERT_FILE": str(self._certificates.bundle),
            "RUN_REPOSITORY": self.repository,
        }
        if not self._auth:
            variables["CLOUDSDK_AUTH_DISABLE_CREDENTIALS"] = "true"
        elif signed_in:
            token = config / "access-token"
            token.write_text(self.tokens.issue(self.owner))
            variables["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] = str(token)
        return variables

    def service_account_key(self) -> dict[str, str]:
        """Return the value of GCP_KEY: the deployer's key, whose token_uri is this emulator's."""
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


class GitLabRegistry(Registry):
    """The registry of the GitLab project: a job's password logs in, and may do all."""

    def __init__(self, folder: Path):
        self.user = "gitlab-ci-token"
        self.password = f"glcbt-64_{secrets.token_urlsafe(16)}"
        super().__init__(folder, self._sign_in, self._check)

    def _sign_in(self, user: str, password: str) -> str | None:
        return user if (user, password) == (self.user, self.password) else None

    def _check(self, account: str, _name: str, _action: str) -> None:
        if not account:
            raise RegistryError(403, "DENIED", "requested access to the resource is denied")

    def variables(self) -> dict[str, str]:
        """Return what GitLab sets in a job:
        https://docs.gitlab.com/ci/variables/predefined_variables/"""
        return {
            "CI_REGISTRY": self.host,
            "CI_REGISTRY_IMAGE": f"{self.host}/client/project",
            "CI_REGISTRY_USER": self.user,
            "CI_REGISTRY_PASSWORD": self.password,
        }

    def secrets(self) -> list[str]:
        """Return the password, and every token that was handed out."""
        return [self.password, *super().secrets()]
