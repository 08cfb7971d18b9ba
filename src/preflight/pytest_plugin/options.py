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
        help="check this Space folder, or hf:OWNER/NAME, which is cloned from the Hub (or HF_ENDPOINT); repeatable",
    )
    group.addoption(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable that the Space reads; overrides all other values; repeatable",
    )
    group.addoption(
        "--env-file",
        action="append",
        default=[],
        metavar="FILE",
        help="read such values from a dotenv file; repeatable. Without a declared environment, the folder's .env and then the values in its .env.example apply too",
    )
    group.addoption(
        "--fix",
        action="store_true",
        help="first fix mechanical faults in the front matter of each --space DIR, and show the difference",
    )
    group.addoption(
        "--ref",
        metavar="REF",
        help="check and build the commit REF instead of the working folder",
    )
    group.addoption(
        "--live",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="check a running Space from outside; repeatable",
    )
    group.addoption(
        "--browser",
        action="store_true",
        help="also open each page in Chromium, in a frame as on the Hub; needs the extra `browser`",
    )
    group.addoption(
        "--live-writes",
        action="store_true",
        help="send a live Space any method, and as many requests as the checks need; default: only GET, HEAD and OPTIONS, at most 60 requests, 5 per second",
    )
    group.addoption(
        "--online",
        action="store_true",
        help="also send the front matter to the Hub's validation endpoint",
    )
    group.addoption(
        "--owner",
        metavar="OWNER",
        help="the account that will own the Spaces; default: the owner in the git remote on the Hub",
    )
    group.addoption(
        "--report-dir",
        metavar="DIR",
        help="write preflight.json and index.html to DIR; default: a folder in the user's cache",
    )
    group.addoption(
        "--keep",
        action="store_true",
        help="keep the stack running after a failure, and print the commands to inspect it",
    )
    group.addoption(
        "--reuse",
        action="store_true",
        help="reuse the stack of an earlier run with --keep or --reuse if it is current, and keep it running",
    )
    group.addoption(
        "--hub",
        action="append",
        default=[],
        metavar="PROFILE|NAME=VALUE",
        help="rehearse the Hub as documented instead of as observed (documented), or set one field of docs/hub-profile.md, for example start_deadline=600; repeatable",
    )
    group.addoption(
        "--fail-on",
        choices=[str(severity) for severity in Severity],
        help="the lowest severity that ends the run with exit code 1; default: `fail-on` in the Space's preflight.toml, or breaks",
    )
    group.addoption(
        "--format",
        choices=("text", "github", "gitlab", "sarif", "json", "junit"),
        default="text",
        help="the format of standard output: text for people, or a format for other programs, with the text on standard error",
    )
    group.addoption(
        "--no-waivers",
        action="store_true",
        help="ignore the waivers in preflight.toml",
    )
