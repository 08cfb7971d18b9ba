"""The rules for a Space's front matter.

A limit without a source is a named setting, so that it can be changed when the value is known.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from typing import Any

from preflight.model.frontmatter import HUB_PATTERN, README, FrontMatter, Place, text_of
from preflight.model.frontmatter_keys import (
    CUSTOM_HEADERS,
    KEYS,
    KINDS,
    UNDOCUMENTED_HARDWARE,
    Key,
)
from preflight.model.problems import Problem, Severity

LOWEST_APP_PORT = 1025
"""Message of the Hub: "app_port" must be greater than or equal to 1025."""
LONGEST_SHORT_DESCRIPTION = 60
"""Characters, not bytes. Message of the Hub: length must be less than or equal to 60."""
LONGEST_OAUTH_EXPIRATION_MINUTES = 43200
HUB_URL = "https://huggingface.co"
"""HF_ENDPOINT replaces it, as in huggingface_hub."""

# Joi's wording, by which the Hub validates: '"app_port" must be greater than or equal to 1025'.
_TYPES_ON_THE_HUB = {
    "string": "a string",
    "integer": "a number",
    "boolean": "a boolean",
    "mapping": "of type object",
    "list of strings": "an array",
    "string or list of strings": "one of [string, array]",
}


def type_problems(front: FrontMatter) -> Iterator[Problem]:
    """Keys whose value has a type other than the documented one. An empty value counts as absent."""
    for name, value in front.values.items():
        key = KEYS.get(name)
        if key is None or value is None or KINDS[key.kind](value):
            continue
        yield Problem(
            f"`{name}` of type {key.kind}",
            f"`{name}` is {_described(value)}",
            _type_fix(name, key, value),
            f'"{name}" must be {_TYPES_ON_THE_HUB[key.kind]}',
            **front.at(name),
        )


def allowed_problems(front: FrontMatter, *names: str) -> Iterator[Problem]:
    """Values of the named keys that are not in the Hub's list."""
    for name in names:
        value, allowed = front.get(name), KEYS[name].allowed or ()
        if value is None or not KINDS[KEYS[name].kind](value):
            continue
        for item in value if isinstance(value, list) else [value]:
            if item in allowed:
                continue
            close = difflib.get_close_matches(str(item).lower(), allowed, n=3)
            listed = ", ".join(close or sorted(allowed)[:12])
            yield Problem(
                f"`{name}` among the {len(allowed)} values that the Hub knows",
                f"`{name}: {item}`",
                f"Use {'a similar value' if close else 'for example'}: {listed}.",
                f'"{name}" must be one of [{", ".join(allowed)}]',
                **front.at(name),
            )


def hardware_problems(front: FrontMatter) -> Iterator[Problem]:
    """A flavor that does not exist, or that the Hub's page on hardware lacks."""
    yield from allowed_problems(front, "suggested_hardware")
    if front.get("suggested_hardware") in UNDOCUMENTED_HARDWARE:
        yield Problem(
            "a flavor of the Hub's page on hardware",
            f"`suggested_hardware: {front.get('suggested_hardware')}`, which only the Hub's client knows",
            severity=Severity.ADVICE,
            **front.at("suggested_hardware"),
        )


def sdk_problems(front: FrontMatter) -> Iterator[Problem]:
    """`sdk` is absent or not `docker`."""
    if front.get("sdk") != "docker":
        if "sdk" in front.values:
            yield Problem("`sdk: docker`", f"`sdk: {front.get('sdk')}`", **front.at("sdk"))
        else:
            yield Problem("`sdk: docker`", "no `sdk`", file=README)


def app_port_problems(front: FrontMatter) -> Iterator[Problem]:
    """`app_port` outside what the Hub accepts."""
    port = front.get("app_port")
    if type(port) is int and not LOWEST_APP_PORT <= port <= 65535:
        yield Problem(
            f"an `app_port` from {LOWEST_APP_PORT} to 65535",
            f"`app_port: {port}`",
            **front.at("app_port"),
            on_the_hub=f'"app_port" must be greater than or equal to {LOWEST_APP_PORT}'
            if port < LOWEST_APP_PORT
            else None,
        )


