"""`python -m delivery connect` and `doctor`: from empty projects to the first delivery.

Both work on one list of resources, in the order in which they are made. connect looks at all of
them at once, shows what it found, asks, and makes what is missing, or with --undo removes what it
made. doctor only looks. Nothing is stored between two runs: what there is, is read each time.

A target declares its list in a subclass of Connection (connection.py), and its verbs with
`set_up(ThatClass)` in its Destination. Each resource is a Resource (resource.py) that can say what
there is (`look`), make it (`create`), tell whether it was made here (`made`), remove it (`remove`),
and name the commands that do the same by hand (`commands`). Two parts are shared: project.py has
the resources of every GitLab project, and delivery/google/connect those of every Google target.
"""

from functools import partial

from delivery.connect.connect import add_options, connect
from delivery.connect.connection import Connection, add_options_of
from delivery.connect.doctor import doctor
from delivery.destination import SetUp


def set_up(kind: type[Connection]) -> dict[str, SetUp]:
    """Return the verbs of a target that has a list of resources."""
    what = kind.WHERE
    return {
        "connect": SetUp(
            f"make what is lacking in {what} and GitLab",
            partial(connect, kind),
            partial(add_options, kind),
        ),
        "doctor": SetUp(
            "say what is wrong with what connect set up",
            partial(doctor, kind),
            partial(add_options_of, kind),
        ),
    }
