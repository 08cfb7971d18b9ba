"""A user's clone of this repository, and Space repositories like the Hub's behind their addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACES = ("backend-py", "backend-node")
# What a new Space's repository holds; the README only when it was made on the web page.
# Source: huggingface_hub, `create_repo`; forum reports.
HUB_FILES = {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", "README.md": "---\nsdk: docker\n---\n"}  # fmt: skip


class Desk:
    """The clone has one commit; `https://huggingface.co/spaces/OWNER/…` are repositories in a folder."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "the clone"
        self.hub = folder / "hub"
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "HF_"))},
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "HF_HOME": str(folder / "no token here"),
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        }  # fmt: skip
        (folder / "gitconfig").write_text(
            "[user]\n\tname = Ada\n\temail = ada@example.com\n[init]\n\tdefaultBranch = main\n"
            f'[url "file://{self.hub}/"]\n\tinsteadOf = https://huggingface.co/spaces/\n'
        )
        self.clone.mkdir()
        self.sh(f"git -C '{ROOT}' archive HEAD | tar -x")
        self.sh("git init -q && git add --all && git commit -qm 'All of it'")
        for space in SPACES:
            self.create_space(space)

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
        """Run commands as typed, in the clone; returns what they say on both outputs."""
        done = subprocess.run(
            ["sh", "-ec", commands], cwd=self.clone, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        return done.stdout

    def run(self, script: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """Exit code and both outputs of a script of setup/, run in the clone."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "setup" / script), *arguments],
            cwd=self.clone, env=self.environment | environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.stdout, done.stdout
        return done.returncode, done.stdout

    def commit(self, name: str, line: str) -> None:
        with (self.clone / name).open("a") as file:
            file.write(line)
        self.sh(f"git commit -qam 'Change {name}'")

    def received(self, space: str, what: str) -> str:
        return self.sh(f"git -C '{self.bare(space)}' rev-parse {what}").strip()

    def committed(self, space: str) -> str:
        """The tree of the Space's folder as the user has committed it."""
        return self.sh(f"git rev-parse HEAD:{space}").strip()
