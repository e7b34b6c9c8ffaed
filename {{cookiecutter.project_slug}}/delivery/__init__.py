"""Brings a commit to production, and back: `python -m delivery`, for people and the pipeline.

The verbs (release.py, traffic.py, upkeep.py) say what delivering means and know no vendor.
A target (target.py says what one must do, appengine.py is the first) does it.
Only the standard library is used, so that a bare Python is enough to deliver and to roll back.
"""
