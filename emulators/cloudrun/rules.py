"""What Cloud Run refuses or completes in a service that a client sends.

Modelled after:

- https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services and
  `RevisionTemplate`, `TrafficTarget` in it;
- https://github.com/knative/specs/blob/main/specs/serving/knative-api-specification-1.0.md: a
  target names a revision or says latestRevision, per cents are whole and add up to 100;
- https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#tags: a tag and the
  service's name have 46 characters together at most, as the name of a host has limits;
- https://cloud.google.com/run/docs/container-contract for reserved variables,
  https://cloud.google.com/run/docs/configuring/services/memory-limits and `concurrency`;
- https://cloud.google.com/run/docs/deploying#images for the registries that it takes images from;
- googlecloudsdk.command_lib.run.config_changes for names of revisions.

The words of most refusals are assumptions: docs/reality.md.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from emulators.appengine.tokens import PROJECT_NUMBER
from emulators.appengine.wire import ApiError

from .instance import bytes_of

LONGEST_NAME = 63
LONGEST_SERVICE = 49  # https://cloud.google.com/run/docs/deploying
TAG_AND_SERVICE = 46
NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
REGISTRIES = re.compile(
    r"(?:[a-z0-9-]+\.)?gcr\.io|(?:[a-z0-9-]+-)?docker\.pkg\.dev|docker\.io|ghcr\.io"
)
RESERVED = {"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"}
SMALLEST_MEMORY = 128 * 2**20
LARGEST_MEMORY = 32 * 2**30
LARGEST_CONCURRENCY = 1000
LONGEST_TIMEOUT = 3600
Json = dict[str, Any]


def check_name(name: str) -> None:
    """Refuse a service's name that cannot be part of a host's."""
    if NAME.fullmatch(name) is None or len(name) > LONGEST_SERVICE:
        raise invalid(
            f"metadata.name: name must use only lowercase alphanumeric characters and dashes, "
            f"must begin with a letter, and cannot end with a dash; at most {LONGEST_SERVICE} "
            f"characters: {name!r}"
        )


def completed(spec: Mapping[str, Any], service: str, registry: str) -> Json:
    """Return the spec with Cloud Run's defaults, once it is found to be valid.

    `registry` is a host that is allowed beside Google's: the emulator's own.
    """
    template = deepcopy(spec.get("template") or {})
    template.setdefault("metadata", {})
    template["spec"] = _completed_revision(template.get("spec") or {}, registry)
    _check_revision_name(template["metadata"].get("name"), service)
    traffic = deepcopy(spec.get("traffic") or [{"latestRevision": True, "percent": 100}])
    for target in traffic:
        if target.get("percent") == 0:
            del target["percent"]  # a field that is zero is left out
        if not target.get("latestRevision", True):
            del target["latestRevision"]
    check_traffic(traffic, service)
    return {"template": template, "traffic": traffic}


def check_traffic(traffic: list[Json], service: str) -> None:
    """Refuse targets that name nothing, or both, per cents that are not 100, and wrong tags."""
    total, tags = 0, set()
    for number, target in enumerate(traffic):
        where = f"spec.traffic[{number}]"
        if bool(target.get("latestRevision")) == bool(target.get("revisionName")):
            raise invalid(f"{where}: exactly one of latestRevision and revisionName must be set")
        percent = target.get("percent", 0)
        if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
            raise invalid(f"{where}.percent: must be a whole number from 0 to 100: {percent}")
        total += percent
        tag = target.get("tag")
        if tag is None:
            continue
        if NAME.fullmatch(tag) is None:
            raise invalid(
                f"{where}.tag: must use only lowercase alphanumeric characters and dashes, must "
                f"begin with a letter, and cannot end with a dash: {tag!r}"
            )
        if len(tag) + len(service) > TAG_AND_SERVICE:
            raise invalid(
                f"{where}.tag: the tag and the service name have {len(tag) + len(service)} "
                f"characters together, and may have {TAG_AND_SERVICE}: {tag!r}"
            )
        if tag in tags:
            raise invalid(f"{where}.tag: {tag!r} is used by more than one target")
        tags.add(tag)
    if total != 100:
        raise invalid(f"spec.traffic: the sum of percent must be 100, and is {total}")


def _check_revision_name(name: str | None, service: str) -> None:
    if not name:
        return
    if not name.startswith(f"{service}-"):
        raise invalid(
            f"spec.template.metadata.name: Revision name must be prefixed by Service name with a "
            f"single hyphen: {name!r}"
        )
    if NAME.fullmatch(name) is None or len(name) > LONGEST_NAME:
        raise invalid(
            f"spec.template.metadata.name: at most {LONGEST_NAME} lowercase alphanumeric "
            f"characters and dashes, not ending in a dash: {name!r}"
        )


def _completed_revision(spec: Mapping[str, Any], registry: str) -> Json:
    completed = {
        "containerConcurrency": 80,
        "timeoutSeconds": 300,
        "serviceAccountName": f"{PROJECT_NUMBER}-compute@developer.gserviceaccount.com",
        **deepcopy(dict(spec)),
    }
    containers = completed.get("containers") or []
    if len(containers) != 1:
        raise invalid("spec.template.spec.containers: exactly one container is modelled")
    concurrency, timeout = completed["containerConcurrency"], completed["timeoutSeconds"]
    if not 1 <= concurrency <= LARGEST_CONCURRENCY:
        raise invalid(f"spec.template.spec.container_concurrency: 1 to 1000, not {concurrency}")
    if not 1 <= timeout <= LONGEST_TIMEOUT:
        raise invalid(f"spec.template.spec.timeout_seconds: 1 to 3600, not {timeout}")
    completed["containers"] = [_completed_container(containers[0], registry, concurrency)]
    return completed


def _completed_container(container: Mapping[str, Any], registry: str, concurrency: int) -> Json:
    where = "spec.template.spec.containers[0]"
    host = str(container.get("image", "")).partition("/")[0]
    if host != registry and REGISTRIES.fullmatch(host) is None:
        raise invalid(
            f"{where}.image: Expected an image path like [host/]repo-path[:tag and/or @digest], "
            "where host is one of [region.]gcr.io, [region-]docker.pkg.dev or docker.io but "
            f"obtained {container.get('image', '')}. To deploy container images from other public "
            "or private registries, set up an Artifact Registry remote repository."
        )
    for variable in container.get("env") or []:
        if variable.get("name") in RESERVED:
            raise invalid(
                f"{where}.env: The following reserved env names were provided: "
                f"{variable['name']}. These values are automatically set by the system."
            )
    ports = container.get("ports") or [{}]
    port = int(ports[0].get("containerPort") or 8080)
    limits = {"cpu": "1000m", "memory": "512Mi"} | dict(
        (container.get("resources") or {}).get("limits") or {}
    )
    try:
        memory = bytes_of(limits["memory"])
    except ValueError:
        raise invalid(f"{where}.resources.limits.memory: {limits['memory']!r}") from None
    if millicpus(limits["cpu"]) < 1000 and concurrency > 1:
        raise invalid("Total cpu < 1 is not supported with concurrency > 1.")
    if not SMALLEST_MEMORY <= memory <= LARGEST_MEMORY:
        raise invalid(
            f"{where}.resources.limits.memory: Invalid value specified for memory: "
            f"{limits['memory']}. It must be between 128Mi and 32Gi."
        )
    default = {
        "tcpSocket": {"port": port},
        "timeoutSeconds": 240,
        "periodSeconds": 240,
        "failureThreshold": 1,
    }
    return {
        **deepcopy(dict(container)),
        "ports": [{"name": "http1", **ports[0], "containerPort": port}],
        "resources": {"limits": limits},
        "startupProbe": _completed_probe(container["startupProbe"], port)
        if container.get("startupProbe")
        else default,
    }


def _completed_probe(probe: Mapping[str, Any], port: int) -> Json:
    """Fill in https://cloud.google.com/run/docs/configuring/healthchecks#http-startup-probe."""
    completed = {"timeoutSeconds": 1, "periodSeconds": 10, "failureThreshold": 3} | dict(probe)
    for kind in ("httpGet", "tcpSocket"):
        if kind in completed:
            completed[kind] = {"port": port, **completed[kind]}
    if completed["timeoutSeconds"] > completed["periodSeconds"]:
        raise invalid("startup_probe: timeoutSeconds must not be greater than periodSeconds")
    if completed["failureThreshold"] * completed["periodSeconds"] > 240:
        raise invalid("startup_probe: failureThreshold times periodSeconds is at most 240")
    return completed


def millicpus(quantity: str) -> float:
    """Return a Kubernetes quantity such as 500m or 2 in thousandths of a CPU."""
    try:
        return float(quantity[:-1]) if quantity.endswith("m") else float(quantity) * 1000
    except ValueError:
        raise invalid(
            f"spec.template.spec.containers[0].resources.limits.cpu: {quantity}"
        ) from None


def invalid(message: str) -> ApiError:
    """Return a 400."""
    return ApiError(400, message)
