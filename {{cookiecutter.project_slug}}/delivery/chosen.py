"""Where this project is delivered to: the one place that names a target, for cli.py."""

from delivery.google.appengine import AppEngine as Target

__all__ = ["Target"]
