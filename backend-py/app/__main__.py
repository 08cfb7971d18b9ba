"""`python -m app`: the service as the image runs it."""

import signal
import sys
from types import FrameType

from app.settings import load_settings


def main() -> None:
    # uvicorn puts this handler back and raises the signal again when it has finished, so that
    # the exit code is 0 under an init process too, where the default would make it 143.
    signal.signal(signal.SIGTERM, _exit)
    # Before the imports that take a while: a wrong setting is refused at once.
    load_settings()

    import uvicorn

    from app.connection import Connection

    uvicorn.run(
        "app.main:app",
        host="0.0.0.0",
        port=7860,
        # One worker: limits and caches live in the process.
        workers=1,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        # Below the ten seconds that `docker stop` waits.
        timeout_graceful_shutdown=8,
        timeout_keep_alive=30,
        limit_concurrency=None,
    )


def _exit(_: int, __: FrameType | None) -> None:
    sys.exit(0)


main()
