"""What stands in for Google and GitLab on this machine, for tests and for people who try things."""
