"""Imports Locust once and forks for each run, as Locust does for --processes: the import takes longer than
a short run.

    python forks.py

reads lines of JSON. A list holds the file for a run's output, then the arguments of `locust`; the reply is
the process id. The reply to a process id is the exit code of that run, as soon as it has ended. At the end
of the input the remaining runs are killed.
"""

import gc
import json
import os
import signal
import sys

from gevent.os import fork_gevent
from locust.main import main


def forked() -> list[str]:
    """Returns in each forked process, with the arguments of its run."""
    # Each fork collects garbage at its end, and that would copy the memory of all imported objects.
    gc.freeze()
    running = set[int]()
    for line in sys.stdin:
        command = json.loads(line)
        if isinstance(command, int):
            running.discard(command)
            _, status = os.waitpid(command, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif pid := fork_gevent():
            running.add(pid)
            print(pid, flush=True)
        else:
            output: str = command[0]
            arguments: list[str] = command[1:]
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
