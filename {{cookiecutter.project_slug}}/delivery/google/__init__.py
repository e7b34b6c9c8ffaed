"""Google Cloud: its APIs, and how to log in."""
