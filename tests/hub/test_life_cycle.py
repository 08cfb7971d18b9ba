"""From a push to the switch of replicas, and the replica that serves if the switch fails."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from preflight.engine.docker import docker
from preflight.local_hub.box import HubInABox
from tests.spaces import folder_of
from tests.waiting import eventually

from .conftest import Clone, Visitor

SIGNER = "acme/signer"
SECRETS = {"SIGNING_KEY": "0123456789abcdef0123456789abcdef-of-the-tests"}
VARIABLES = {"SIGNER_NAME": "Ada"}
# Longer than any wait here; in no layer cache.
ENDLESS = f"RUN sleep 100; echo {secrets.token_hex(4)}"
# Nothing answers on the port that the README names.
NEVER_READY = ("app.py", "PORT = 7860", "PORT = 8000")
# The server listens at the address of its host name alone, as the standalone server of Next.js does.
AT_ITS_HOST_NAME = ("app.py", 'Server(("0.0.0.0", PORT)', "Server((os.uname().nodename, PORT)")
# Longer than the wait between two lines of progress; in no layer cache.
SLOW = f"RUN sleep 3; echo {secrets.token_hex(4)}"


class Live:
    """The signer Space, running, and the clone from which it was pushed."""

    def __init__(self, hub: HubInABox, folder: Path) -> None:
        self.hub = hub
        self.clone = Clone.of(folder_of("sound"), folder)
        self._pushes = 0
        hub.api.create_repo(
            SIGNER,
            repo_type="space",
            space_sdk="docker",
            space_variables=[{"key": key, "value": value} for key, value in VARIABLES.items()],
            space_secrets=[{"key": key, "value": value} for key, value in SECRETS.items()],
        )

    def change(self, *edits: tuple[str, str, str]) -> str:
        """Commit a new page, with more edits (file, old, new) to the sound files; returns the page's text."""
        self._pushes += 1
        page = f"Page {self._pushes}"
        for name in ("app.py", "Dockerfile", "README.md"):
            text = (folder_of("sound") / name).read_text()
            for file, old, new in (("app.py", "<h1>Signer</h1>", f"<h1>{page}</h1>"), *edits):
                assert file != name or old in text, f"{name} has no {old!r}"
                text = text.replace(old, new) if file == name else text
            (self.clone.folder / name).write_text(text)
        self.commit = self.clone.commit()
        return page

    def push(self, commit: str = "HEAD") -> str:
        return self.clone.git(
            "push", "--force", self.hub.remote(SIGNER), f"{commit}:refs/heads/main"
        )

    def push_soundly(self) -> None:
        """Push a sound commit: it must serve afterwards, and no other container may remain."""
        page = self.change()
        self.push()
        assert self.wait() == ("RUNNING", None)
        assert self.page() == page
        assert len(self.containers()) == 1

    def make_sound(self) -> None:
        """Push a sound commit if the head does not run."""
        if self.wait()[0] != "RUNNING":
            self.push_soundly()

    def wait(self) -> tuple[str, str | None]:
        """The stage at which the builder has ended, and the error that the Space's page shows."""
        runtime = self.hub.wait(SIGNER)
        return runtime.stage, runtime.raw.get("errorMessage")

    def wait_for(self, stage: str) -> None:
        """Wait until the Space is at a stage. Fails if the Space gets past it."""
        end = time.monotonic() + 60
        while (runtime := self.hub.api.get_space_runtime(SIGNER)).stage != stage:
            going = runtime.stage.startswith("RUNNING_") and time.monotonic() < end
            assert going, f"not at {stage} but at {runtime.raw}"
            time.sleep(0.02)

    def page(self) -> str:
        """The page's text, through the edge."""
        answer = self.hub.edge(SIGNER).get("/", headers={"Accept": "text/html"})
        assert answer.status_code == 200, answer.text
        return str(re.findall("<h1>(.*)</h1>", answer.text)[0])

    def containers(self) -> list[str]:
        """Every container of the Space, in any state."""
        label = f"label=dev.preflight.space={SIGNER}"
        return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).stdout.split()

    def build_log(self) -> str:
        return "".join(self.hub.api.fetch_space_logs(SIGNER, build=True))


