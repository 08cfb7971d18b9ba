"""The documented commands must take a new Space from its first file to its roll back, on a Hub in a box."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from preflight.rules.metadata import online_problems
from tests.cli.desk import ROOT, Desk
from tests.cli.documents import typed

if TYPE_CHECKING:
    from preflight.local_hub.box import HubInABox

SPACE = "acme/signer-of-notes"
# All checks of files, and of a running Space only whether it serves: other tests cover the whole
# contract.
IN_SHORT = "-k 'metadata or push or declaration or dockerfile or test_serves or front_page'"


def test_from_a_new_space_to_its_roll_back(desk: Desk, hub: HubInABox) -> None:
    """A private Space must go from `new` to a roll back, with a missing Secret found and fixed."""
    folder = SPACE.partition("/")[2]
    names = {"OWNER/NAME": SPACE}
    code, said = desk.types(typed("preflight new my-space", {"my-space": folder}))
    assert code == 0, said
    desk.sh("docker compose -f compose.yaml -f compose.test.yaml config -q")
    desk.sh("docker compose -f compose.yaml -f compose.edge.yaml config -q")
    desk.sh(f"git add . && git commit -qm 'A new Space' && cp -r {folder} ../kept")
    desk.environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_any_token"}
    hub.api.create_repo(SPACE, repo_type="space", space_sdk="docker", private=True)
    made_by_the_hub = hub.api.space_info(SPACE).sha
    hub.api.add_space_variable(SPACE, "SIGNER_NAME", "Ada")
    hub.api.add_space_variable(SPACE, "SIGNING_KEYS", "misspelt")

    desk.environment["PYTEST_ADDOPTS"] = IN_SHORT
    push = typed("preflight push my-space --space OWNER/NAME", names | {"my-space": folder})
    code, said = desk.types(push)
    assert code == 1 and f"{SPACE} lacks SIGNING_KEY" in said, said
    assert hub.api.space_info(SPACE).sha == made_by_the_hub, (
        "a Space that would not start was pushed"
    )
    code, said = desk.types(push, "--set")
    assert code == 1 and "neither" in said and "SIGNING_KEY" in said, said
    code, said = desk.types(push, "--without-secrets")
    del desk.environment["PYTEST_ADDOPTS"]

    assert code == 0, said
    assert len(re.findall(rf"{folder}: holds\. \d+ checks held", said)) == 2, said
    assert "SIGNING_KEY: missing; enter it as a Secret" in said
    assert "SIGNING_KEYS: set there and not declared" in said
    first = desk.sh(f"git subtree split -q --prefix {folder}").strip()
    assert hub.api.space_info(SPACE).sha == first

    live = typed("preflight live OWNER/NAME", names)
    code, said = desk.types(live)

    assert code == 1
    assert "RUNTIME_ERROR" in said and "SIGNING_KEY: missing" in said.partition("run log")[2]

    hub.api.delete_space_variable(SPACE, "SIGNING_KEYS")
    hub.api.add_space_secret(SPACE, "SIGNING_KEY", "k" * 40)
    code, said = desk.types(live, "--ref", first[:10])

    assert code == 0, said
    assert f"{SPACE} at {first[:7]}" in said
    assert "RUNNING: it serves" in said
    assert "1 Variable, 1 Secret; no required one is missing" in said
    assert re.search(rf"{folder}: holds\. \d+ checks held, \d+ not applicable\.", said), said
    assert "live. The report above says how much was probed" in said
    assert "k" * 40 not in said
    assert hub.edge(SPACE).get("/").status_code == 401, "the Space is not private"

    desk.commit(f"{folder}/README.md", "One line more.\n")
    desk.sh(f"git push -q {hub.remote(SPACE)} $(git subtree split -q --prefix {folder}):main")
    assert hub.wait(SPACE).stage == "RUNNING"
    assert hub.api.space_info(SPACE).sha != first
    code, said = desk.types(
        typed("preflight rollback OWNER/backend-py", {"OWNER/backend-py": SPACE})
    )

    assert code == 0, said
    assert hub.wait(SPACE).raw["sha"] == first


def test_what_does_not_pass_is_refused_here_and_there(desk: Desk, hub: HubInABox) -> None:
    """An invalid README must be reported in seconds; with force, the Hub must refuse it before a push."""
    desk.sh(f"cp -r '{ROOT}/tests/selftest/spaces/static_files' web")
    desk.sh("sed -i 's/^colorFrom: .*/colorFrom: orange/' web/README.md && git add . && git commit -qm Web")  # fmt: skip
    desk.environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_any_token"}
    hub.api.create_repo("acme/refused", repo_type="space", space_sdk="docker")
    before = hub.api.space_info("acme/refused").sha
    push = ("push", "web", "--space", "acme/refused")

    code, refused = desk.run(*push)
    assert code == 1
    for part in (
        "metadata.colours_are_known",
        "README.md:4: `colorFrom: orange`",
        "--force pushes",
    ):
        assert part in refused
    assert "git push" not in refused

    code, tried = desk.run(*push, "--force", "--dry-run")
    assert code == 1
    assert "--force: PUSHING WHAT DID NOT PASS" in tried and "--dry-run: not pushed" in tried

    code, forced = desk.run(*push, "--force")
    assert code == 1
    assert 'remote: - Error: "colorFrom" must be one of [red, yellow' in forced
    assert "goes on serving what it served" in forced
    assert hub.api.space_info("acme/refused").sha == before


def test_online_must_use_the_verdict_of_the_hub(
    hub: HubInABox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    assert online_problems(b"---\nsdk: docker\n---\n") == []
    (problem,) = online_problems(b"---\nsdk: docker\ncolorTo: orange\n---\n")
    assert '"colorTo" must be one of' in problem.actual


def test_an_absent_space_must_be_reported(desk: Desk, hub: HubInABox) -> None:
    desk.environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_any_token"}
    code, said = desk.run("live", "acme/nowhere")
    assert (code, said) == (1, "live: the Hub answered 404: there is no such Space, or it is private and HF_TOKEN is missing or not of its owner\n")  # fmt: skip


def test_an_unreachable_hub_is_reported(desk: Desk) -> None:
    """The command must report it in a separate process too."""
    desk.environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_any_token"}
    command = [sys.executable, "-m", "preflight", "live", SPACE]
    done = subprocess.run(
        command, cwd=desk.clone, env=desk.environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("live: no answer from http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1 and "hf_any_token" not in done.stderr
