"""A Space as the Hub knows it: its names, git with its token, its Variables and Secrets.

`HF_ENDPOINT` and `HF_TOKEN` mean what they mean to huggingface_hub, so another Hub can be asked.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.rules.drift import HUB_SETS
from preflight.rules.repository import GitError, name_problems, subdomain_problems

GIT_DEADLINE_S = 120
HUB_ERRORS = (HfHubHTTPError, httpx2.HTTPError, ValueError)
"""What huggingface_hub raises when the Hub refuses, is out of reach, or is no Hub; `said` tells it."""


class Refused(Exception):
    """What was asked for is not done; the message says why and what to do."""


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
            raise Refused(f"SPACE={text!r}: write SPACE=owner/name, as in the Space's address")
        for problem in (*name_problems(found[2]), *subdomain_problems(*found.groups())):
            raise Refused(f"SPACE={text}: expected {problem.expected}; it is {problem.actual}")
        return cls(*found.groups())

    @classmethod
    def of_remote(cls, url: str) -> SpaceId | None:
        """The Space that a git URL leads to; None when it leads elsewhere."""
        hosts = {"huggingface.co", "hf.co", urlsplit(endpoint()).netloc}
        # A Hub in a box is another one at each port.
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
    return str(constants.ENDPOINT)


def git(
    folder: Path, *arguments: str, given: str | None = None, deadline: float = GIT_DEADLINE_S
) -> str:
    """What a git command prints. Raises GitError with git's own words."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=given, capture_output=True, text=True, timeout=deadline, env=git_environment(),
        )  # fmt: skip
    except FileNotFoundError:
        raise GitError("git is not installed; install it") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took longer than {deadline:g} s") from None
    if done.returncode:
        raise GitError(masked(done.stderr.strip()) or f"git {arguments[0]} failed and said nothing")
    return done.stdout.strip()


def git_environment(**more: str) -> dict[str, str]:
    """For git and for what calls it: the Hub's token as password, and nothing of a hook's own.

    git asks a helper for the password, which reads it from the environment: it stands in no
    command line and in no file. Any user name will do; `hf_user` is that of huggingface_hub.
    """
    # A hook's environment would point git to another repository than `-C` does.
    local = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
    environment = {name: value for name, value in os.environ.items() if name not in local}
    token = get_token()
    if token:
        environment["HF_TOKEN"] = token
        count = int(environment.get("GIT_CONFIG_COUNT", "0"))
        helper = (
            '!f() { test "$1" = get && echo username=hf_user && echo "password=$HF_TOKEN"; }; f'
        )
        # The empty one first: a helper with an outdated password would be asked before.
        for value in ("", helper):
            environment[f"GIT_CONFIG_KEY_{count}"] = f"credential.{endpoint()}.helper"
            environment[f"GIT_CONFIG_VALUE_{count}"] = value
            count += 1
        environment["GIT_CONFIG_COUNT"] = str(count)
    # git's words are searched for some that mean more than others.
    return environment | {"LC_ALL": "C"} | more


def masked(text: str) -> str:
    """Text without the passwords of the addresses in it."""
    return re.sub(r"(://)[^/@\s]+@", r"\1…@", text)


def settings_report(space: SpaceId, declaration: EnvironmentDeclaration | None) -> list[str]:
    """What the Space lacks among its Variables and Secrets, one line each; also why none is known."""
    if declaration is None:
        return ["Variables and Secrets: not compared, there is no .env.example that declares any"]
    if not get_token():
        return [
            "Variables and Secrets: not compared, HF_TOKEN is not set. What has to be there: "
            "Settings, or preflight settings FOLDER"
        ]
    try:
        api = HfApi()
        variables = {
            name: one.value or "" for name, one in api.get_space_variables(str(space)).items()
        }
        secrets = set(api.get_space_secrets(str(space)))
    except HUB_ERRORS as error:
        return [f"Variables and Secrets: not compared, {said(error)}"]
    problems = list(settings_problems(declaration, variables, secrets))
    optional = [
        one.name
        for one in declaration.variables
        if one.required is False and one.name not in variables.keys() | secrets | HUB_SETS
    ]
    count = f"{len(variables)} Variables, {len(secrets)} Secrets"
    verdict = f"{len(problems)} to change" if problems else "nothing needed is missing"
    lines = [f"Variables and Secrets of {space}: {count}; {verdict}"]
    lines += [f"  {problem}" for problem in problems]
    return lines + ([f"  not set, and optional: {', '.join(optional)}"] if optional else [])


def settings_problems(
    declaration: EnvironmentDeclaration, variables: dict[str, str], secrets: set[str]
) -> Iterator[str]:
    """What has to be changed in a Space's settings. Never a value.

    variables: name and value, which the Hub shows to everybody. secrets: names; the Hub does not
    give their values back.
    """
    for name in sorted(variables.keys() & secrets):
        yield f"{name}: is a Variable and a Secret; the Space stays at “Collision on variables and secrets names” until one is deleted"
    environment = {**dict.fromkeys(secrets, "set"), **variables}
    for one in declaration.variables:
        if one.name not in variables.keys() | secrets:
            if declaration.is_required(one, environment):
                yield f"{one.name}: missing; enter it as a {one.kind} ({one.description or 'needed'})"
        elif one.sensitive and one.name in variables:
            yield f"{one.name}: is a Variable, which everybody can read; replace the value and enter it as a Secret"
        elif one.name in variables:
            yield from _value_problems(one, variables[one.name])
    for name in sorted((variables.keys() | secrets) - {one.name for one in declaration.variables}):
        yield f"{name}: set there and not declared in {declaration.source}; delete it, or declare it"


def _value_problems(variable: Variable, value: str) -> Iterator[str]:
    if not value.strip() and variable.required is True:
        yield f"{variable.name}: is empty and needed"
    elif variable.sample is not None and value == variable.sample:
        yield f"{variable.name}: holds the sample value, which the Space refuses on the Hub"
    elif value.strip() and not variable.accepts(value):
        yield f"{variable.name}: its value is no {variable.type.name} as {variable.name} is declared"


def said(error: Exception) -> str:
    """Why the Hub gave no answer, in a few words and without the token."""
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return f"the Hub answered {status}: HF_TOKEN has no permission for it; it needs write access to the Space"
        if status == 404:
            return "the Hub answered 404: there is no such Space, or it is private and HF_TOKEN is missing or not of its owner"
        return f"the Hub answered {status}"
    if isinstance(error, ValueError):
        return f"{endpoint()} does not answer as the Hub does; is HF_ENDPOINT right?"
    return f"no answer from {endpoint()} ({type(error).__name__})"
