"""The options of a run: those of Locust and of the gate, read and completed."""

from __future__ import annotations

import json
import ssl
from argparse import ArgumentTypeError
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from preflight.engine import install
from preflight.load import care, plan
from preflight.load.people import Person, target

SPACE_PORT = 7860


class OptionError(ValueError):
    """An option can't be used; the text names it and says what to do."""


def add(parser: LocustArgumentParser) -> None:
    """Add the gate's options, and a URL option for each Space that the locustfile's people use.
    A worker gets the values from its master."""

    def add(option: str, default: Any, help: str, **more: Any) -> None:
        variable = "LOCUST" + option.upper().replace("-", "_")[1:]
        parser.add_argument(option, default=default, env_var=variable, help=help, **more)

    for space in spaces(_people()):
        which = f"URL of {space}; by default the port that this folder's Compose stack publishes"
        add(f"--{space}", "", which, type=url)
    add("--origin", "", "Origin of the page that calls the Spaces", type=url)
    choices = "; ".join(f"{shape}: {what}" for shape, (what, _) in plan.SHAPES.items())
    add(
        "--shape",
        "steady",
        f"How the number of people or the rate changes. {choices}",
        type=plan.a_shape,
    )
    rate = (
        "Arrivals a second (open model): latencies count from the intended start; 0: closed model"
    )
    add("--rate", 0.0, rate, type=plan.a_number)
    think = "Seconds between two requests of a Caller in slo.toml (closed model)"
    add("--think", 0.2, think, type=plan.a_number)
    watch = "CPU, memory and open files to sample: NAME=container:ID or NAME=pid:N, comma-separated"
    add("--watch", "", watch, include_in_web_ui=False)
    authority = (
        "Certificate authority (PEM file) of https:// targets, instead of the system's authorities"
    )
    add("--ca", "", authority, type=pem, include_in_web_ui=False)
    add("--slo", "", "Thresholds that the run must hold; by default slo.toml beside the locustfile",
        include_in_web_ui=False)  # fmt: skip
    yes = "Confirm that the owner of a target on another machine agrees to this load"
    add("--yes-load-this", False, yes, action="store_true", include_in_web_ui=False)
    most = (
        f"Highest requests a second to a target on another machine; {care.MOST_RATE:g} by default"
    )
    add("--max-rate", 0.0, most, type=plan.a_number, include_in_web_ui=False)


def complete(environment: Environment) -> None:
    """Set the options that are still empty: targets, people, length, the path of slo.toml.

    Raises OptionError, and NotYours for a target whose owner has to agree.
    """
    options: Any = environment.parsed_options
    _choose_spaces(environment)
    plan.settle(options)
    if options.rate and options.shape in plan.OF_PEOPLE:
        raise OptionError(
            f"--rate: --shape {options.shape} changes the people; use steady, smoke, soak or ramp"
        )
    if not options.slo:
        options.slo = str(Path((environment.parsed_locustfiles or ["."])[0]).with_name("slo.toml"))
    missing = [
        space for space in spaces(environment.user_classes) if not target(environment, space)
    ]
    published = _published() if missing else {}
    for space in missing:
        setattr(options, space.replace("-", "_"), published.get(space, ""))
    for kind in environment.user_classes:
        # The web UI requires a Host unless each class has a host.
        if issubclass(kind, Person) and kind.space:
            kind.host = target(environment, kind.space) or kind.space
    check_targets(environment)


def check_targets(environment: Environment) -> None:
    """Raise OptionError if a Space has no URL, and NotYours if a target's owner has to agree."""
    options: Any = environment.parsed_options
    urls = targets(environment)
    for space in sorted(space for space, url in urls.items() if not url):
        if not space:
            raise OptionError(
                "--host: the URL is missing; for example --host http://127.0.0.1:7860"
            )
        raise OptionError(
            f"this folder's Compose stack does not run {space}, so there is nothing to load; start "
            f"it (make up), or name a URL: --{space} http://127.0.0.1:7860"
        )
    wanted = plan.rate(options)
    care.check(options, urls, wanted.most if wanted else 0.0, plan.seconds(options))


def targets(environment: Environment) -> dict[str, str]:
    """The URL of each Space of this run, by its name. The name of a single unnamed target is ""."""
    kinds = [kind for kind in environment.user_classes if issubclass(kind, Person)]
    return {kind.space: target(environment, kind.space) for kind in kinds}


def spaces(kinds: Iterable[Any]) -> list[str]:
    """The names of the Spaces that these classes of people use."""
    return sorted({kind.space for kind in kinds if getattr(kind, "space", "")})


def url(text: str) -> str:
    """The value of a URL option, or an empty text. Raises ArgumentTypeError."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.netloc):
        raise ArgumentTypeError(f"must be a URL like http://127.0.0.1:7861, not {text!r}")
    return text


def pem(text: str) -> str:
    """The value of --ca. Raises ArgumentTypeError."""
    try:
        if text:
            ssl.create_default_context(cafile=text)
    except (OSError, ssl.SSLError) as error:
        raise ArgumentTypeError(f"{text} holds no certificate: {error}") from None
    return text


def _people() -> list[type[Person]]:
    """The classes of people that are not abstract, so those of the locustfile."""
    found, left = [], [Person]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if not kind.abstract:
            found.append(kind)
    return found


def _choose_spaces(environment: Environment) -> None:
    """`--tags backend-py`: keep only the people of that Space. Locust would keep the others without a
    task and fail with each of them (Source: locust/user/task.py)."""
    options: Any = environment.parsed_options
    kinds: list[Any] = environment.user_classes
    known = {kind.space for kind in kinds}
    for unknown in set((options.tags or []) + (options.exclude_tags or [])) - known:
        raise OptionError(f"--tags: {unknown} is not one of {', '.join(sorted(known))}")
    wanted = set(options.tags or known) - set(options.exclude_tags or [])
    environment.user_classes[:] = [kind for kind in kinds if kind.space in wanted]
    options.tags = options.exclude_tags = None


def _published() -> dict[str, str]:
    """The URL of each service that this folder's Compose stack publishes on this machine."""
    listed = install.answers(["docker", "compose", "ps", "--format", "json"]) or ""
    found = {}
    for line in listed.splitlines():
        service = json.loads(line)
        for port in service.get("Publishers") or []:
            if port["TargetPort"] == SPACE_PORT and port["PublishedPort"]:
                found[service["Service"]] = f"http://{install.host()}:{port['PublishedPort']}"
    return found
