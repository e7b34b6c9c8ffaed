"""How gunicorn serves the application, on App Engine and in the container alike.

It listens on $PORT by itself. GUNICORN_CMD_ARGS="--access-logfile -" logs every request.
"""

import os

from gunicorn.config import Config
from gunicorn.glogging import Logger

from app import logs

# One process: it starts fastest, is smallest, and a fraction of a CPU has no use for a second.
# Where there are more CPUs, WEB_CONCURRENCY is their number. App Engine sends ten requests at once.
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
threads = 16

# Longer than proxies keep an idle connection (60 s), so that they close it: when the server does,
# a request may be on its way.
keepalive = 75

# Docker and Cloud Run kill what still runs ten seconds after SIGTERM.
graceful_timeout = 8

control_socket_disable = True  # nothing uses it, and the file system may be read-only


class logger_class(Logger):
    """Sends the server's lines where the application's go, in the same form."""

    def setup(self, cfg: Config) -> None:
        """Let the root logger, as app/logs.py sets it up, write what gunicorn would."""
        super().setup(cfg)
        logs.configure()
        for logger in (self.error_log, self.access_log):
            logger.handlers.clear()
            logger.propagate = True
