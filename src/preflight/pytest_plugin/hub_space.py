"""`--space hf:OWNER/NAME`: a Space cloned from the Hub, or from the Hub in a box."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path

import requests

from preflight.model.git import LFS_POINTER
from preflight.model.hub_profile import HUB
from preflight.model.space import Space, SpaceError, space_of_folder

PREFIX = "hf:"
CLONE_TIMEOUT_S = 300
LARGEST_POINTER = 1024


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, as in `huggingface_hub`."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def clone(option: str, into: Path) -> Space:
    """Clone the Space `hf:OWNER/NAME` into a folder in `into`, with its large files.

    A private Space needs HF_TOKEN. From here on, the rehearsal uses OWNER as the Spaces' owner.
    Raises SpaceError, which names the Space and git's message.
    """
    named = re.fullmatch(r"hf:([\w.-]+)/([\w.-]+)", option)
    if named is None:
        raise SpaceError(f"--space {option}: write hf:OWNER/NAME, for example hf:acme/web")
    owner, name = named.groups()
    folder = into / owner / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    address = f"{endpoint()}/spaces/{owner}/{name}"
    try:
        done = subprocess.run(
            ["git", "clone", "--quiet", "--recurse-submodules", "--", address, str(folder)],
            capture_output=True, text=True, timeout=CLONE_TIMEOUT_S, env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SpaceError(
            f"--space {option}: git did not clone {address} within {CLONE_TIMEOUT_S} s"
        ) from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git printed nothing"])[-1]
        raise SpaceError(
            f"--space {option}: {address} can't be cloned: {said}. A private Space needs HF_TOKEN; "
            "a Hub other than huggingface.co needs HF_ENDPOINT"
        )
    _fetch_large_files(folder, address)
    HUB.owner = owner
    return space_of_folder(folder, name=name)


def _environment() -> dict[str, str]:
    """git's environment: it disables prompts, and keeps the token off the command line."""
    # `_fetch_large_files` does not depend on an installed git-lfs.
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
    token = os.environ.get("HF_TOKEN")
    if token:
        credentials = base64.b64encode(f"user:{token}".encode()).decode()
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{endpoint()}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {credentials}",
        }
    return environment


def _fetch_large_files(folder: Path, address: str) -> None:
    """Replace LFS pointers by their content, which the Hub's build gets."""
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for path in folder.rglob("*"):
        if ".git" in path.parts or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size > LARGEST_POINTER or not path.read_bytes().startswith(LFS_POINTER):
            continue
        name = path.relative_to(folder).as_posix()
        try:
            with requests.get(
                f"{address}/resolve/main/{name}", headers=headers, stream=True, timeout=60
            ) as answer:
                answer.raise_for_status()
                with path.open("wb") as file:
                    for chunk in answer.iter_content(1 << 20):
                        file.write(chunk)
        except requests.RequestException as error:
            raise SpaceError(
                f"{name} of {address} can't be fetched: {type(error).__name__}"
            ) from None
