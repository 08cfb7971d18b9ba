"""Start the Hub: `preflight hub`."""

from __future__ import annotations

import argparse
import fcntl
import logging
import signal
import sys
from pathlib import Path

from werkzeug.serving import make_server

from preflight.engine import install as engine
from preflight.engine.run import remove_everything
from preflight.local_hub.api import make_app
from preflight.local_hub.builders import Builders
from preflight.local_hub.repository import Hub
from preflight.model.hub_profile import HUB


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preflight hub", description=__doc__)
    parser.add_argument(
        "--state", type=Path, default=Path(".hub"), help="folder of the repositories"
    )
    parser.add_argument("--port", type=int, default=8460, help="0: any that is free")
    parser.add_argument("--run", help="the run that its containers belong to; by default its own")
    parser.add_argument("--hub", action="append", default=[], metavar="NAME=VALUE",
                        help="take the Hub to be different in one setting of preflight/rehearsal.py")  # fmt: skip
    options = parser.parse_args(arguments)
    try:
        for setting in options.hub:
            HUB.override(setting)
    except ValueError as error:
        parser.error(str(error))
    engine.ensure()
    hub = Hub(options.state)
    hub.folder.mkdir(parents=True, exist_ok=True)
    lock = (hub.folder / "hub.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        parser.exit(
            1, f"a Hub works in {hub.folder} already; end it, or name another folder: --state\n"
        )
    hub.id_file.write_text(options.run or hub.default_id)
    # What an earlier Hub has built once may be gone by now.
    for known in hub.run.folder.glob("once/*.json"):
        known.unlink()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    builders = Builders(options.hub)
    try:
        server = make_server("127.0.0.1", options.port, make_app(hub, builders), threaded=True)
    except SystemExit:
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        builders.recover(hub)
        (hub.folder / "url").write_text(url)
        print(
            f"Hub: {url}\n"
            f"  a Space: HF_ENDPOINT={url} HF_TOKEN=any hf repos create acme/backend-py"
            " --repo-type space --space-sdk docker\n"
            f"  push:    git push {url}/spaces/acme/backend-py …\n"
            f"  state:   {hub.folder}; Ctrl-C stops it and removes its containers and images",
            flush=True,
        )
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for space in hub.spaces():
            builders.end(space)
        remove_everything(hub.run.id)
        (hub.folder / "url").unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
