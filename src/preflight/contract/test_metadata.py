"""The README's front matter, which the Hub reads before it builds."""

from __future__ import annotations

import pytest

from preflight.contract.findings import require_none
from preflight.model.frontmatter import FrontMatter, FrontMatterError
from preflight.model.space import Space
from preflight.rules import metadata as rules


@pytest.fixture
def front(space: Space) -> FrontMatter:
    """The front matter, for checks of its keys."""
    try:
        return space.front_matter
    except FrontMatterError:
        pytest.skip("the front matter cannot be read: see metadata.front_matter_is_recognised")


def test_front_matter_is_recognised(space: Space) -> None:
    """README.md starts with a YAML block between two lines of three hyphens.

    Severity: breaks

    On the Hub: Configuration error: Missing configuration in README

    Fix: Start README.md with `---`, then `key: value` lines, then `---` on a line of its own.

    Source: huggingface_hub repocard.py, the Hub's own expression; the text is reported by users.
    """
    try:
        _ = space.front_matter
    except FrontMatterError as error:
        require_none([error.problem])
    require_none(rules.blank_start_problems(space.readme_bytes))


def test_block_is_at_the_first_byte(space: Space) -> None:
    """Nothing precedes the YAML block, not even a byte order mark.

    Severity: breaks

    On the Hub: Configuration error: Missing configuration in README; `hf upload` sees no metadata

    Fix: Save README.md as UTF-8 without BOM, with a hyphen as its first character.

    Source: huggingface_hub repocard.py, the Hub's own expression.
    """
    require_none(rules.position_problems(space.readme_bytes))


def test_keys_stand_once(front: FrontMatter) -> None:
    """Each key of the front matter occurs once.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification; the Hub's
    message for a doubled key is not documented

    Fix: Delete all occurrences but one.

    Source: YAML 1.2 forbids it; the Hub's text is unknown.
    """
    require_none(rules.duplicate_problems(front))


def test_sdk_is_docker(front: FrontMatter) -> None:
    """The front matter says `sdk: docker`.

    Severity: breaks

    On the Hub: Configuration error: Missing configuration in README; or the Hub builds the
    Space with another SDK and ignores the Dockerfile

    Fix: Put `sdk: docker` into the front matter of README.md.

    Source: hub-docs spaces-config-reference.md; the text is reported by users.
    """
    require_none(rules.sdk_problems(front))


def test_values_have_their_type(front: FrontMatter) -> None:
    """Every key has a value of the type in the Hub's reference; keys that a Docker Space does not
    use (`dockerfile`, `python_version`) are advice.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming the
    key

    Fix: Quote strings, do not quote numbers and booleans, and write lists as YAML lists.

    Source: hub-docs spaces-config-reference.md.
    """
    require_none((*rules.type_problems(front), *rules.idle_key_problems(front)))


def test_app_port_is_unprivileged(front: FrontMatter) -> None:
    """`app_port` is 1025 or higher.

    Severity: breaks

    On the Hub: "app_port" must be greater than or equal to 1025

    Fix: Let the app listen on 7860, which needs no `app_port`, or on another port from 1025.

    Source: hub-docs spaces-config-reference.md; the text is reported by users.
    """
    require_none(rules.app_port_problems(front))


def test_colours_are_known(front: FrontMatter) -> None:
    """`colorFrom` and `colorTo` are red, yellow, green, blue, indigo, purple, pink or gray.

    Severity: breaks

    On the Hub: "colorFrom" must be one of [red, yellow, green, blue, indigo, purple, pink, gray]

    Fix: Use one of the eight names. The Hub refuses other names and hex values.

    Source: hub-docs spaces-config-reference.md; the text was measured.
    """
    require_none(rules.allowed_problems(front, "colorFrom", "colorTo"))


def test_emoji_is_one(front: FrontMatter) -> None:
    """`emoji` is an emoji, not a word or a `:name:`.

    Severity: breaks

    On the Hub: Configuration error: Missing configuration in README (users report this
    for a word in place of the emoji)

    Fix: Paste one emoji character.

    Source: hub-docs spaces-config-reference.md; the text is reported by users.
    """
    require_none(rules.emoji_problems(front))


