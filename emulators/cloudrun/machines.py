"""Turns a revision's template into a container, and removes containers again.

Modelled after:

- https://cloud.google.com/run/docs/container-contract#env-vars for what an application finds in
  its environment, and `#memory`;
- https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start and
  https://github.com/transparency-dev/tesseract/issues/413 for the words where it does not listen,
  https://github.com/terraform-google-modules/terraform-docs-samples/pull/254 for those of a
  startup probe that fails;
- the common reasons of https://cloud.google.com/run/docs/reference/rest/v2/Condition.
"""

import threading
from collections.abc import Collection
from functools import partial
from typing import Any
from urllib.parse import quote

from emulators.appengine.logs import Logs

from .frontend import FrontEnd
from .instance import Container, Docker, Hello, Probe, PullError, bytes_of
from .registry import Registry
from .resources import SAMPLES, Instance, Revision
from .services import DeployError

Json = dict[str, Any]


class Machines:
    """Where revisions live; the API says which ones."""

    def __init__(  # noqa: PLR0913 - the emulator's parts, handed over once
        self,
        project: str,
        region: str,
        *,
        docker: Docker,
        images: Registry,
        logs: Logs,
        front: FrontEnd,
        deadline: float,
    ):
        self.registry = images.host
        self._project = project
        self._region = region
        self._docker = docker
        self._images = images
        self._logs = logs
        self._front = front
        self._deadline = deadline
        self._enders: list[threading.Thread] = []

    def url(self, service: str, tag: str = "") -> str:
        """Return the address of a service or of one of its tags."""
        return self._front.url(service, tag)

    def prepare(self, service: str, revision: str, template: Json) -> Instance:
        """Return the instance of a revision that is to be started."""
        spec = template["spec"]
        container = spec["containers"][0]
        image = container["image"]
        if image.startswith(SAMPLES):
            return Hello()
        port = container["ports"][0]["containerPort"]
        environment = {
            "PORT": str(port),
            "K_SERVICE": service,
            "K_REVISION": revision,
            "K_CONFIGURATION": service,
            **{each["name"]: each.get("value", "") for each in container.get("env") or []},
        }
        memory = bytes_of(container["resources"]["limits"]["memory"])
        options = [f"--memory={memory}", f"--memory-swap={memory}"]
        command = container.get("command") or []
        if command:
            options.append(f"--entrypoint={command[0]}")
        labels = {
            "service_name": service,
            "revision_name": revision,
            "configuration_name": service,
            "location": self._region,
        }
        return Container(
            docker=self._docker,
            image=image,
            environment=environment,
            options=options,
            arguments=[*command[1:], *(container.get("args") or [])],
            probe=Probe.of(container["startupProbe"], port),
            timeout=min(float(spec["timeoutSeconds"]), self._deadline),
            write=partial(self._logs.write, labels),
        )

    def start(self, revision: Revision) -> None:
        """Get the image and start it; DeployError says why it does not run."""
        container = revision.template["spec"]["containers"][0]
        image = container["image"]
        if isinstance(revision.instance, Container):
            if not self._images.has(image):
                raise DeployError("ContainerMissing", f"Image '{image}' not found.")
            try:
                self._docker.pull(image)
            except PullError as error:
                raise DeployError("ContainerMissing", f"{image}: {error}") from error
        if not revision.instance.start(self._deadline):
            raise DeployError("HealthCheckContainerError", self._failure(revision, container))

    def _failure(self, revision: Revision, container: Json) -> str:
        probe = container["startupProbe"]
        if "tcpSocket" in probe and probe["timeoutSeconds"] == 240:
            words = (
                "The user-provided container failed to start and listen on the port defined "
                f"provided by the PORT={container['ports'][0]['containerPort']} environment "
                "variable within the allocated timeout. This can happen when the container port "
                "is misconfigured or if the timeout is too short. The health check timeout can be "
                "extended."
            )
        else:
            words = "The user-provided container failed the configured startup probe checks."
        query = quote(
            'resource.type="cloud_run_revision"\n'
            f'resource.labels.service_name="{revision.service}"\n'
            f'resource.labels.revision_name="{revision.name}"',
            safe="",
        )
        return (
            f"{words} Logs for this revision might contain more information.\n\n"
            f"Logs URL: https://console.cloud.google.com/logs/viewer?project={self._project}"
            f"&resource=cloud_run_revision/service_name/{revision.service}/revision_name/"
            f"{revision.name}&advancedFilter={query} \n"
            "For more troubleshooting guidance, see "
            "https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start"
        )

    def end(self, instances: Collection[Instance]) -> None:
        """Remove instances, without waiting for it."""
        for instance in instances:
            thread = threading.Thread(target=instance.remove, daemon=True)
            self._enders.append(thread)
            thread.start()

    def close(self) -> None:
        """Wait until all that was to be removed is."""
        while self._enders:
            self._enders.pop().join()
