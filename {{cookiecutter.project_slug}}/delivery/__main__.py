"""Lets `python -m delivery` run cli.py; the one place that names where the project goes."""

from delivery import {{ cookiecutter.deploy_to | replace("-", "") }}
from delivery.cli import main

raise SystemExit(main({{ cookiecutter.deploy_to | replace("-", "") }}.DESTINATION))
