"""Makes a release of the template: `python -m release VERSION`; the pipeline then publishes it."""
