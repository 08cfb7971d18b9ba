"""`preflight live`: follow a push until it serves, probe the live Space, compare its settings."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import HfApi

from preflight.cli import judging, went_live
from preflight.cli.follow_log import LogFollower
from preflight.cli.hub import HUB_ERRORS, Refused, SpaceId, endpoint, said
from preflight.cli.settings import compare
from preflight.engine.live import Live, wake
from preflight.model.environment import EnvironmentDeclarationError
from preflight.model.git import GitError, masked
from preflight.model.hub_profile import HUB
from preflight.model.hub_texts import meaning_of
from preflight.model.program import typed
from preflight.model.space import Space, SpaceError, space_of_folder, spaces_of_compose
from preflight.pytest_plugin.folders import in_the_cache
from preflight.rules.repository import subdomain

# A build, then a start that may take 30 minutes. Source: hub-docs spaces-config-reference.md,
# startup_duration_timeout; a build's own limit is not documented.
DEADLINE_S = 3600
# The Hub starts a build within this time; until then the stage may be that of the earlier build.
BEGIN_S = 60
# Consecutive requests that may fail: a network hiccup does not end a build.
FORGIVEN = 5
LOG_TAIL = 25
# Stages. Source: huggingface_hub _space_api.py (SpaceStage); SLEEPING: huggingface.js types/public.ts.
AT_WORK = {"BUILDING", "RUNNING_BUILDING", "APP_STARTING", "RUNNING_APP_STARTING"}
ASLEEP = {"STOPPED", "SLEEPING"}
MEANING = {
    "BUILDING": "the image is being built",
    "RUNNING_BUILDING": "the image is being built; the earlier build serves",
    "APP_STARTING": "the container starts",
    "RUNNING_APP_STARTING": "the container starts; the earlier build serves",
    "RUNNING": "it serves",
    "SLEEPING": "it sleeps; a visitor wakes it",
    "STOPPED": "it sleeps; a visitor wakes it",
    "PAUSED": "it is paused; only its owner can restart it: hf spaces restart {space}",
    "BUILD_ERROR": "the image could not be built",
    "CONFIG_ERROR": "README.md or the settings are wrong",
    "RUNTIME_ERROR": "the container ended, or did not answer in time",
    "NO_APP_FILE": "the repository has no Dockerfile at its root",
    "DELETING": "it is being deleted",
}


@dataclass(frozen=True)
class Seen:
    """The Hub's record of a Space at one moment. commit: that of the running build, when known."""

    stage: str
    commit: str | None
    error: str


