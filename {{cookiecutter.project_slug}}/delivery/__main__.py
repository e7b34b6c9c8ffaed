"""Lets `python -m delivery` run the command line in cli.py."""

from delivery.cli import main

raise SystemExit(main())
