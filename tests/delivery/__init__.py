"""The unit tests of the baked `delivery/`, run against the template's files as they stand."""
