"""The options that the plugin adds to pytest."""

from __future__ import annotations

import pytest

from preflight.model.problems import Severity


def add(parser: pytest.Parser) -> None:
    """Add all of them."""
    group = parser.getgroup("preflight", "Preflight for Hugging Face Spaces")
    group.addoption(
        "--space",
        action="append",
        default=[],
        metavar="DIR",
        help="the contract for this Space folder instead, or for hf:OWNER/NAME, which is cloned from the Hub (or HF_ENDPOINT); repeatable",
    )
    group.addoption(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="the value of a variable that the Space reads; repeatable; comes before all other values",
    )
    group.addoption(
        "--env-file",
        action="append",
        default=[],
        metavar="FILE",
        help="a dotenv file of such values; repeatable; without a declared environment the folder's .env and then the values in its .env.example count too",
    )
    group.addoption(
        "--fix",
        action="store_true",
        help="fix what is mechanical in the front matter of each --space DIR first, and show the difference",
    )
    group.addoption(
        "--ref",
        metavar="REF",
        help="judge and build what is committed at REF instead of the working folder",
    )
    group.addoption(
        "--live",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="black-box checks against a running Space; repeatable",
    )
    group.addoption(
        "--browser",
        action="store_true",
        help="also open each page in Chromium, inside a frame as the Hub shows it; needs the extra `browser`",
    )
    group.addoption(
        "--live-writes",
        action="store_true",
        help="send a live Space any method and as many requests as the checks need; without it GET, HEAD and OPTIONS alone, at most 60, 5 a second",
    )
    group.addoption(
        "--online",
        action="store_true",
        help="also ask the Hub's own endpoint whether it accepts the front matter",
    )
    group.addoption(
        "--owner",
        metavar="OWNER",
        help="the account that will own the Spaces; default: that of the git remote on the Hub",
    )
    group.addoption(
        "--report-dir",
        metavar="DIR",
        help="where preflight.json and index.html go; default: a folder of the user's cache",
    )
    group.addoption(
        "--keep",
        action="store_true",
        help="leave the stack up after a failure, and say how to look at it",
    )
    group.addoption(
        "--reuse",
        action="store_true",
        help="use the stack that --keep or an earlier --reuse left, where it is still current, and leave it up",
    )
    group.addoption(
        "--hub",
        action="append",
        default=[],
        metavar="PROFILE|NAME=VALUE",
        help="take the Hub to be as its documentation says (documented) and not as observed, or different in one field of docs/rehearsal.md, for example start_deadline=600; repeatable",
    )
    group.addoption(
        "--fail-on",
        choices=[str(one) for one in Severity],
        help="the severity from which on a finding ends the run with exit code 1; default: what the Space's preflight.toml says, or breaks",
    )
    group.addoption(
        "--format",
        choices=("text", "github", "gitlab", "sarif", "json", "junit"),
        default="text",
        help="what standard output holds: text for people, or a form for another program; people's text then goes to standard error",
    )
    group.addoption(
        "--no-waivers",
        action="store_true",
        help="judge as if no preflight.toml waived anything",
    )
