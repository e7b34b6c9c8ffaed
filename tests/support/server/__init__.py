"""A small rented server for the tests, and how visitors find it."""

from .names import Names
from .server import Server

__all__ = ["Names", "Server"]
