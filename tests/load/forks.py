"""Locust, imported once and forked for each run, as Locust itself does for --processes: the import costs
more than a short run does.

    python forks.py

reads lines of JSON. A list is the file for a run's output, then the arguments of `locust`; answered by the
process id. A process id is answered by that run's exit code, as soon as it has ended. At the end of the
input the runs that were not waited for are killed.
"""

import gc
import json
import os
import signal
import sys

from gevent.os import fork_gevent
from locust.main import main


def forked() -> list[str]:
    """The arguments of a run, in the process that is for it."""
    # What is imported is not garbage: a fork that looks it through, as each does at its end, copies it all.
    gc.freeze()
    running = set[int]()
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            running.discard(asked)
            _, status = os.waitpid(asked, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif pid := fork_gevent():
            running.add(pid)
            print(pid, flush=True)
        else:
            output: str = asked[0]
            arguments: list[str] = asked[1:]
            sink = os.open(output, os.O_WRONLY)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            os.close(sink)
            return arguments
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    raise SystemExit


if __name__ == "__main__":
    sys.argv = ["locust", *forked()]
    main()
