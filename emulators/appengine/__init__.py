"""App Engine on this machine, for tests: the real gcloud delivers to it and the app really runs.

    with AppEngine(project="demo-project") as gae:
        subprocess.run(["gcloud", "app", "deploy", ...], env=os.environ | gae.environment())

Each module's docstring names the sources that it is modelled after; docs/reality.md lists what is
assumed beyond them.

| module | what it stands for |
| --- | --- |
| `admin`, `operations` | App Engine Admin API v1: application, services, versions, traffic |
| `storage` | Cloud Storage: the staging and the default bucket, with preconditions |
| `logs`, `logfilter` | Cloud Logging: what each instance wrote, and the query language |
| `tokens` | login: service-account keys, GitLab's ID tokens through STS, impersonation |
| `builder` | Cloud Build: requirements.txt is installed with its hashes |
| `instance`, `machines` | where a version runs: one process, its environment, its address |
| `frontend` | what visitors meet: TLS, static files, the split, forwarded headers |
| `api`, `googleapi`, `faults`, `wire` | where requests come in: permissions, planted faults, HTTP |

What a test can set: `admin.latency` (seconds until an operation has ended), `front.propagation`
(seconds until a new split is everywhere), `storage.seconds_between_writes` (Google's is about 1),
`logs.delay` (seconds until a line can be read), `logs.empty_pages` (before a search finds
something), and `deadline` (of a request, its boot included; 10
seconds here, ten minutes at Google's).

Stricter than Google: every line of requirements.txt needs a hash. The runtime's Python is this
machine's of that version, or else its newest: a project for 3.14 is tested on a machine without it.

Not modelled: more than one instance per version and scaling, quotas and cost, memory limits, a
read-only file system for root, region and network settings, resumable uploads (files over 5 MB),
other services' addresses (`dispatch.yaml`), domains, request logs, App Engine flexible, the bundled
APIs, IAM policies. A request to any of it is answered 404 and kept in `unmodelled`. Apps bind to
the interface that their entrypoint names; everything else listens on 127.0.0.1 only.
"""

from .emulator import AppEngine
from .faults import Gate

__all__ = ["AppEngine", "Gate"]
