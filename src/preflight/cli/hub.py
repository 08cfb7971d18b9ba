"""A Space as the Hub knows it: its name, git with the Hub's token, what the Hub's errors mean.

`HF_ENDPOINT` and `HF_TOKEN` mean what they mean to huggingface_hub.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from preflight.model import git as plain
from preflight.model.hub_texts import meaning_of
from preflight.rules.repository import name_problems

HUB_ERRORS = (HfHubHTTPError, httpx2.HTTPError, ValueError)
"""What huggingface_hub raises when the Hub refuses, does not answer, or is another kind of server; `said` explains it."""


class Refused(Exception):
    """The command stops; the message has the reason and the fix."""


@dataclass(frozen=True)
class SpaceId:
    """`owner/name` of a Space."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def of(cls, text: str) -> SpaceId:
        """Read `owner/name`, or the address of a Space's page. Raises Refused when it is neither."""
        found = re.fullmatch(r"(?:https?://[^/]+/spaces/)?([\w.-]+)/([\w.-]+?)(?:\.git)?/?", text)
        if found is None:
            raise Refused(f"{text!r} is not a Space: write OWNER/NAME, as in the Space's address")
        for problem in name_problems(found[2]):
            raise Refused(f"the Space {text}: expected {problem.expected}; found {problem.actual}")
        return cls(*found.groups())

    @classmethod
    def of_remote(cls, url: str) -> SpaceId | None:
        """The Space that a git URL leads to; None when it leads elsewhere."""
        hosts = {"huggingface.co", "hf.co", urlsplit(endpoint()).netloc}
        # A Hub in a box listens on another port each time.
        anywhere = "|".join([*map(re.escape, sorted(hosts)), r"127\.0\.0\.1:\d+"])
        found = re.search(
            rf"(?:^|//|@)(?:{anywhere})[/:]/?spaces/([\w.-]+)/([\w.-]+?)(?:\.git)?/?$", url
        )
        return cls(*found.groups()) if found else None

    @property
    def remote(self) -> str:
        """Where git reaches its repository."""
        return f"{endpoint()}/spaces/{self}"


def endpoint() -> str:
    """The Hub's address."""
    return str(constants.ENDPOINT)


def git(folder: Path, *arguments: str, deadline: float = plain.GIT_DEADLINE) -> str:
    """What a git command prints, run with the Hub's token. Raises GitError."""
    done = plain.git(folder, *arguments, environment=token_for_git(), deadline=deadline)
    return done.stdout.decode("utf-8", "replace").strip()


def token_for_git() -> dict[str, str]:
    """Variables that give git the Hub's token as password.

    git calls a helper for the password, and the helper reads it from the environment: it is in no
    command line and in no file. Any user name works; `hf_user` is that of huggingface_hub.
    """
    token = get_token()
    if not token:
        return {}
    count = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
    helper = '!f() { test "$1" = get && echo username=hf_user && echo "password=$HF_TOKEN"; }; f'
    found = {"HF_TOKEN": token}
    # The empty helper removes earlier helpers, which may hold an outdated password.
    for value in ("", helper):
        found[f"GIT_CONFIG_KEY_{count}"] = f"credential.{endpoint()}.helper"
        found[f"GIT_CONFIG_VALUE_{count}"] = value
        count += 1
    return found | {"GIT_CONFIG_COUNT": str(count)}


def said(error: Exception) -> str:
    """The Hub's error in a few words, without the token."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return f"the Hub answered {status}: HF_TOKEN has no permission for it; it needs write access to the Space"
        if status == 404:
            return "the Hub answered 404: there is no such Space, or it is private and HF_TOKEN is missing or not of its owner"
        known = meaning_of(f"{status} {error.response.text[:500]}")
        return f"the Hub answered {status}" + (f": {known.about}. {known.fix}" if known else "")
    if isinstance(error, ValueError):
        return f"{endpoint()} does not answer as the Hub does; is HF_ENDPOINT right?"
    return f"no answer from {endpoint()} ({type(error).__name__})"
