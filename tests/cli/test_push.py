"""`make push` must push only what has passed, and lose no commit."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from preflight.cli import live, went_live
from preflight.cli.hub import Refused, SpaceId
from preflight.cli.settings import faults_of
from preflight.model.environment import EnvironmentDeclaration
from tests.cli.desk import ROOT, Desk
from tests.cli.documents import typed

SPACE = "OWNER/signer"
PUSH = ("push", "signer", "--space", SPACE)
BROKEN = "colorFrom: orange"


@pytest.fixture(scope="module")
def desk_with_a_space(first_desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with a small Space: in the clone, and new on the Hub."""
    desk = first_desk.copy(tmp_path_factory.mktemp("desk") / "with a Space")
    desk.sh(f"cp -r '{ROOT}/src/preflight/templates/python' signer && git add signer")
    desk.sh("git commit -qm 'A Space'")
    desk.create_space("signer")
    return desk


@pytest.fixture
def desk(desk_with_a_space: Desk, tmp_path: Path) -> Desk:
    return desk_with_a_space.copy(tmp_path / "a desk")


def break_it(desk: Desk) -> None:
    desk.sh(f"sed -i 's/^colorFrom: .*/{BROKEN}/' signer/README.md && git commit -qam Orange")


def test_plain_git_push_is_judged_by_the_hook(desk: Desk) -> None:
    """The hook must stop a failing commit, also in a worktree at a path with spaces; other remotes pass."""
    desk.types(typed("preflight hook"))
    break_it(desk)
    desk.sh("git worktree add -q '../another tree' -b other && git init -q --bare ../backup")
    split = "$(git subtree split -q --prefix signer)"
    push = f"cd '../another tree' && git push --force https://huggingface.co/spaces/{SPACE} {split}:refs/heads/main"

    with pytest.raises(AssertionError) as refused:
        desk.sh(push)

    assert "metadata.colours_are_known" in str(refused.value)
    assert "git push --no-verify" in str(refused.value)
    desk.sh("cd '../another tree' && git push -q ../backup HEAD:refs/heads/main")
    desk.sh(push.replace("git push", typed("git push --no-verify")))
    assert desk.received("signer", "main^{tree}") == desk.committed("signer")


def test_another_hook_must_stay(desk: Desk) -> None:
    theirs = desk.clone / ".git" / "hooks" / "pre-push"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("#!/bin/sh\nexec git lfs pre-push\n")
    code, said = desk.run("hook")
    assert (code, theirs.read_text()) == (1, "#!/bin/sh\nexec git lfs pre-push\n")
    assert str(theirs) in said and 'preflight hook run "$@"' in re.sub(r"'", "", said)


def test_uncommitted_files_must_not_be_pushed(desk: Desk) -> None:
    (desk.clone / "signer" / "model.bin").write_text("new")
    (desk.clone / "elsewhere.txt").write_text("no part of the Space")
    code, said = desk.run(*PUSH)
    assert code == 1
    assert "not committed in signer, so not in a push: model.bin\n" in said


def test_a_shallow_clone_must_be_reported(desk: Desk) -> None:
    desk.sh(
        "git commit -q --allow-empty -m Another && git clone -q --depth 1 \"file://$PWD\" '../shallow clone'"
    )
    desk.clone = desk.clone.parent / "shallow clone"
    code, said = desk.run(*PUSH)
    assert code == 1
    assert "the clone is shallow: 1 commits were looked at" in said
    unshallow = typed("git fetch --unshallow")
    assert unshallow in said and "fetch-depth: 0" in said
    desk.sh(unshallow)
    assert desk.sh("git rev-parse --is-shallow-repository").strip() == "false"


