"""`preflight push --load` must not push a Space that crosses its slo.toml."""

from __future__ import annotations

from pathlib import Path

from tests.cli.desk import ROOT, Desk

from .conftest import QUIET

PUSH = ("push", "signer", "--space", "OWNER/signer", "--load")
LIMITS = "[generator]\n" + "".join(f"{key} = {value}\n" for key, value in QUIET.items())


def test_a_commit_that_crosses_its_slo_must_not_be_pushed(tmp_path: Path) -> None:
    desk = Desk.new(tmp_path / "desk")
    desk.sh(f"cp -r '{ROOT}/src/preflight/templates/python' signer")
    # No server answers within a hundredth of a millisecond.
    (desk.clone / "signer" / "slo.toml").write_text(f'["GET /health"]\np50 = 0.01\n{LIMITS}')
    desk.sh("git add signer && git commit -qm 'A Space'")
    desk.create_space("signer")
    before = desk.received("signer", "main")
    code, said = desk.run(*PUSH)
    assert code == 1, said
    assert "Load: crossed (exit code 1)" in said
    assert "did not pass, so it is not pushed" in said
    assert desk.received("signer", "main") == before
