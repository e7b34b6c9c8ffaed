"""App Engine on this machine, for tests: the real gcloud delivers to it and the app really runs.

    with AppEngine(project="demo-project") as gae:
        subprocess.run(["gcloud", "app", "deploy", ...], env=os.environ | gae.environment())

Modelled, as far as `gcloud app deploy`, `app versions`, `app services` and `app describe` go:

- Admin API v1: application, services, versions, traffic, operations (finished at once, or after
  `latency` seconds), and their rules: the first service is `default`, the first version gets all
  traffic, a version with traffic or the last one stays, reserved and overlong ids, known runtimes,
  one operation at a time on a resource.
- The staging bucket, and the token exchanges: a service-account key (its signature is verified),
  GitLab's ID token through STS (signature, audiences, expiry, project) and impersonation.
- The build: requirements.txt is installed with its hashes into an environment of its own. Stricter
  than Google, which takes requirements without hashes too. The runtime's Python is this machine's
  of that version, or else its newest: a project for 3.14 is tested on a machine without it.
- The run: app.yaml's entrypoint with $PORT, GAE_* and env_variables and nothing of the test's own
  environment; booted at the first request, which waits; warmed up if app.yaml asks for it; a dead
  process answers 500 and is booted anew, a silent one 504 after `deadline` (10 s; Google: 10 min).
- The front end: TLS by a test authority, an address per version and one for the app, split by
  random (seeded), cookie or IP address; static handlers and `secure: always`; X-Forwarded-* and
  trace headers. A request stays with its version while traffic moves. A version whose host name
  would be longer than 63 characters gets a certificate that does not fit, as with Google.
- Faults before or after a request takes effect (errors, delays, lost or held answers) and missing
  permissions in Google's words.

Not modelled: more than one instance per version and scaling, quotas and cost, memory limits, a
read-only file system for root, region and network settings, resumable uploads (files over 5 MB),
other services' addresses (`dispatch.yaml`), domains, logs, App Engine flexible, the bundled APIs,
IAM policies. A request to any of it is answered 404 and kept in `unmodelled`. Apps bind to the
interface that their entrypoint names; everything else listens on 127.0.0.1 only.
"""

from .emulator import AppEngine
from .faults import Gate

__all__ = ["AppEngine", "Gate"]