def test_short_description_is_short(front: FrontMatter) -> None:
    """`short_description` has at most 60 characters.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification: - Error:
    "short_description" length must be less than or equal to 60 characters long

    Fix: Shorten it. The old build keeps serving until the Hub accepts a push.

    Source: the Hub's answer to a push, seen in public repositories.
    """
    require_none(rules.short_description_problems(front))


def test_license_is_known(front: FrontMatter) -> None:
    """`license` is one of the identifiers that the Hub lists.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    `license`; the old build keeps serving

    Fix: Use the identifier from the Hub's list of licenses (`mit`, `apache-2.0`), or `other` with a
    LICENSE file.

    Source: hub-docs repositories-licenses.md.
    """
    require_none(rules.allowed_problems(front, "license"))


def test_suggested_hardware_exists(front: FrontMatter) -> None:
    """`suggested_hardware` is a hardware flavor of the Hub.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    `suggested_hardware`

    Fix: Use a flavor from the Hub's list, for example `cpu-basic`. The key does not assign hardware.

    Source: hub-docs spaces-config-reference.md.
    """
    require_none(rules.hardware_problems(front))


def test_header_is_known(front: FrontMatter) -> None:
    """`header` is `mini` or `default`, and `suggested_storage` small, medium or large.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    the key

    Fix: Use one of these values, or delete the key.

    Source: hub-docs spaces-config-reference.md.
    """
    require_none(rules.allowed_problems(front, "header", "suggested_storage"))


def test_custom_headers_are_allowed(front: FrontMatter) -> None:
    """`custom_headers` sets only the three cross-origin headers, in lower case, to known values.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    `custom_headers`; or the header is missing and SharedArrayBuffer stays undefined

    Fix: Send any other header from the app itself.

    Source: hub-docs spaces-config-reference.md.
    """
    require_none(rules.custom_headers_problems(front))


def test_startup_duration_is_one(front: FrontMatter) -> None:
    """`startup_duration_timeout` is a duration, such as `30m` or `1h`.

    Severity: breaks

    On the Hub: Launch timed out, workload was not healthy after 30 min

    Fix: Write a number and a unit in quotes. Without the key, the Hub waits 30 minutes.

    Source: hub-docs spaces-config-reference.md; the grammar is not documented.
    """
    require_none(rules.startup_duration_problems(front))


def test_base_path_is_absolute(front: FrontMatter) -> None:
    """`base_path` starts with a slash.

    Severity: breaks

    On the Hub: the Space page shows an empty frame or an error instead of the app

    Fix: Write it as `/path`. The app is served from the root in any case.

    Source: hub-docs spaces-config-reference.md.
    """
    require_none(rules.base_path_problems(front))


def test_oauth_scopes_exist(front: FrontMatter) -> None:
    """`hf_oauth_scopes` lists only scopes that the Hub grants.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    `hf_oauth_scopes`; or the visitor's sign-in is refused

    Fix: Use scopes from the Hub's page on OAuth. The Hub always grants `openid` and `profile`.

    Source: hub-docs spaces-oauth.md.
    """
    require_none(rules.allowed_problems(front, "hf_oauth_scopes"))


def test_oauth_expiration_is_allowed(front: FrontMatter) -> None:
    """`hf_oauth_expiration_minutes` is at most 43200, which is 30 days.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification, naming
    `hf_oauth_expiration_minutes`

    Fix: Lower it. Without the key, a token is valid for 480 minutes.

    Source: hub-docs spaces-oauth.md.
    """
    require_none(rules.oauth_expiration_problems(front))


def test_hub_accepts_the_metadata(space: Space, pytestconfig: pytest.Config) -> None:
    """The Hub's validation endpoint accepts README.md.

    Severity: breaks

    On the Hub: Sorry, your push was rejected during YAML metadata verification

    Fix: Correct what the Hub names. The Hub applies the same check to a push.

    Source: huggingface_hub hf_api.py, POST /api/validate-yaml.
    """
    if not pytestconfig.getoption("--online"):
        pytest.skip("asks huggingface.co: only with --online")
    require_none(rules.online_problems(space.readme_bytes))