@pytest.fixture(scope="module")
def live(hub: HubInABox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A Space that serves, at any stage that an earlier test has left."""
    live = Live(hub, tmp_path_factory.mktemp("hub") / "a clone")
    live.push_soundly()
    yield live
    hub.api.delete_repo(SIGNER, repo_type="space")


def visited(live: Live) -> Visitor:
    edge = live.hub.edge(SIGNER)
    edge.http.headers["Accept"] = "text/html"
    return Visitor(edge)


def test_an_update_and_the_way_back_lose_no_request(live: Live) -> None:
    """The old build must serve until the new build is ready, in an update and in a roll back."""
    live.make_sound()
    before, earlier = live.page(), live.commit
    with visited(live) as visitor:
        after = live.change()
        live.push()
        live.wait_for("RUNNING_BUILDING")
        live.wait_for("RUNNING_APP_STARTING")
        assert live.wait() == ("RUNNING", None)
        assert [live.page() for _ in range(5)] == [after] * 5
    assert not visitor.lost
    said = [before in answer for answer in visitor.answers]
    assert said[0] and not said[-1] and len(said) > 10
    assert visitor.slowest < 2, "a request waited for a removed replica"

    with visited(live) as visitor:
        live.push(earlier)
        assert live.wait() == ("RUNNING", None)
    assert live.page() == before
    assert live.hub.api.get_space_runtime(SIGNER).raw["sha"] == earlier
    assert not visitor.lost


def test_a_server_at_its_host_name_alone_must_serve(live: Live) -> None:
    """An update to such a server, to a further one and back must lose no request."""
    live.make_sound()
    with visited(live) as visitor:
        for edits in ((AT_ITS_HOST_NAME,), (AT_ITS_HOST_NAME,), ()):
            page = live.change(*edits)
            live.push()
            assert live.wait() == ("RUNNING", None)
            assert live.page() == page
    assert not visitor.lost


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            [("app.py", "PORT = 7860", "raise SystemExit('no model found')")],
            "Exit code: 1. Reason: no model found",
        ),
        (
            [("Dockerfile", 'CMD ["python", "app.py"]', 'CMD ["no-such-program"]')],
            "no-such-program",
        ),
    ],
    ids=["ends", "cannot be run"],
)
def test_a_start_that_never_gets_healthy(
    live: Live, edits: list[tuple[str, str, str]], message: str
) -> None:
    """The stage must be RUNTIME_ERROR with the Hub's text, and the old build must keep serving.

    test_both_spaces covers a start that hangs.
    """
    before = live.page()
    with visited(live) as visitor:
        live.change(*edits)
        live.push()
        stage, error = live.wait()

    assert stage == "RUNTIME_ERROR"
    assert message in str(error)
    assert not visitor.lost
    assert live.page() == before


def test_a_configuration_that_cannot_be_read(live: Live) -> None:
    """An invalid configuration must have the Hub's stage and text.

    No `sdk`, no block, a name in both lists, no Dockerfile.
    """
    before = live.page()
    missing = ("CONFIG_ERROR", "Missing configuration in README")
    for old, new in (("sdk: docker\n", ""), ("---\ntitle", "title")):
        live.change(("README.md", old, new))
        live.push()
        assert live.wait() == missing, new

    live.change()
    (live.clone.folder / "Dockerfile").unlink()
    live.clone.commit()
    live.push()
    assert live.wait()[0] == "NO_APP_FILE"

    live.hub.api.add_space_secret(SIGNER, "SIGNER_NAME", "also a secret")
    assert live.wait() == ("CONFIG_ERROR", "Collision on variables and secrets names")
    assert live.page() == before
    live.hub.api.delete_space_secret(SIGNER, "SIGNER_NAME")
    assert live.wait()[0] == "NO_APP_FILE"


def test_the_logs_have_the_hubs_shape(live: Live) -> None:
    """The official client must read both logs: the build's to its end, the replica's while it runs."""
    live.change()
    live.push()
    following = "".join(live.hub.api.fetch_space_logs(SIGNER, build=True, follow=True))
    assert live.wait() == ("RUNNING", None)

    assert live.build_log() == following
    head = rf"===== Build Queued at [\d-]+ [\d:]+ / Commit SHA: {live.commit[:7]} =====\n\n--> "
    assert re.match(head, following), following
    assert re.search(
        r"^--> COPY --chown=1000:1000 app.py \.\n(.*\n)*?DONE \d+\.\ds$", following, re.M
    )
    assert re.search(r"^--> Pushing image\n(.*\n)*?DONE \d+\.\ds$", following, re.M)
    lines = live.hub.api.fetch_space_logs(SIGNER, follow=True)
    assert re.match(r"===== Application Startup at [\d-]+ [\d:]+ =====\n\n", next(iter(lines)))
    assert '"event": "listening"' in next(iter(lines))


def test_secrets_and_variables_reach_the_replica(live: Live) -> None:
    """Each change must start a new replica; without a required value it must end, and the old one serve."""
    live.make_sound()
    api, before = live.hub.api, live.page()

    def signer() -> str:
        answer = live.hub.edge(SIGNER).post("/sign", json={"text": "a"})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["signer"])

    for name in ("Joan", "Grace"):
        # The second ends the builder of the first.
        api.add_space_variable(SIGNER, "SIGNER_NAME", name)
    assert live.wait() == ("RUNNING", None)
    assert signer() == "Grace"
    api.delete_space_secret(SIGNER, "SIGNING_KEY")
    stage, error = live.wait()
    assert (stage, error) == ("RUNTIME_ERROR", "Exit code: 3. Reason: SIGNING_KEY: missing")
    assert (signer(), live.page()) == ("Grace", before)
    log = "".join(api.fetch_space_logs(SIGNER))
    assert log.endswith("SIGNING_KEY: missing\n"), log
    api.add_space_secret(SIGNER, "SIGNING_KEY", SECRETS["SIGNING_KEY"])
    assert live.wait() == ("RUNNING", None)
    secrets = api.get_space_secrets(SIGNER)
    assert set(secrets) == {"SIGNING_KEY"}
    assert SECRETS["SIGNING_KEY"] not in repr(secrets) + live.build_log() + live.hub.log()


@pytest.mark.thorough
def test_another_app_port(live: Live) -> None:
    """The Space must answer at the same address after a change of `app_port`, and after its return."""
    live.make_sound()
    address = live.hub.api.space_info(SIGNER).host
    page = live.change(
        ("app.py", "PORT = 7860", "PORT = 8000"), ("README.md", "app_port: 7860", "app_port: 8000")
    )
    live.push()
    assert live.wait() == ("RUNNING", None)
    assert live.page() == page

    live.push_soundly()

    assert live.hub.api.space_info(SIGNER).host == address


def test_restart_and_pause(live: Live) -> None:
    """A restart must start a replica of the same image, also for a paused Space without a replica."""
    live.make_sound()
    page, before, log = live.page(), live.containers(), live.build_log()
    live.hub.api.restart_space(SIGNER)
    assert live.wait() == ("RUNNING", None)
    assert live.page() == page
    assert not set(before) & set(live.containers())

    live.hub.api.pause_space(SIGNER)
    assert live.wait()[0] == "PAUSED"
    assert not live.containers()
    live.hub.api.restart_space(SIGNER)
    assert live.wait() == ("RUNNING", None)
    assert live.page() == page
    assert live.build_log() == log, "the restart built the image again"


def test_the_serving_replica_is_killed(live: Live) -> None:
    """Stage and edge must report the end as the Hub does, and a factory rebuild must start the Space again.

    A factory rebuild uses no cached layer.
    """
    live.make_sound()
    page = live.page()
    docker("kill", *live.containers())

    assert live.wait() == ("RUNTIME_ERROR", "Exit code: 137.")
    answer = live.hub.edge(SIGNER).get("/")
    assert (answer.status_code, answer.text) == (503, "Your space is in error, check its status on hf.co")  # fmt: skip
    live.hub.api.restart_space(SIGNER, factory_reboot=True)
    assert live.wait() == ("RUNNING", None)
    assert "CACHED" not in live.build_log()
    assert live.page() == page


def test_a_push_takes_the_place_of_the_one_at_build(live: Live) -> None:
    """The newer commit must serve, and the Hub must end the older commit's build."""
    live.change(("Dockerfile", "WORKDIR /app", ENDLESS))
    live.push()
    eventually("the endless build step", 30, lambda: f"--> {ENDLESS}" in live_log(live))

    live.push_soundly()

    assert not building(live)


def test_a_push_must_be_followed_on_the_terminal(live: Live) -> None:
    """The Hub must print that it received a push, each stage until the new commit serves, and the build's steps."""
    live.change(("Dockerfile", "WORKDIR /app", f"{SLOW}\nWORKDIR /app"))
    live.push()
    assert live.wait() == ("RUNNING", None)

    def printed() -> bool:
        _, pushed, rest = live.hub.log().rpartition(f"{SIGNER}: push of {live.commit[:7]}: ")
        lines = rest.splitlines()
        starts, runs = f"{SIGNER}: RUNNING_APP_STARTING", f"{SIGNER}: RUNNING"
        if not pushed or starts not in lines:
            return False
        at = lines.index(starts)
        return runs in lines[at:] and any("RUN sleep" in line for line in lines[:at])

    eventually("the stages and steps of the push", 5, printed)


def test_a_hub_that_died_must_start_its_spaces_again(live: Live) -> None:
    """A new Hub must start the Spaces from the state folder alone."""
    live.make_sound()
    page = live.page()

    live.hub.kill()
    live.hub.start()

    assert live.wait() == ("RUNNING", None)
    assert live.page() == page
    assert len(live.containers()) == 1


def test_a_start_at_work_must_get_more_time(tmp_path: Path) -> None:
    """A model that loads for longer than the start deadline must serve afterwards, as on the Hub."""
    loads = "    end = time.time() + 9\n    while time.time() < end:\n        sum(range(100_000))\n"
    serves = '    server = Server(("0.0.0.0", PORT), Handler)'
    with HubInABox(tmp_path / "an impatient hub", ["start_deadline=2"]) as hub:
        slow = Live(hub, tmp_path / "a clone")
        page = slow.change(("app.py", serves, loads + serves))
        slow.push()
        assert slow.wait() == ("RUNNING", None)
        assert slow.page() == page


def building(live: Live) -> list[psutil.Process]:
    """The commands that build an image of the Space for this Hub."""
    run = live.hub.kept(SIGNER).hub.run.id
    tag = re.compile(rf"--tag=preflight/acme-signer-\w+:{run}")
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(tag.fullmatch(part) for part in process.info["cmdline"] or ())
    ]


def live_log(live: Live) -> str:
    log = live.hub.folder / "spaces" / SIGNER / "build.jsonl"
    return log.read_text() if log.exists() else ""
