"""Where this project is delivered to: the one place that names a target, for cli.py."""

from delivery.google.appengine import AppEngine as Target
from delivery.google.connect.connect import add_options, add_places, connect
from delivery.google.connect.doctor import doctor

__all__ = ["Target", "add_options", "add_places", "connect", "doctor"]
