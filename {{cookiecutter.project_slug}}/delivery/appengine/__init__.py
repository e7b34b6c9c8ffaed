"""Google App Engine (standard environment) behind the seam of target.py."""

from delivery.appengine import connect
from delivery.appengine.target import AppEngine
from delivery.connect import set_up
from delivery.destination import Destination

SETTINGS = """\
  GAE_PROJECT                     id of the Google Cloud project
  GCP_WORKLOAD_IDENTITY_PROVIDER  keyless login: projects/N/locations/global/
                                  workloadIdentityPools/POOL/providers/PROVIDER
  GCP_SERVICE_ACCOUNT             ... as this service account (its e-mail address)
  GITLAB_OIDC_TOKEN               ... with this token (id_tokens in .gitlab-ci.yml sets it)
  GAE_KEY                         or, instead of these three: a service account's key, as the
                                  path of a file or as its JSON text
In CI, GAE_PROJECT and one of the two logins are required. On a laptop none is needed: the account
and project that gcloud uses are used."""

DESTINATION = Destination(
    target=AppEngine,
    settings=SETTINGS,
    set_up=set_up(connect.AppEngine),
)
