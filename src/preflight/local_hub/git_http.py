"""git's own http-backend, one push at a time."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from flask import Response, request

from preflight.local_hub.repository import Space, git_environment


def serve_git(space: Space, rest: str, received: Callable[[], None]) -> Response:
    """Let git's own http-backend answer; `received` is called when main has moved."""
    receiving = rest == "git-receive-pack"
    held = ExitStack()
    if receiving:
        held.enter_context(space.lock)
    try:
        return _served(space, rest, held, received if receiving else None)
    except BaseException:
        held.close()
        raise


def _served(
    space: Space, rest: str, held: ExitStack, received: Callable[[], None] | None
) -> Response:
    """`serve_git`; releases `held` at the end of the answer."""
    before = space.head
    with tempfile.TemporaryFile() as body:
        # git may write before it has read all its input; two pipes could deadlock.
        shutil.copyfileobj(request.stream, body)
        environment = git_environment(
            GIT_PROJECT_ROOT=str(space.folder), GIT_HTTP_EXPORT_ALL="1", PATH_INFO=f"/repo.git/{rest}",
            REQUEST_METHOD=request.method, QUERY_STRING=request.query_string.decode(),
            CONTENT_TYPE=request.content_type or "", CONTENT_LENGTH=str(body.tell()),
            HTTP_CONTENT_ENCODING=request.headers.get("Content-Encoding", ""),
            GIT_PROTOCOL=request.headers.get("Git-Protocol", ""), REMOTE_ADDR="127.0.0.1",
            HUB_PYTHON=sys.executable,
        )  # fmt: skip
        body.seek(0)
        process = subprocess.Popen(
            ["git", "http-backend"], stdin=body, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
    assert process.stdout is not None
    status, headers = 200, []
    while line := process.stdout.readline().decode().strip():
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split()[0])
        else:
            headers.append((name, value))
    stdout = process.stdout

    def answer() -> Iterator[bytes]:
        while chunk := stdout.read1(65536):  # type: ignore[attr-defined]
            yield chunk
        # Before the answer ends, so that the client's next request finds the Space at BUILDING.
        end()

    def end() -> None:
        if stdout.closed:
            return
        stdout.close()
        process.wait()
        moved = space.head != before
        held.close()
        if received and moved:
            received()

    response = Response(answer(), status, headers)
    response.call_on_close(end)
    return response
