"""`preflight hub`: serve the Hub in this process, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import fcntl
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from werkzeug.serving import make_server

from preflight.engine import install, progress
from preflight.engine.run import remove_everything
from preflight.local_hub.api import make_app
from preflight.local_hub.builders import Builders
from preflight.local_hub.repository import Hub
from preflight.model.hub_profile import HUB


def serve(state: Path, port: int, run_id: str, fields: Sequence[str]) -> int:
    """Serve the repositories in the folder `state` on 127.0.0.1; returns the exit code.

    port: 0 takes any free one; the file `url` in `state` names it. run_id: the run that owns its
    containers, or empty for one of its own. fields: `NAME=VALUE` of the Hub's profile.
    """
    try:
        for field in fields:
            HUB.override(field)
    except ValueError as error:
        print(f"hub: --hub: {error}", file=sys.stderr)
        return 2
    install.ensure()
    hub = Hub(state)
    hub.folder.mkdir(parents=True, exist_ok=True)
    lock = (hub.folder / "hub.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(
            f"hub: another Hub uses {hub.folder}; stop it, or name another folder: --state",
            file=sys.stderr,
        )
        return 1
    hub.id_file.write_text(run_id or hub.default_id)
    # Images of an earlier Hub may have been removed.
    for known in hub.run.folder.glob("once/*.json"):
        known.unlink()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    builders = Builders()
    progress.show_by(lambda line: print(line, flush=True))
    try:
        server = make_server("127.0.0.1", port, make_app(hub, builders), threaded=True)
    except SystemExit:
        # werkzeug has printed the reason, such as a taken port.
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        builders.start_all(hub)
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
            with space.change() as latest:
                latest.builds += 1
            builders.end(space)
        remove_everything(hub.run.id)
        (hub.folder / "url").unlink(missing_ok=True)
    return 0