def test_work_of_others_is_not_replaced(desk: Desk) -> None:
    """A change made on the Hub must stop the push, and the message must name both ways out."""
    desk.sh(
        f"cd '{desk.hub}/seed/signer' && echo theirs >app.py && git add . && git commit -qm 'Edit on the Hub'"
        f" && git push -q '{desk.bare('signer')}' HEAD:main"
    )
    theirs = desk.received("signer", "main")
    code, said = desk.run(*PUSH, "--force")
    assert (code, desk.received("signer", "main")) == (1, theirs)
    assert "Edit on the Hub" in said
    assert f"git push --force-with-lease=refs/heads/main:{theirs}" in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("push", "signer"), "OWNER/NAME"),
        (("push", "signer", "--space", "OWNER/gone"), "Does the Space exist"),
    ],
)
def test_an_invalid_target_must_be_refused(
    arguments: tuple[str, ...], complaint: str, desk: Desk
) -> None:
    code, said = desk.run(*arguments)
    assert code == 1 and complaint in said, said


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("signer", "OWNER/NAME"),
        ("OWNER/sig--ner", "without `--` or `..`"),
        ("OWNER/" + "x" * 97, "1 to 96 of letters"),
    ],
)
def test_an_invalid_name_must_be_refused(name: str, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint):
        SpaceId.of(name)


def test_going_back(desk: Desk) -> None:
    """A roll back must reach the previous or the named commit, never a commit that the Hub did not have."""
    for number in (1, 2, 3):
        desk.sh(f"git commit -q --allow-empty -m 'State {number}' && git push -qf '{desk.bare('signer')}' HEAD:main")  # fmt: skip
    third, first = desk.received("signer", "main"), desk.received("signer", "main~2")
    back = ("rollback", SPACE)

    code, said = desk.run(*back, "--dry-run")
    assert (code, desk.received("signer", "main")) == (0, third)
    assert re.search(r"from  \w+ State 3\nto    \w+ State 2\ngit push --force-with-lease", said)
    assert "not in the history of" in desk.run(*back, "--ref", desk.sh("git commit-tree -m x HEAD^{tree}").strip())[1]  # fmt: skip
    code, said = desk.run(*back, "--ref", "v9")
    assert code == 1 and "no such commit" in said and "State 1" in said
    assert desk.run(*back, "--ref", first[:10])[0] == 0
    assert desk.received("signer", "main") == first


def test_a_space_in_a_repository_of_its_own(desk: Desk) -> None:
    """HEAD itself must be judged, once, and with force replace the Hub's own commit."""
    desk.sh("cp -r signer '../signer alone' && cd '../signer alone' && git init -q && git add . && git commit -qm Mine")  # fmt: skip
    desk.clone = desk.clone.parent / "signer alone"
    desk.sh("sed -i 's/^sdk: .*/sdk: gradio/' README.md && git commit -qam Gradio")
    assert desk.run("hook")[0] == 0
    push = typed("preflight push . --space OWNER/backend-py", {"OWNER/backend-py": SPACE})

    code, said = desk.types(push, "--force")

    assert code == 0, said
    assert "subtree" not in said
    assert said.count("judging it") == 1, "the hook judged the commit again"
    assert "--force: PUSHING WHAT DID NOT PASS" in said
    assert said.index("git push --force-with-lease") < said.index("main (forced update)")
    assert f"preflight live {SPACE}" in said and "not compared, HF_TOKEN is not set" in said
    assert desk.received("signer", "main") == desk.sh("git rev-parse HEAD").strip()
    assert "nothing to push" in desk.types(push, "--force")[1]


def test_make_must_pass_every_argument_on() -> None:
    given = ["SPACE=me/book", "REMOTE=there", "DRY=1", "FORCE=1"]
    for target, folder in (("push-py", "backend-py"), ("push-node", "backend-node")):
        done = subprocess.run(
            ["make", "--dry-run", target, *given], cwd=ROOT, capture_output=True, text=True, timeout=30
        )  # fmt: skip
        assert (
            f'push "{folder}" --space "me/book" --remote "there" --dry-run --force' in done.stdout
        )


