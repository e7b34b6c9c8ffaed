"""Brings a commit to production, and back: `python -m delivery`, for people and the pipeline.

Each verb is a file of its name: deploy.py, verify.py, promote.py, rollback.py and so on. The verbs
say what delivering means and know no vendor. A target does it: target.py says what one must do,
and __main__.py names the one that this project has. README.md explains the whole to its users.
Only the standard library is used, so that a bare Python is enough to deliver and to roll back.
"""