def short_description_problems(front: FrontMatter) -> Iterator[Problem]:
    """`short_description` longer than the Hub accepts, counted in characters."""
    text = front.get("short_description")
    if isinstance(text, str) and len(text) > LONGEST_SHORT_DESCRIPTION:
        yield Problem(
            f"a `short_description` of at most {LONGEST_SHORT_DESCRIPTION} characters",
            f"`short_description` has {len(text)} characters",
            f"Cut {len(text) - LONGEST_SHORT_DESCRIPTION} characters, for example after: "
            f"{text[:LONGEST_SHORT_DESCRIPTION]}",
            '"short_description" length must be less than or equal to '
            f"{LONGEST_SHORT_DESCRIPTION} characters long",
            **front.at("short_description"),
        )


def emoji_problems(front: FrontMatter) -> Iterator[Problem]:
    """`emoji` with a character that is not an emoji ("emoji-only character allowed")."""
    # Imported here: git's hook would load this large table at every push.
    import emoji

    text = front.get("emoji")
    if isinstance(text, str) and not emoji.purely_emoji(text.strip() or "none"):
        yield Problem("one emoji character", f"`emoji: {text}`", **front.at("emoji"))
    elif isinstance(text, str) and not emoji.is_emoji(text):
        # The reference allows a single emoji; the Hub's handling of two is not known.
        yield Problem(
            "one emoji character",
            f"`emoji: {text}` has more than one emoji",
            severity=Severity.ADVICE,
            **front.at("emoji"),
        )


def base_path_problems(front: FrontMatter) -> Iterator[Problem]:
    """`base_path` that does not start with a slash."""
    path = front.get("base_path")
    if isinstance(path, str) and not path.startswith("/"):
        yield Problem(
            "a `base_path` that starts with /", f"`base_path: {path}`", **front.at("base_path")
        )


# Accepted: "any valid duration (like `1h`, `30m`)"; grammar and cap are not documented. Values such
# as `350m` and `10000h` occur in Spaces that run.
DURATION = re.compile(r"(\d+(\.\d+)?\s*(ms|s|sec|m|min|mins|h|hr|hrs|d|w)\s*)+", re.IGNORECASE)


_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_of(duration: str) -> float | None:
    """The seconds of a duration in the form of DURATION; None for other text."""
    if not DURATION.fullmatch(duration.strip()):
        return None
    parts = re.findall(r"([\d.]+)\s*(ms|[smhdw])", duration.lower())
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def startup_duration_problems(front: FrontMatter) -> Iterator[Problem]:
    """`startup_duration_timeout` that is not a duration."""
    text = front.get("startup_duration_timeout")
    if isinstance(text, str) and not DURATION.fullmatch(text.strip()):
        yield Problem(
            "a duration such as `30m` or `1h`",
            f"`startup_duration_timeout: {text}`",
            **front.at("startup_duration_timeout"),
        )


def custom_headers_problems(front: FrontMatter) -> Iterator[Problem]:
    """`custom_headers` with a name or value that the Hub does not set; all are lower case."""
    headers = front.get("custom_headers")
    if not isinstance(headers, dict):
        return
    for name, value in headers.items():
        expected = None
        if name not in CUSTOM_HEADERS:
            expected = f"custom headers among {', '.join(CUSTOM_HEADERS)}"
        elif value not in CUSTOM_HEADERS[name]:
            expected = f"`{name}` one of {', '.join(sorted(CUSTOM_HEADERS[name]))}"
        if expected:
            yield Problem(expected, f"`{name}: {value}`", **front.at("custom_headers"))


def oauth_expiration_problems(front: FrontMatter) -> Iterator[Problem]:
    """`hf_oauth_expiration_minutes` beyond 30 days."""
    minutes = front.get("hf_oauth_expiration_minutes")
    if type(minutes) is int and not 0 < minutes <= LONGEST_OAUTH_EXPIRATION_MINUTES:
        yield Problem(
            f"`hf_oauth_expiration_minutes` from 1 to {LONGEST_OAUTH_EXPIRATION_MINUTES} (30 days)",
            f"`hf_oauth_expiration_minutes: {minutes}`",
            **front.at("hf_oauth_expiration_minutes"),
        )