def test_make_must_take_one_space_and_name_a_missing_folder() -> None:
    """`make check SPACE=DIR` must check only that folder; `make push` must not take the current one."""
    done = subprocess.run(
        ["make", "--dry-run", "check", "SPACE=backend-py"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert "preflight check backend-py " in done.stdout
    done = subprocess.run(
        ["make", "--dry-run", "push", "SPACE=me/book"], cwd=ROOT, capture_output=True, text=True, timeout=30
    )  # fmt: skip
    assert done.returncode == 2 and "DIR is missing" in done.stderr


def test_the_way_back_must_lead_to_what_was_live(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that served before a push must be named, not the parent commit, which may never have served."""
    served = desk.sh("git rev-parse HEAD").strip()
    runtime = SimpleNamespace(stage="RUNNING", raw={"sha": served})
    monkeypatch.setattr(
        went_live, "HfApi", lambda: SimpleNamespace(get_space_runtime=lambda _: runtime)
    )
    space = SpaceId("OWNER", "signer")
    went_live.remember(desk.clone, space)
    desk.sh("git commit -q --allow-empty -m 'was refused' && git commit -q --allow-empty -m next")
    runtime.stage, runtime.raw["sha"] = "BUILD_ERROR", desk.sh("git rev-parse HEAD~1").strip()
    went_live.remember(desk.clone, space)
    monkeypatch.chdir(desk.clone)
    now = desk.sh("git rev-parse HEAD").strip()
    assert f"--ref {served[:10]}\n" in live.way_back(space, now)


DECLARATION = """
# The key.
# @required @sensitive @sample=sample-key-of-thirty-two-characters
KEY=
# The mode.
# @required @type=enum(on, off)
MODE=
# Only in mode on.
# @required=forEq($MODE, on) @sensitive
TOKEN=
# @optional
LEVEL=
"""


@pytest.mark.parametrize(
    ("variables", "secrets", "expected"),
    [
        ({"MODE": "off"}, {"KEY"}, []),
        ({"MODE": "on", "LEVEL": "info"}, {"KEY", "TOKEN"}, []),
        ({}, set(), ["KEY: missing; enter it as a Secret (The key.)", "MODE: missing; enter it as a Variable"]),
        ({"MODE": "on"}, {"KEY"}, ["TOKEN: missing; enter it as a Secret"]),
        ({"MODE": "maybe"}, {"KEY"}, ["MODE: holds an invalid value; it is declared as enum"]),
        ({"MODE": " "}, {"KEY"}, ["MODE: is empty and required"]),
        ({"MODE": "off", "KEY": "s3cret"}, set(), ["KEY: is a Variable, which everybody can read"]),
        ({"MODE": "off", "KEY": "s3cret"}, {"KEY"}, ["KEY: is a Variable and a Secret", "KEY: is a Variable, which"]),
        ({"MODE": "off", "OLD": "1"}, {"KEY"}, ["OLD: set there and not declared"]),
    ],
)  # fmt: skip
def test_settings_must_be_compared_with_the_declaration(
    variables: dict[str, str], secrets: set[str], expected: list[str]
) -> None:
    declaration = EnvironmentDeclaration.of_text(DECLARATION)
    problems = [str(fault) for fault in faults_of(declaration, variables, secrets)]
    assert len(problems) == len(expected), problems
    for problem, beginning in zip(problems, expected, strict=True):
        assert problem.startswith(beginning)
        assert "s3cret" not in problem


def test_an_address_must_give_a_space_or_none() -> None:
    book = SpaceId("me", "book")
    for url in (
        "https://huggingface.co/spaces/me/book",
        "https://huggingface.co/spaces/me/book/",
        "https://user:token@huggingface.co/spaces/me/book.git",
        "git@hf.co:spaces/me/book",
    ):
        assert SpaceId.of_remote(url) == book
    for url in (
        "https://github.com/spaces/me",
        "https://huggingface.co/me/book",
        "https://example.com/huggingface.co/spaces/me/book",
        "../backup",
    ):
        assert SpaceId.of_remote(url) is None
    assert SpaceId.of("https://huggingface.co/spaces/me/book") == book


def test_a_token_in_an_address_is_not_shown(desk: Desk) -> None:
    """A token in an address must be in no message, neither ours nor git's."""
    address = "https://ada:hf_s3cret@127.0.0.1:9/spaces/OWNER/signer"
    code, said = desk.run("push", "signer", "--remote", address)
    assert code == 1 and "https://…@127.0.0.1:9/spaces/OWNER/signer cannot be read" in said
    assert "hf_s3cret" not in said


def test_the_desk_is_not_this_checkout(desk: Desk) -> None:
    """No hook and no commit of these tests may reach this repository."""
    assert Path(desk.sh("git rev-parse --show-toplevel").strip()) == desk.clone
