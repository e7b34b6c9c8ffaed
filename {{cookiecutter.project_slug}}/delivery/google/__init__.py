"""Google Cloud: App Engine behind the seam of target.py, its APIs and its login."""
