"""A user's clone of this repository, and Space repositories like the Hub's behind their addresses."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self
from unittest.mock import patch

from huggingface_hub import constants

from preflight.cli.main import preflight

ROOT = Path(__file__).resolve().parents[2]
SPACES = ("backend-py", "backend-node")
THE_HUB = "https://huggingface.co"
# The files of a new Space's repository; the README only if the web page created it.
# Source: huggingface_hub, `create_repo`; forum reports.
HUB_FILES = {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "README.md": "---\nsdk: docker\n---\n"}  # fmt: skip


class Desk:
    """The clone has one commit; `https://huggingface.co/spaces/OWNER/…` are repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clone = folder / "the clone"
        self.hub = folder / "hub"
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "HF_"))},
            # `hf` and `preflight`, as after `source .venv/bin/activate`.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "HF_HOME": str(folder / "no token here"),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }  # fmt: skip
        (folder / "gitconfig").write_text(
            "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
            f'[url "file://{self.hub}/"]\n\tinsteadOf = {THE_HUB}/spaces/\n'
        )

    @classmethod
    def new(cls, folder: Path) -> Self:
        """A desk with the clone, and a new Space on the Hub for each of the clone's Spaces."""
        desk = cls(folder)
        desk.clone.mkdir()
        # The files of the working folder, committed or not: the other tests judge them too.
        desk.sh(
            f"git -C '{ROOT}' ls-files -z --cached --others --exclude-standard"
            f" | tar -C '{ROOT}' --null --files-from=- --ignore-failed-read -c | tar -x"
        )
        desk.sh("git init -q && git add --all && git commit -qm 'All of it' && git repack -adq")
        for space in SPACES:
            desk.create_space(space)
        return desk

    def copy(self, folder: Path) -> Self:
        """The same desk in another folder, in a tenth of the time of a new desk."""
        subprocess.run(["cp", "-a", str(self.folder), str(folder)], check=True, timeout=60)
        return type(self)(folder)

    def create_space(self, space: str) -> None:
        seed = self.hub / "seed" / space
        seed.mkdir(parents=True)
        for name, text in HUB_FILES.items():
            (seed / name).write_text(text)
        bare = self.bare(space)
        self.sh(
            f"cd '{seed}' && git init -q && git add --all && git commit -qm 'initial commit'"
            f" && git clone -q --bare . '{bare}'"
        )

    def bare(self, space: str) -> Path:
        return self.hub / "OWNER" / space

    def sh(self, commands: str) -> str:
        """Run shell commands in the clone; returns their standard output and error."""
        done = subprocess.run(
            ["sh", "-ec", commands], cwd=self.clone, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def types(self, command: str, *more: str) -> tuple[int, str]:
        """`run` of a documented `preflight …`, with further options."""
        program, *arguments = shlex.split(command)
        assert program == "preflight"
        return self.run(*arguments, *more)

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and both outputs of `preflight ARGUMENTS`, run in the clone.

        It runs in this process: a new process would load the official client again.
        """
        output = self.folder / "said"
        with (
            chdir(self.clone),
            patch.dict(os.environ, self.environment, clear=True),
            # The official client read these from the environment at import.
            patch.object(constants, "ENDPOINT", self.environment.get("HF_ENDPOINT", THE_HUB)),
            patch.object(constants, "HF_TOKEN_PATH", str(self.folder / "no token here" / "token")),
            said_to(output),
        ):
            try:
                preflight.main(list(arguments))
            except SystemExit as end:
                code = int(end.code or 0)
        return code, output.read_text()

    def commit(self, name: str, line: str) -> None:
        with (self.clone / name).open("a") as file:
            file.write(line)
        self.sh(f"git commit -qam 'Change {name}'")

    def received(self, space: str, what: str) -> str:
        return self.sh(f"git -C '{self.bare(space)}' rev-parse {what}").strip()

    def committed(self, space: str) -> str:
        """The tree of the Space's folder as the user has committed it."""
        return self.sh(f"git rev-parse HEAD:{space}").strip()


@contextmanager
def said_to(path: Path) -> Iterator[None]:
    """Redirects both outputs, also of child processes, to a file in their order."""
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("w", buffering=1) as file:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            with redirect_stdout(file), redirect_stderr(file):
                yield
        finally:
            for number, before in enumerate(kept, 1):
                os.dup2(before, number)
                os.close(before)
