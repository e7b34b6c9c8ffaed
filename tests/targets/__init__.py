"""The same promises on every target: test_suite.py asks, and a file per target has its world."""
