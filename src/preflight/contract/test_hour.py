"""The first hour: resources that grow with each request, Secrets in the log, and programs that the Hub pauses."""

from __future__ import annotations

from preflight.contract.findings import not_promised, report, require_none, show
from preflight.engine.answering import Answering
from preflight.engine.burst import CHILDREN, DESCRIPTORS, SLACK, Burst, burst
from preflight.engine.container import Container
from preflight.engine.docker import docker
from preflight.engine.start import MARKER, environment_of
from preflight.engine.visitor import Visit
from preflight.model.given import looks_sensitive
from preflight.model.hub_profile import HUB
from preflight.model.keys import keys_in
from preflight.model.problems import Problem, Severity
from preflight.model.space import Space
from preflight.rules import hour as rules
from preflight.rules.dockerfile import Dockerfile
from preflight.rules.draft import variables_read

# A short value may be part of a word.
SHORTEST_SECRET = 8
# Of the memory; the rest is for requests that do work.
NEARLY_FULL = 0.85


def test_workers_fit_the_cpus(space: Space, dockerfile: Dockerfile) -> None:
    """The number of workers does not depend on the number of cores that the container sees: these are the host's.

    Severity: risk

    On the Hub: dozens of workers on 2 CPUs: a slow start, or "Memory limit exceeded (16Gi)"

    Fix: Use a fixed number, or read CPU_CORES, which the Hub sets.

    Source: hub-docs spaces-overview.md, CPU_CORES; docs.python.org os.cpu_count: of the system, not
    of the container's limit.
    """
    require_none(rules.worker_problems(dockerfile, rules.start_files(space.folder)))


def test_keeps_nothing_of_a_request(visited: Visit, container: Container, front_page: str) -> None:
    """After a few hundred harmless requests, the Space uses no more memory, file descriptors or child processes than before.

    Severity: risk

    On the Hub: the Space works for a day, then fails with "Memory limit exceeded (16Gi)", "Too many
    open files" or "can't fork", and restarts

    Fix: Limit caches and lists that each request extends, close files and connections, and wait for
    child processes (tini as PID 1 reaps orphans).

    Source: hub-docs spaces-gpus.md, 16 GB on cpu-basic; wait(2), zombies.
    """
    found = burst(container, front_page, visited.host)
    show("burst", {"requests": found.requests, "peak": found.peak, "limit": HUB.memory})
    require_none(kept(found, front_page))


def kept(found: Burst, path: str) -> list[Problem]:
    """What the app retains of each request."""
    after = f"in the last rounds of {found.requests} requests for GET {path}"
    problems = []
    if found.peak > NEARLY_FULL * HUB.memory:
        problems.append(
            Problem(
                f"at most {NEARLY_FULL:.0%} of the Space's {HUB.memory / 1024**3:g} GB of memory",
                f"{found.peak / 1024**3:.1f} GB at the peak of {found.requests} requests for GET {path}",
                "Use fewer workers or smaller models, and load each model once.",
            )
        )
    if grown := found.grows(lambda sample: sample.memory, SLACK):
        problems.append(
            Problem(
                "as much memory after a request as before", f"{grown / 1e6:.0f} MB more {after}"
            )
        )
    if grown := found.grows(lambda sample: sample.descriptors, DESCRIPTORS):
        problems.append(
            Problem("as many open descriptors after a request as before", f"{grown} more {after}")
        )
    if grown := found.grows(lambda sample: sample.unreaped, CHILDREN):
        problems.append(
            Problem(
                "a wait for each child process that has ended",
                f"{grown} ended children more {after}",
            )
        )
    return problems


def test_prints_no_secret(space: Space, container: Container, visited: Visit) -> None:
    """The run log contains no value of a Secret and no dump of the environment, neither from the start nor from a request.

    Severity: risk

    On the Hub: the key is in the run log, which collaborators read and tools collect

    Fix: Print a setting's name, never its value. Do not log the whole environment, or a header or
    exception that contains a value.

    Source: OWASP Logging Cheat Sheet, Data to exclude.
    """
    declaration = space.declaration
    given = environment_of(space)
    if declaration and declaration.decorated:
        names = [variable.name for variable in declaration.secrets]
    else:
        names = [name for name in given if looks_sensitive(name)]
    values = {name: given[name] for name in names if len(given.get(name, "")) >= SHORTEST_SECRET}
    log = container.logs()
    found = [
        Problem("no value of a Secret in the run log", f"the value of {name} is in line {line}")
        for name, value in values.items()
        if (line := line_with(value, log))
    ]
    found += [
        Problem("no key in the run log", f"line {line} has the form of {kind}")
        for line, kind in keys_in(log.encode())
    ]
    if not found and (line := line_with(MARKER[1], log)):
        secret = names or any(
            looks_sensitive(variable.name) for variable in variables_read(space.folder)
        )
        found.append(
            Problem(
                "no dump of the environment in the run log",
                f"line {line} has all environment variables; on the Hub, Secrets are among them",
                severity=Severity.RISK if secret else Severity.ADVICE,
            )
        )
    require_none(found)


def line_with(text: str, log: str) -> int | None:
    """The number of the first line of `log` with this text."""
    return next((number for number, line in enumerate(log.splitlines(), 1) if text in line), None)


def test_runs_nothing_that_is_paused(dockerfile: Dockerfile, container: Container) -> None:
    """The Space runs no program for which the Hub pauses Spaces: proxies, tunnels, VNC servers, search proxies, miners.

    Severity: risk

    On the Hub: PAUSED, "Flagged as abusive", within minutes of a push

    Fix: Remove the program. If its use is legitimate, write to the Hub's support.

    Source: observed: 7 Spaces with searxng, a VNC server, wireproxy or xray were paused with this text.
    """
    listed = docker("top", container.id, "-eo", "args", check=False).stdout.splitlines()[1:]
    require_none(list(rules.paused_problems(dockerfile, listed))[:3])


def test_origin_patterns_match_one_site(space: Space, direct: Answering) -> None:
    """A pattern for allowed origins matches only the intended sites: each dot in it is escaped.

    Severity: risk

    On the Hub: https://wwwXexample.com, which anyone can register, reads what a visitor may read

    Fix: Escape the dots and match the whole origin: https://([a-z0-9-]+\\\\.)?example\\\\.com

    Source: OWASP HTML5 Security Cheat Sheet, Cross Origin Resource Sharing.
    """
    loose = rules.loose_origins(rules.start_files(space.folder))
    if not loose:
        not_promised("the sources contain no readable pattern for origins")
    for origin, file, line, pattern in loose[:4]:
        answer = direct.get("/", headers={"Origin": origin})
        if answer.headers.get("Access-Control-Allow-Origin") == origin:
            report(
                Problem(
                    "a pattern that matches only the intended sites",
                    f"GET / from {origin} is answered with Access-Control-Allow-Origin: {origin}, by {pattern}",
                    file=file,
                    line=line,
                )
            )