def main(name: str, url: str, folder: str, ref: str, every: float = 0) -> int:
    """Follow, probe, compare; returns 0 when the commit serves, holds, and its settings are right.

    every: minutes between two rounds of probes, until the first that fails; 0 is one round.
    """
    try:
        code = live(SpaceId.of(name), url, folder, ref)
        while every and code == 0:
            say(f"the next probes start in {every:g} min; Ctrl-C stops")
            time.sleep(every * 60)
            code = live(SpaceId.of(name), url, folder, ref)
        return code
    except HUB_ERRORS as error:
        print(f"live: {said(error)}", file=sys.stderr, flush=True)
    except (Refused, GitError, SpaceError, EnvironmentDeclarationError) as refusal:
        print(f"live: {masked(str(refusal))}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return 130
    return 1


def live(space: SpaceId, url: str, folder: str, ref: str) -> int:
    """As `main`. Raises Refused when the commit does not serve."""
    known = folder_of(space, folder)
    commit = wanted_commit(space, ref)
    follow(space, commit)
    given, url = url, url or address_of(space)
    say(f"waiting for {url}, at most {HUB.wake_deadline:g} s")
    woken = wake(Live(known.name, url))
    if woken.failure and given:
        raise Refused(
            f"{woken.failure.actual}\n      Is --url right? {space} answers at {address_of(space)}"
        )
    if woken.failure:
        raise Refused(
            f"{woken.failure.actual}\n{log_tail(space, build=False)}{way_back(space, commit)}"
        )
    say(f"{url} answers after {woken.seconds:.1f} s; probing it")
    holds = probes_hold(known, url)
    settings = compare(space, known.declaration if known.source else None)
    print(f"\n{settings}\n\n{space} at {commit[:7]}: {url}")
    if holds and not settings.faults:
        print("live. The report above says how much was probed.")
    else:
        print("live, but " + ("its settings have to change." if holds else "checks failed."))
    print(way_back(space, commit), end="")
    return 0 if holds and not settings.faults else 1


def follow(space: SpaceId, commit: str) -> None:
    """Wait until the build of `commit` serves, printing each change. Raises Refused when it fails."""
    api, began, last, at_work, unanswered = HfApi(), time.monotonic(), "", False, 0
    unfailed = {"RUNNING", *AT_WORK, *ASLEEP}
    logs = LogFollower(space)
    for number in itertools.count():
        seconds = time.monotonic() - began
        try:
            seen, unanswered = look(api, space), 0
        except HUB_ERRORS:
            unanswered += 1
            if unanswered > FORGIVEN:
                raise
            time.sleep(pause(number))
            continue
        if seen.stage != last:
            meaning = MEANING.get(seen.stage, "an unknown stage")
            say(f"{seconds:5.0f} s  {seen.stage}: {meaning.format(space=space)}")
            last = seen.stage
            logs.at(seen.stage)
        at_work = at_work or seen.stage in AT_WORK
        # Without the running commit in the answer, only an observed build shows that it is ours.
        ours = seen.commit == commit if seen.commit else at_work
        late = seconds > BEGIN_S and not at_work
        if seen.stage == "RUNNING" and ours:
            return
        if seen.stage == "RUNNING" and late and not seen.commit:
            say(f"the Hub does not say which commit runs; no build has started within {BEGIN_S} s")
            return
        if seen.stage == "RUNNING" and late:
            raise Refused(
                f"{space} runs {str(seen.commit)[:7]}, and no build of {commit[:7]} has started within "
                f"{BEGIN_S} s: was the push rejected? The earlier build keeps serving."
            )
        if seen.stage in ASLEEP and (ours or late):
            # The first probe wakes it.
            return
        if seen.stage not in unfailed and (ours or at_work or late or was_built(space, commit)):
            raise Refused(failure(space, seen))
        if seconds > DEADLINE_S:
            raise Refused(
                f"{space} does not serve {commit[:7]} after {DEADLINE_S} s; last seen: {last}"
            )
        time.sleep(pause(number))


def pause(number: int) -> float:
    """Seconds until the next request: the Hub limits the rate, a Hub on this machine does not."""
    if urlsplit(endpoint()).hostname == "127.0.0.1":
        return 0.2
    return 3 if number < 100 else 10


def was_built(space: SpaceId, commit: str) -> bool:
    """Whether the last build is that of `commit`: its log starts with the commit's first letters."""
    try:
        first = next(iter(HfApi().fetch_space_logs(str(space), build=True)), "")
    except HUB_ERRORS:
        return False
    return f"Commit SHA: {commit[:7]}" in first


def look(api: HfApi, space: SpaceId) -> Seen:
    runtime = api.get_space_runtime(str(space))
    # `sha` is in no reference; projects that wait for a build read it as the running build's commit.
    commit = runtime.raw.get("sha")
    return Seen(
        str(getattr(runtime.stage, "value", runtime.stage)),
        commit if isinstance(commit, str) else None,
        str(runtime.raw.get("errorMessage") or ""),
    )


def wanted_commit(space: SpaceId, ref: str) -> str:
    """The commit at the Space's head. Raises Refused when it is not `ref`, if given."""
    head = HfApi().space_info(str(space)).sha
    if not head:
        raise Refused(f"{space} holds no commit yet; push to it first")
    if ref and not head.startswith(ref):
        raise Refused(f"{space} is at {head[:7]}, not at {ref}: was the push rejected?")
    return head


def address_of(space: SpaceId) -> str:
    host = HfApi().space_info(str(space)).host
    # Older answers have the bare host name.
    host = host or f"{subdomain(space.owner, space.name)}.hf.space"
    return host if "://" in host else f"https://{host}"


def folder_of(space: SpaceId, folder: str) -> Space:
    """The Space in `folder`, or of this name in compose.yaml, or else without a folder."""
    if folder:
        return space_of_folder(Path(folder))
    compose = Path("compose.yaml")
    known = spaces_of_compose(compose) if compose.is_file() else []
    return next(
        (candidate for candidate in known if candidate.name == space.name),
        Space(space.name, source=None),
    )


def failure(space: SpaceId, seen: Seen) -> str:
    """Why it does not serve, with the end of the log of the failed step."""
    meaning = MEANING.get(seen.stage, "").format(space=space)
    words = f"{space} is at {seen.stage}: {meaning}. {seen.error}".rstrip()
    if known := meaning_of(seen.error):
        words += f"\n      That is: {known.about}. {known.fix}"
    log = "" if seen.stage in ("CONFIG_ERROR", "PAUSED") else log_tail(space, seen.stage == "BUILD_ERROR")  # fmt: skip
    help_page = "docs/troubleshooting.md has the Hub's texts, their causes and fixes.\n"
    return f"{words}\n{log}{help_page}{way_back(space, wanted_commit(space, ''))}"


def log_tail(space: SpaceId, build: bool) -> str:
    kind = "build" if build else "run"
    try:
        lines = "".join(HfApi().fetch_space_logs(str(space), build=build)).splitlines()
    except HUB_ERRORS as error:
        return f"    (its {kind} log cannot be read: {said(error)})\n"
    shown = lines[-LOG_TAIL:] or ["(it is empty)"]
    return f"the end of its {kind} log:\n" + "".join(f"    {line[:400]}\n" for line in shown)


def say(message: str) -> None:
    print(f"live: {message}", flush=True)


def probes_hold(known: Space, url: str) -> bool:
    """Whether the rules that can be probed from outside hold."""
    target = [f"--live={known.name}={url}"]
    target += [f"--space={known.working_folder}"] if known.working_folder else []
    # On this machine the rehearsed edge signs its own certificate, which is not verified.
    unverified = ["-W", "ignore::urllib3.exceptions.InsecureRequestWarning"]
    # Its files were checked before the push, and may have changed here since.
    reports = in_the_cache(Path.cwd()) / "live" / known.name
    return judging.holds([*judging.OF_A_CONTAINER, *target, *unverified], reports)


def way_back(space: SpaceId, now: str) -> str:
    """How to go back to the commit that was live before."""
    known = went_live.before(Path.cwd(), space, now)
    if known is None:
        return f"To go back: {typed(f'rollback {space}')}   (to the commit before; --ref names another)\n"
    return f"To go back to the commit that was live before: {typed(f'rollback {space} --ref {known[:10]}')}\n"
