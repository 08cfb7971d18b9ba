"""Each documented command must work as it stands, in a repository like its reader's.

Commands that another test takes from the document, and those of documented.toml, are not run here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.desk import Desk
from tests.cli.documents import ROOT, commands, typed
from tests.cli.test_documented import RUN_HERE
from tests.spaces import folder_of

BIN = Path(sys.executable).parent
# Other tests run the whole contract; here a check must accept its options, build, start and report.
IN_SHORT = "-k 'metadata or test_serves or front_page'"
# The reader's names, where those of the documents are placeholders.
NAMES = {
    "DIR": "backend-py",
    "ID": "start.serves",
    "RULE": "start.serves",
    "SCRIPT": "start.sh",
    "hf:OWNER/NAME": "hf:OWNER/backend-py",
}
# What the reader should see: in a document of the command, and in its output.
SEEN = {
    "preflight check my-space --env API_KEY=test --env-file ci.env": (
        "values for my-space: --env: API_KEY; --env-file ci.env: DATABASE_URL"
    ),
}


class Reader:
    """A user's repository, whose root is a Space and holds two others, beside a second clone."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def copy(self, folder: Path) -> Reader:
        subprocess.run(["cp", "-a", str(self.folder.parent), str(folder)], check=True, timeout=60)
        return Reader(folder / self.folder.name, self.environment)

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-ec", command], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip


@pytest.fixture(scope="module")
def first_reader(tmp_path_factory: pytest.TempPathFactory, first_desk: Desk) -> Reader:
    """The original, which no command changes: each command has a copy."""
    top = tmp_path_factory.mktemp("reader")
    folder = top / "in" / "repository"
    shutil.copytree(folder_of("static_files"), folder)
    for name in ("my-space", "backend-py"):
        shutil.copytree(folder_of("static_files"), folder / name)
    (folder / "backend-py" / ".env.example").write_text("# The greeting.\n# @optional\nGREETING=\n")
    (folder / "ci.env").write_text("DATABASE_URL=sqlite:here\n")
    (folder / "start.sh").write_text("#!/bin/sh\n")
    (folder / ".gitignore").write_text("/.venv\n")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    (top / "gitconfig").write_text(
        "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
        f'[url "file://{top}/hub/"]\n\tinsteadOf = https://huggingface.co/spaces/\n'
        f'[url "file://{first_desk.clone}"]\n\tinsteadOf = https://github.com/OWNER/REPO\n'
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "HF_", "PYTEST_"))}  # fmt: skip
    reader = Reader(
        folder,
        kept
        | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": str(top / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "HF_HOME": str(top / "no token here"),
            "PYTEST_ADDOPTS": IN_SHORT,
            # The package index does not have the package yet.
            "UV_FIND_LINKS": ",".join(filter(None, (str(top), os.environ.get("UV_FIND_LINKS")))),
        },
    )
    for command in (
        "git init -q && git add --all && git commit -qm Spaces",
        "cp -r my-space ../my-space && cd ../my-space && git init -q && git add . && git commit -qm Space",
        f"mkdir -p {top}/hub/OWNER && git clone -q --bare ../my-space {top}/hub/OWNER/backend-py",
        f"uv build -q --wheel --out-dir {top} '{first_desk.clone}'",
    ):
        done = reader.types(command)
        assert done.returncode == 0, done.stdout
    return reader


@pytest.fixture(scope="module")
def page(first_reader: Reader) -> Iterator[str]:
    """The URL of a server that already runs."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(first_reader.folder / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


Ended = Future["subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ended(
    request: pytest.FixtureRequest, first_reader: Reader, page: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Ended]]:  # fmt: skip
    """The commands of the chosen tests; they mostly wait, so some are concurrent."""
    names = NAMES | {"https://me-my-space.hf.space": page}

    def end(command: str) -> subprocess.CompletedProcess[str]:
        used = {name: actual for name, actual in names.items() if name in command}
        reader = first_reader.copy(tmp_path_factory.mktemp("typed") / "by a reader")
        return reader.types(typed(command, used))

    chosen = [item for item in request.session.items if item.path == request.path]
    params = [item.callspec.params for item in chosen if hasattr(item, "callspec")]
    with ThreadPoolExecutor(3) as pool:
        yield {each["command"]: pool.submit(end, each["command"]) for each in params}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_documented_command_must_work(command: str, ended: dict[str, Ended]) -> None:
    """The command must end with exit code 0, and print what its document says."""
    done = ended[command].result()
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    if seen := SEEN.get(command):
        assert seen in done.stdout
        assert any(seen in (ROOT / document).read_text() for document in commands()[command])
