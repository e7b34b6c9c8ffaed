"""Cloud Run on this machine, for tests: the real gcloud deploys to it and containers really run.

    with CloudRun(project="demo-project") as run:
        subprocess.run(["gcloud", "run", "deploy", ...], env=os.environ | run.environment())

It needs a Docker engine. Each module's docstring names the sources that it is modelled after;
docs/reality.md lists what is assumed beyond them.

| module | what it stands for |
| --- | --- |
| `services`, `resources`, `rules` | Cloud Run Admin API v1: services, revisions, traffic |
| `registry` | Artifact Registry, and the registry of the GitLab project |
| `instance`, `machines` | where a revision runs: one container, its environment, its probe |
| `frontend` | what visitors meet: TLS, addresses of tags, the split, who may come in |
| `roles`, `api` | where requests come in: permissions by role, paths |

Cloud Storage, Cloud Logging, login and planted faults are those of `emulators.appengine`.

What a test can set: `run.latency` (seconds until a change begins to take effect), `run.hold_next()`
and `run.refuse_next(message)` (the next change waits at a gate, or is never brought about: spec
and status differ), `front.propagation` (seconds until a new split is everywhere), `logs.delay`,
`stop_instances()` (the next visitor waits for a start), `snapshot()` and `restore()`, `roles` (of
each account), and `deadline` (of a request, a start included).

Not modelled: more than one instance per revision and scaling (the numbers are kept and shown),
CPU limits, liveness probes, sidecars, volumes, secrets, the metadata server, jobs, VPC, domain
mappings, API v2, regions other than its own, request logs. A request to any of it is answered 404
and kept in `unmodelled`. Everything listens on 127.0.0.1 only.
"""

from emulators.appengine import Gate

from .emulator import CloudRun, Snapshot

__all__ = ["CloudRun", "Gate", "Snapshot"]
