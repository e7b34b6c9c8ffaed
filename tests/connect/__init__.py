"""`python -m delivery connect` and `doctor`, against the emulators of Google Cloud and GitLab."""
