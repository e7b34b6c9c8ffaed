"""`python -m emulators.cloudrun`: an emulator to play with; emulators/README.md shows how."""

from emulators.appengine.command import serve

from .emulator import CloudRun

if __name__ == "__main__":
    serve(
        "emulators.cloudrun",
        lambda o: CloudRun(o.project, port=o.port, latency=o.latency),
        "GCP_KEY",
        lambda run: {
            "GCP_PROJECT": run.project,
            "RUN_REGION": run.region,
            "CLOUDSDK_RUN_REGION": run.region,
        },
    )
