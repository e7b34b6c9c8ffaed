"""The Google Cloud APIs that set a project up, for tests: beside the App Engine emulator.

    with Google(project="demo-project") as google:
        subprocess.run(["gcloud", "iam", ...], env=os.environ | google.environment())

One port answers for all of them, App Engine's own (emulators.appengine) included: Resource Manager,
Service Usage, Cloud Billing, IAM, Organization Policy, Artifact Registry, bucket policies of Cloud
Storage, and the list of builds. `uv run python -m emulators.google` runs it by hand.

Modelled:

- Permissions per caller: a caller has what its roles have in the policies of project, account and
  bucket (roles.py), and nothing else, on the App Engine and Storage APIs too. The owner has all;
  `deny` takes some away. So a delivery with the account that `connect` made proves its roles.
- Policies with etags (a stale one is a 409), versions and conditions; members that must exist.
- Operations that take `latency` seconds; accounts that are not known for a while (`late`).
- Soft-deleted pools and providers, whose names stay taken.
- Login with GitLab's ID tokens by the providers that were created: issuer, audience, condition,
  mapping, and then who may be which account.
- What a delivery to Cloud Run needs beside IAM: its services without containers (cloud_run.py),
  buckets, policies of image repositories.
- APIs that are off, billing that is not linked, organisation policies, in Google's words.

Each module names the sources of its behaviour; what has none is in docs/reality.md.
"""

from .emulator import Google

__all__ = ["Google"]
