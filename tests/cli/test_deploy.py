"""The commands of docs/deploy.md must push each Space to a repository like the Hub's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from preflight.cli.settings import faults_of
from preflight.engine.image import build
from preflight.engine.run import Run
from preflight.model.environment import EnvironmentDeclaration
from preflight.model.frontmatter import FrontMatter
from tests.cli.desk import HUB_FILES, ROOT, SPACES, Desk
from tests.cli.documents import section, typed

if TYPE_CHECKING:
    from preflight.local_hub.box import HubInABox


def of_space(space: str, blocks: list[str]) -> str:
    """The one block of commands that concerns a Space."""
    short = space.removeprefix("backend-")
    concerned = [block for block in blocks if re.search(rf"\bspace-{short}\b", block)]
    assert len(concerned) == 1, f"one block of commands for {space}, not {len(concerned)}"
    return concerned[0]


@pytest.mark.parametrize("name", SPACES)
def test_the_documented_pushes_deliver_a_complete_space(
    name: str, desk: Desk, run: Run, tmp_path: Path
) -> None:
    """First push, second push and roll back must deliver the committed folder, which builds alone."""
    with pytest.raises(AssertionError, match="rejected"):
        desk.sh(f"git push 'file://{desk.bare(name)}' HEAD:main")

    said = desk.sh(of_space(name, section("docs/deploy.md", "First push")))

    assert "main (forced update)" in said
    assert desk.received(name, "main^{tree}") == desk.committed(name)
    export = tmp_path / "received"
    export.mkdir()
    desk.sh(f"git -C '{desk.bare(name)}' archive main | tar -x -C '{export}'")
    assert FrontMatter.of_readme((export / "README.md").read_bytes()).get("sdk") == "docker"
    assert {"Dockerfile", ".dockerignore", ".env.example"} <= {p.name for p in export.iterdir()}
    assert not list(export.rglob("preflight")), "the harness stays here"
    build(run, f"pushed-{name}", export)

    first = desk.received(name, "main")
    desk.commit("README.md", "Not part of any Space.\n")
    desk.commit(f"{name}/README.md", "One line more.\n")
    push_again = of_space(name, section("docs/deploy.md", "Push again"))
    said = desk.sh(push_again)

    assert "forced" not in said
    assert desk.received(name, "main^{tree}") == desk.committed(name)
    assert desk.received(name, "main~1") == first

    said = desk.sh(of_space(name, section("docs/deploy.md", "Go back")))

    assert "main (forced update)" in said
    assert desk.received(name, "main") == first
    desk.sh(push_again)
    assert desk.received(name, "main^{tree}") == desk.committed(name)


def test_the_other_git_commands_must_work(desk: Desk) -> None:
    """Before the first push the Hub's `.gitattributes` must be there to take; after it, the list of commits."""
    *before, push = of_space("backend-py", section("docs/deploy.md", "First push")).splitlines()
    desk.sh("\n".join(before))
    desk.sh(typed("git show space-py/main:.gitattributes > backend-py/.gitattributes"))
    assert (desk.clone / "backend-py" / ".gitattributes").read_text() == HUB_FILES[".gitattributes"]
    desk.sh("git add . && git commit -qm 'Large files' && " + push)
    assert "Large files" in desk.sh(typed("git log --oneline space-py/main"))
    desk.sh(typed("git subtree split --prefix backend-py --branch backend-py"))
    assert desk.sh("git rev-parse backend-py^{tree}").strip() == desk.committed("backend-py")


def test_the_first_push_replaces_nothing_that_was_not_fetched(desk: Desk) -> None:
    """A push between the fetch and our push must stay, and ours must be refused."""
    space = "backend-py"
    *before, push = of_space(space, section("docs/deploy.md", "First push")).strip().splitlines()
    desk.sh("\n".join(before))
    desk.sh(
        f"cd '{desk.hub}/seed/{space}' && git commit -q --allow-empty -m Theirs"
        f" && git push -q '{desk.bare(space)}' HEAD:main"
    )
    theirs = desk.received(space, "main")

    with pytest.raises(AssertionError, match="stale info"):
        desk.sh(push)

    assert desk.received(space, "main") == theirs


