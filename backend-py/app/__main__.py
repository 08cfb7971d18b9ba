"""`python -m app`: the service as the image runs it."""

import signal
import sys
from types import FrameType

from app.settings import load_settings


def main() -> None:
    # After its shutdown uvicorn restores this handler and raises the signal again. The exit code is
    # then 0 under an init process too; the default handler would make it 143.
    signal.signal(signal.SIGTERM, _exit)
    # Before the slow imports, so that an invalid setting is refused at once.
    load_settings()

    import uvicorn

    from app.connection import Connection

    uvicorn.run(
        "app.main:app",
        host="0.0.0.0",
        port=7860,
        # One worker: limits and caches are per process.
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