def duplicate_problems(front: FrontMatter) -> Iterator[Problem]:
    """Keys given twice."""
    for name, first, second in front.duplicates:
        yield Problem(
            f"each key once: `{name}` is in line {first} already",
            f"`{name}` again",
            file=README,
            line=second,
        )


def idle_key_problems(front: FrontMatter) -> Iterator[Problem]:
    """Keys that do nothing for a Docker Space: unknown, unused, or without a value."""
    for name, value in front.values.items():
        key, why, fix = KEYS.get(name), None, f"Delete `{name}`."
        if key is None:
            close = difflib.get_close_matches(name, KEYS, n=1)
            why = f"`{name}` is not a key of the Hub, which ignores it"
            fix = f"Write `{close[0]}`, or delete the line." if close else fix
        elif key.unused:
            why = f"`{name}` does nothing here: {key.unused}"
        elif value is None:
            why = f"`{name}` has no value"
        if why:
            yield _advice("keys that a Docker Space uses", why, front.at(name), fix)
    if front.get("license") == "other":
        yield _advice("a LICENSE file and `license_name`", "`license: other`", front.at("license"))


def _advice(expected: str, actual: str, place: Place, fix: str | None = None) -> Problem:
    return Problem(expected, actual, fix, severity=Severity.ADVICE, **place)


def position_problems(readme: bytes) -> Iterator[Problem]:
    """A byte order mark before the block: the Hub's own clients do not skip it."""
    if readme.startswith(b"\xef\xbb\xbf"):
        yield Problem(
            "`---` at the first byte of README.md",
            "README.md starts with a UTF-8 byte order mark",
            "Save README.md as UTF-8 without BOM.",
            file=README,
        )


def blank_start_problems(readme: bytes) -> Iterator[Problem]:
    """Blank lines before the block: the Hub's regular expression allows them, other tools do not."""
    text = text_of(readme)
    if HUB_PATTERN.match(text) and text[:1].isspace():
        yield _advice(
            "`---` at the first byte", "blank lines come before it", {"file": README, "line": 1}
        )


def online_problems(readme: bytes, *, timeout_s: float = 20) -> list[Problem]:
    """Validate at the Hub itself, as `RepoCard.validate` of huggingface_hub does, without a token.

    Raises:
        ConnectionError: when the Hub returns no verdict.
    """
    # Imported here: git's hook applies these rules at every push, and sends no request.
    import requests

    try:
        answer = requests.post(
            f"{os.environ.get('HF_ENDPOINT', HUB_URL).rstrip('/')}/api/validate-yaml",
            json={"repoType": "space", "content": readme.decode("utf-8", "replace")},
            headers={"Accept": "text/plain"},
            timeout=timeout_s,
        )
    except requests.RequestException as error:
        raise ConnectionError(f"no answer from the Hub: {type(error).__name__}") from error
    if answer.status_code == 400:
        return [Problem("metadata that the Hub accepts", answer.text.strip()[:2000], file=README)]
    if not answer.ok:
        raise ConnectionError(f"the Hub answered {answer.status_code} without a verdict")
    return []


def _described(value: Any) -> str:
    names: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
        dict: "a mapping",
    }
    shown = repr(value)
    return f"{names.get(type(value), type(value).__name__)}: {shown[:60]}"


def _type_fix(name: str, key: Key, value: Any) -> str:
    if key.kind == "string":
        return f'Quote it: `{name}: "{value}"`.'
    if key.kind == "integer" and isinstance(value, str) and value.isdigit():
        return f"Write it without quotes: `{name}: {value}`."
    if key.kind == "boolean":
        return f"Write `{name}: true` or `{name}: false`."
    article = "an" if key.kind[0] in "aio" else "a"
    return f"Write `{name}` as {article} {key.kind}."
