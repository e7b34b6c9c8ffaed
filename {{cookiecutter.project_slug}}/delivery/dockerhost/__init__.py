"""A server of one's own, with Docker and SSH, behind the seam of target.py."""

from delivery.destination import Destination, SetUp
from delivery.dockerhost.place import SETTINGS
from delivery.dockerhost.prepare import add_options, doctor, prepare
from delivery.dockerhost.target import DockerHost

DESTINATION = Destination(
    target=DockerHost,
    settings=SETTINGS,
    set_up={
        "prepare": SetUp("set a server up for this project", prepare, add_options),
        "doctor": SetUp("say what is wrong with that server", doctor, add_options),
    },
    keep=2,  # the versions stay in memory
)
