"""Brings projects that this template made to a newer release of it, or to other answers.

An upgrade is a cherry-pick. The project's own version of the template is rendered with the
project's answers (BASE), and so is the wanted one (THEIRS). THEIRS becomes a commit whose parent is
BASE, and git cherry-picks it onto a branch of the project: what the template changed is merged into
what the project has.
"""
