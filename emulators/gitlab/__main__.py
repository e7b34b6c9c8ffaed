"""`python -m emulators.gitlab`: a GitLab with one project to play with."""

import argparse
import signal
import threading

from .server import GitLab


def main() -> None:
    """Print export lines for a shell, then serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m emulators.gitlab", description=__doc__)
    parser.add_argument("--project", default="acme/site", help="GROUP/NAME (default: %(default)s)")
    parser.add_argument("--version", default="18.5.0-ee")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    with GitLab(options.project, version=options.version, port=options.port) as gitlab:
        print(f"export GITLAB_TOKEN={gitlab.token}")
        print(
            f"# --gitlab-url {gitlab.url} --gitlab-project {options.project}  Ctrl-C ends it",
            flush=True,
        )
        stop.wait()


if __name__ == "__main__":
    main()
