"""Google Cloud Run behind the seam of target.py."""

from delivery.cloudrun import connect
from delivery.cloudrun.settings import SETTINGS
from delivery.cloudrun.target import CloudRun
from delivery.connect import set_up
from delivery.destination import Destination

DESTINATION = Destination(
    target=CloudRun,
    settings=SETTINGS,
    set_up=set_up(connect.CloudRun),
)