def test_the_documented_settings_are_all_that_is_needed(desk: Desk, hub: HubInABox) -> None:
    """After steps 1 to 3 of the guide, no Space may lack a Variable or a Secret."""
    steps = [
        *section("docs/deploy.md", "1. Account and token"),
        *section("docs/deploy.md", "2. Two Spaces"),
        *section("docs/deploy.md", "3. Variables and Secrets"),
    ]
    # The environment already has the values that a user types.
    script = re.sub(r"^read -rs (\w+) && export \1$", r": ${\1:?}", "".join(steps), flags=re.M)
    desk.environment |= {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_any_token"}
    desk.environment |= {"DATABASE_URL": "postgres://ada@db.example.com/auth"}

    said = desk.sh(script)

    assert hub.api.whoami()["name"] in said
    for name in SPACES:
        declaration = EnvironmentDeclaration.of_file(ROOT / name / ".env.example")
        variables = {
            key: str(variable.value)
            for key, variable in hub.api.get_space_variables(f"OWNER/{name}").items()
        }
        secrets = set(hub.api.get_space_secrets(f"OWNER/{name}"))
        assert variables and not list(faults_of(declaration, variables, secrets))

    first = hub.api.get_space_secrets("OWNER/backend-node")["BETTER_AUTH_SECRET"].updated_at
    desk.sh(
        typed('export BETTER_AUTH_SECRET="$(openssl rand -base64 32)"') + "\n"
        + typed("hf spaces secrets add OWNER/backend-node -s BETTER_AUTH_SECRET")
    )  # fmt: skip
    rotated = hub.api.get_space_secrets("OWNER/backend-node")["BETTER_AUTH_SECRET"].updated_at
    assert first and rotated and rotated > first
    front = "CORS_ORIGINS=https://PROJECT.vercel.app"
    desk.sh(
        typed("hf spaces variables add OWNER/backend-py -e CORS_ORIGINS=https://PROJECT.vercel.app")
    )
    desk.sh(
        typed(
            "hf spaces variables add OWNER/backend-node -e CORS_ORIGINS=https://PROJECT.vercel.app"
            " -e BETTER_AUTH_URL=https://PROJECT.vercel.app"
        )
    )
    for name in SPACES:
        set_there = hub.api.get_space_variables(f"OWNER/{name}")
        assert f"CORS_ORIGINS={set_there['CORS_ORIGINS'].value}" == front
        hub.api.delete_repo(f"OWNER/{name}", repo_type="space")


def test_the_workflow_types_the_documented_commands() -> None:
    """Each `make` of the deployment workflow must be a target that takes the workflow's arguments."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
    job = workflow["jobs"]["deploy"]
    steps = [step["run"] for step in job["steps"] if "run" in step]
    assert steps == ["make push", "make live"]
    given = os.environ | {"DIR": "backend-py", "SPACE": "ada/backend-py"}
    assert set(given) >= set(job["env"]) - {"HF_TOKEN"}
    for step in steps:
        command = [*step.split(), "--dry-run"]
        shown = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True)
        assert re.search(
            r'"backend-py" .*"ada/backend-py"|"ada/backend-py" .*"backend-py"', shown.stdout
        )


def test_the_named_variables_are_declared() -> None:
    """The table must have each required name of each Space, in the right list."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    rows = re.findall(r"^\| `(backend-\w+)`[^|]*\|([^|]*)\|([^|]*)\|$", text, re.M)
    assert {space for space, _, _ in rows} == set(SPACES)
    for space in SPACES:
        declared = {
            variable.name: variable
            for variable in EnvironmentDeclaration.of_file(ROOT / space / ".env.example").variables
        }
        named = set()
        for _, secrets, variables in (row for row in rows if row[0] == space):
            for cell, sensitive in ((secrets, True), (variables, False)):
                for name in re.findall(r"`([A-Z_]+)`", cell):
                    assert declared[name].sensitive == sensitive, f"{space}: {name}"
                    named.add(name)
        required = {name for name, variable in declared.items() if variable.required}
        assert required <= named, f"{space}: {required - named} missing in docs/deploy.md"
