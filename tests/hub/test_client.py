"""The official client must work with a Hub in a box as with the Hub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import RepoCard
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from preflight.local_hub.box import HubInABox
from tests.cli.test_documented import REASONS
from tests.spaces import ROOT, folder_of

from .conftest import Clone

TWO_GIGABYTES = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {2 * 1024**3}\n".encode()


def hf(hub: HubInABox, *arguments: str, fails: bool = False) -> str:
    """The output of the official command line; `fails`: it must fail."""
    done = subprocess.run(
        [Path(sys.executable).with_name("hf"), *arguments], timeout=120,
        env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_any", "HF_HUB_DISABLE_XET": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, f"hf {' '.join(arguments)}\n{done.stdout}"
    return done.stdout


def test_from_nothing_to_a_running_space(hub: HubInABox, tmp_path: Path) -> None:
    """`hf` must upload a Space with a picture, wait for it, read its log and delete it."""
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))
    clone = Clone.of(folder_of("static_files"), tmp_path / "a folder")
    (clone.folder / "site" / "picture.png").write_bytes(picture)
    for name in ("Dockerfile", "README.md"):
        path = clone.folder / name
        path.write_text(path.read_text().replace("7860", "8000"))
    space_id = "Acme-Labs/My_Page.2"
    hub.api.create_repo(space_id, repo_type="space", space_sdk="docker", private=True)

    hf(hub, "upload", space_id, str(clone.folder), ".", "--repo-type=space", "--delete=*")

    assert hub.wait(space_id).stage == "RUNNING"
    assert "--> Pushing image" in "".join(hub.api.fetch_space_logs(space_id, build=True))
    info = hub.api.space_info(space_id)
    assert {"Dockerfile", "README.md", "site/picture.png"} <= {sibling.rfilename for sibling in info.siblings or []}  # fmt: skip
    assert (info.subdomain, info.private) == ("acme-labs-my-page-2", True)
    assert f"{info.host}:".startswith("https://acme-labs-my-page-2.hf.localhost:")
    edge = hub.edge(space_id)
    assert edge.get("/picture.png").status_code == 401, "the Space is private"
    edge.http.headers["X-HF-Authorization"] = "Bearer hf_any"
    assert edge.get("/picture.png").content == picture
    hub.api.delete_repo(space_id, repo_type="space")
    with pytest.raises(RepositoryNotFoundError):
        hub.api.get_space_runtime(space_id)


def test_an_upload_is_judged_as_a_push_is(hub: HubInABox, new_space: str) -> None:
    """The Hub must refuse an upload for the same faults as a push, and commit nothing."""
    before = hub.api.space_info(new_space).sha
    for name, content, said in (
        ("README.md", b"---\nsdk: docker\napp_port: 80\n---\n", '"app_port" must be greater than'),
        ("weights.txt", TWO_GIGABYTES, r"Repository storage limit reached \(Max: 1 GB\)"),
    ):
        with pytest.raises((ValueError, BadRequestError), match=said):
            hub.api.upload_file(
                path_or_fileobj=content, path_in_repo=name, repo_id=new_space, repo_type="space"
            )
    assert hub.api.space_info(new_space).sha == before
    hub.api.upload_folder(repo_id=new_space, repo_type="space", folder_path=folder_of("sound"))
    assert "app.py" in hub.api.list_repo_files(new_space, repo_type="space")


def test_faults_are_the_hubs(hub: HubInABox, new_space: str) -> None:
    """The client must recognise a missing Space, a taken name and a forbidden action."""
    with pytest.raises(RepositoryNotFoundError):
        hub.api.space_info("acme/no-such-space")
    with pytest.raises(RevisionNotFoundError):
        hub.api.space_info(new_space, revision="no-such-branch")
    with pytest.raises(HfHubHTTPError, match="already created this space"):
        hub.api.create_repo(new_space, repo_type="space", space_sdk="docker")
    hub.api.create_repo(new_space, repo_type="space", space_sdk="docker", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="Spaces alone"):
        hub.api.create_repo("acme/a-model")
    with pytest.raises(HfHubHTTPError, match="does not know GET /api/spaces/"):
        hub.api.list_repo_commits(new_space, repo_type="space")


def test_must_say_which_commands_the_hub_alone_has(hub: HubInABox, new_space: str) -> None:
    """docs/deploy.md must name each of its commands that a local Hub refuses, and no other."""
    sentence = re.search(
        r"It does not have (.*?) of the Hub\.", (ROOT / "docs/deploy.md").read_text()
    )
    assert sentence, "docs/deploy.md no longer says it"
    named = re.findall(r"`([^`]+)`", sentence[1])
    commands = REASONS["the Hub alone has hardware and sleep: tests/hub/test_client.py"]
    assert len(commands) == len(named)
    for command in commands:
        assert any(name in command for name in named), f"{command} is not named"
        arguments = command.replace("OWNER/backend-py", new_space).split()[1:]
        assert "this Hub does not know" in hf(hub, *arguments, fails=True)


def test_a_readme_is_validated(hub: HubInABox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`RepoCard.validate` must accept a sound README, and give the Hub's text for another."""
    monkeypatch.setattr("huggingface_hub.repocard.constants.ENDPOINT", hub.endpoint)
    RepoCard("---\nsdk: docker\n---\n").validate(repo_type="space")
    with pytest.raises(ValueError, match='"colorTo" must be one of'):
        RepoCard("---\nsdk: docker\ncolorTo: '#fff'\n---\n").validate(repo_type="space")
