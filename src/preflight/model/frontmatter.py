"""The README's front matter as the Hub reads it, and every rule it has to keep.

Sources: hub-docs spaces-config-reference.md (the keys), huggingface_hub repocard.py ("exact same
regex as in the Hub server"), huggingface.js packages/hub/src/types/api/api-space.ts (value lists).
What none of them states is a named setting below, so that it can be changed when it is known.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from preflight.model.problems import Problem, Severity

DEFAULT_APP_PORT = 7860
LOWEST_APP_PORT = 1025
"""Message of the Hub: "app_port" must be greater than or equal to 1025."""
LONGEST_SHORT_DESCRIPTION = 60
"""Characters, not bytes. Message of the Hub: length must be less than or equal to 60."""
LONGEST_OAUTH_EXPIRATION_MINUTES = 43200
LARGEST_FRONT_MATTER = 65536
"""Bytes that this harness reads. The Hub's own limit is not documented."""
HUB_URL = "https://huggingface.co"
"""Another one by HF_ENDPOINT, as for huggingface_hub."""

# In JavaScript `\s` includes the byte order mark, in Python it does not: the Hub's server would
# see a block behind one and its Python client would not.
HUB_PATTERN = re.compile(r"(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))")


class FrontMatterError(Exception):
    """The front matter is not recognised or not readable; carries the problem to report."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.actual)
        self.problem = problem


@dataclass(frozen=True)
class FrontMatter:
    """A front matter that the Hub recognises: its values, and the line of README.md of each key."""

    values: dict[str, Any]
    lines: dict[str, int]
    duplicates: tuple[tuple[str, int, int], ...]
    """Keys that occur twice: name, first line, second line."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` when the key is absent."""
        return self.values.get(key, default)

    def at(self, key: str) -> str:
        """Where `key` stands, for a message."""
        return f"README.md:{self.lines[key]}"

    @classmethod
    def of_readme(cls, readme: bytes) -> FrontMatter:
        """Recognise and parse the block.

        Raises:
            FrontMatterError: with the problem, when there is no block or it is no mapping.
        """
        text = _text(readme)
        match = HUB_PATTERN.match(text)
        if match is None:
            raise FrontMatterError(_why_not_recognised(text))
        block = match.group(2)
        if len(block) > LARGEST_FRONT_MATTER:
            raise FrontMatterError(
                Problem(
                    f"a front matter of at most {LARGEST_FRONT_MATTER} bytes",
                    f"README.md's front matter has {len(block)}",
                    "Move the text below the closing `---`; only configuration belongs above it.",
                )
            )
        first_line = match.group(1).count("\n") + 1
        loader = _Yaml12Loader(block)
        try:
            node = loader.get_single_node()
            values = loader.construct_document(node) if node is not None else None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = first_line + (mark.line if mark else 0)
            raise FrontMatterError(
                Problem(
                    "YAML that can be read between the two `---` lines of README.md",
                    f"README.md:{line}: {error.problem}",
                    "Quote a value that has a `:` or `#` in it; indent with spaces, not tabs.",
                )
            ) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise FrontMatterError(
                Problem("YAML that can be read in README.md's front matter", str(error))
            ) from error
        finally:
            loader.dispose()
        if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
            kind = "nothing" if values is None else f"a {type(values).__name__}"
            raise FrontMatterError(
                Problem(
                    "`key: value` lines in README.md's front matter",
                    f"README.md:{first_line}: it holds {kind}",
                )
            )
        lines: dict[str, int] = {}
        duplicates = []
        for key_node, _ in node.value:
            key, line = str(key_node.value), first_line + key_node.start_mark.line
            if key in lines:
                duplicates.append((key, lines[key], line))
            lines.setdefault(key, line)
        return cls({str(key): value for key, value in values.items()}, lines, tuple(duplicates))


@dataclass(frozen=True)
class Key:
    """What the Hub's reference says of one key."""

    kind: str
    """One of KINDS."""
    allowed: tuple[str, ...] | None = None
    """In the Hub's order, which its messages keep."""
    unused: str | None = None
    """Why a Docker Space gains nothing from it."""


def _values(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


COLOURS = _values("red yellow green blue indigo purple pink gray")
SDKS = _values("docker gradio static streamlit")
HARDWARE = _values("""
    cpu-basic cpu-upgrade cpu-xl zero-a10g t4-small t4-medium l4x1 l4x4 l40sx1 l40sx4 l40sx8
    a10g-small a10g-large a10g-largex2 a10g-largex4 a100-large a100x4 a100x8
    rtx-pro-6000 rtx-pro-6000x2 rtx-pro-6000x4 rtx-pro-6000x8
""")
"""Source: hub-docs spaces-config-reference.md, huggingface_hub _space_api.py (SpaceHardware)."""
UNDOCUMENTED_HARDWARE = ("cpu-xl",)
"""huggingface.js api-space.ts has it, spaces-config-reference.md does not."""
OAUTH_SCOPES = _values("""
    openid profile email read-billing read-memberships read-repos gated-repos contribute-repos
    write-repos manage-repos read-collections write-collections inference-api read-endpoints
    write-endpoints jobs webhooks write-discussions
""")
"""Source: hub-docs spaces-oauth.md."""
CUSTOM_HEADERS = {
    "cross-origin-embedder-policy": _values("unsafe-none require-corp credentialless"),
    "cross-origin-opener-policy": _values("same-origin same-origin-allow-popups unsafe-none"),
    "cross-origin-resource-policy": _values("same-site same-origin cross-origin"),
}
LICENSES = _values("""
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
    openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 grok2-community gemma unknown other
""")
"""Source: hub-docs repositories-licenses.md, from which the Hub derives its own list."""

_OTHER_SDK = "the Hub uses it for Gradio and static Spaces only"

KEYS: dict[str, Key] = {
    "title": Key("string"),
    "emoji": Key("string"),
    "colorFrom": Key("string", COLOURS),
    "colorTo": Key("string", COLOURS),
    "sdk": Key("string", SDKS),
    "app_port": Key("integer"),
    "short_description": Key("string"),
    "license": Key("string or list of strings", LICENSES),
    "license_name": Key("string"),
    "license_link": Key("string"),
    "pinned": Key("boolean"),
    "header": Key("string", _values("mini default")),
    "fullWidth": Key("boolean"),
    "base_path": Key("string"),
    "models": Key("list of strings"),
    "datasets": Key("list of strings"),
    "tags": Key("list of strings"),
    "language": Key("string or list of strings"),
    "thumbnail": Key("string"),
    "startup_duration_timeout": Key("string"),
    "suggested_hardware": Key("string", HARDWARE),
    "suggested_storage": Key(
        "string",
        _values("small medium large"),
        unused="persistent storage is no longer available; mount a Storage Bucket instead",
    ),
    "preload_from_hub": Key("list of strings"),
    "custom_headers": Key("mapping"),
    "disable_embedding": Key("boolean"),
    "hf_oauth": Key("boolean"),
    "hf_oauth_scopes": Key("list of strings", OAUTH_SCOPES),
    "hf_oauth_expiration_minutes": Key("integer"),
    "hf_oauth_authorized_org": Key("string or list of strings"),
    "duplicated_from": Key("string"),
    "metaTitle": Key("string"),
    "description": Key("string"),
    "app_file": Key("anything", unused=_OTHER_SDK),
    "app_build_command": Key("anything", unused=_OTHER_SDK),
    "python_version": Key(
        "anything", unused=_OTHER_SDK + "; a Docker Space takes its base image's"
    ),
    "sdk_version": Key("anything", unused=_OTHER_SDK),
    "dockerfile": Key(
        "anything", unused="it is not a key of the Hub, which builds /Dockerfile and no other"
    ),
}

KINDS: dict[str, Callable[[Any], bool]] = {
    "anything": lambda value: True,
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "boolean": lambda value: isinstance(value, bool),
    "mapping": lambda value: isinstance(value, dict),
    "list of strings": lambda value: (
        isinstance(value, list) and all(isinstance(one, str) for one in value)
    ),
    "string or list of strings": lambda value: (
        isinstance(value, str) or KINDS["list of strings"](value)
    ),
}


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
    """Keys whose value has another type than the reference says. An empty value is none."""
    for name, value in front.values.items():
        key = KEYS.get(name)
        if key is None or value is None or KINDS[key.kind](value):
            continue
        yield Problem(
            f"{front.at(name)}: `{name}` must be of type {key.kind}",
            f"{front.at(name)}: `{name}` is {_described(value)}",
            _type_fix(name, key, value),
            f'"{name}" must be {_TYPES_ON_THE_HUB[key.kind]}',
        )


def allowed_problems(front: FrontMatter, *names: str) -> Iterator[Problem]:
    """Values of the named keys that are not in the Hub's list."""
    for name in names:
        value, allowed = front.get(name), KEYS[name].allowed or ()
        if value is None or not KINDS[KEYS[name].kind](value):
            continue
        for one in value if isinstance(value, list) else [value]:
            if one in allowed:
                continue
            close = difflib.get_close_matches(str(one).lower(), allowed, n=3)
            listed = ", ".join(close or sorted(allowed)[:12])
            yield Problem(
                f"{front.at(name)}: `{name}` is one of the {len(allowed)} values the Hub knows",
                f"{front.at(name)}: `{name}: {one}`",
                f"Use {'one that is near' if close else 'for example'}: {listed}.",
                f'"{name}" must be one of [{", ".join(allowed)}]',
            )


def hardware_problems(front: FrontMatter) -> Iterator[Problem]:
    """A flavor that does not exist, or that the Hub's page of flavors lacks."""
    yield from allowed_problems(front, "suggested_hardware")
    if front.get("suggested_hardware") in UNDOCUMENTED_HARDWARE:
        yield Problem(
            "a flavor of the Hub's page on hardware",
            f"`suggested_hardware: {front.get('suggested_hardware')}`, which its own client alone knows",
            severity=Severity.ADVICE,
            file="README.md",
            line=front.lines["suggested_hardware"],
        )


def sdk_problems(front: FrontMatter) -> Iterator[Problem]:
    """`sdk` is absent or not `docker`."""
    if front.get("sdk") != "docker":
        where = front.at("sdk") if "sdk" in front.values else "README.md"
        found = f"`sdk: {front.get('sdk')}`" if "sdk" in front.values else "no `sdk`"
        yield Problem("`sdk: docker`", f"{where}: {found}")


def app_port_problems(front: FrontMatter) -> Iterator[Problem]:
    """`app_port` outside what the Hub accepts."""
    port = front.get("app_port")
    if type(port) is int and not LOWEST_APP_PORT <= port <= 65535:
        yield Problem(
            f"an `app_port` from {LOWEST_APP_PORT} to 65535",
            f"{front.at('app_port')}: `app_port: {port}`",
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
            f"{front.at('short_description')}: {len(text)} characters",
            f"Cut {len(text) - LONGEST_SHORT_DESCRIPTION} characters, for example after: "
            f"{text[:LONGEST_SHORT_DESCRIPTION]}",
            '"short_description" length must be less than or equal to '
            f"{LONGEST_SHORT_DESCRIPTION} characters long",
        )


def emoji_problems(front: FrontMatter) -> Iterator[Problem]:
    """`emoji` with a character that is none ("emoji-only character allowed")."""
    # Imported here: a large table, for which git's hook would wait at every push.
    import emoji

    text = front.get("emoji")
    if isinstance(text, str) and not emoji.purely_emoji(text.strip() or "none"):
        yield Problem("one emoji character", f"{front.at('emoji')}: `emoji: {text}`")


def emoji_warning(front: FrontMatter) -> str | None:
    """More than one emoji: the reference speaks of one; what the Hub does with two is not known."""
    import emoji

    text = front.get("emoji")
    if isinstance(text, str) and emoji.purely_emoji(text) and not emoji.is_emoji(text):
        return f"{front.at('emoji')}: the Hub's reference allows one emoji, this has more"
    return None


def base_path_problems(front: FrontMatter) -> Iterator[Problem]:
    """`base_path` that does not start with a slash."""
    path = front.get("base_path")
    if isinstance(path, str) and not path.startswith("/"):
        yield Problem("a `base_path` that starts with /", f"{front.at('base_path')}: {path}")


# Accepted: "any valid duration (like `1h`, `30m`)"; grammar and cap are not documented. Values such
# as `350m` and `10000h` occur in Spaces that run.
DURATION = re.compile(r"(\d+(\.\d+)?\s*(ms|s|sec|m|min|mins|h|hr|hrs|d|w)\s*)+", re.IGNORECASE)


_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds_of(duration: str) -> float | None:
    """A duration as DURATION accepts it, in seconds; None when it is none."""
    if not DURATION.fullmatch(duration.strip()):
        return None
    parts = re.findall(r"([\d.]+)\s*(ms|[smhdw])", duration.lower())
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def startup_duration_problems(front: FrontMatter) -> Iterator[Problem]:
    """`startup_duration_timeout` that is no duration."""
    text = front.get("startup_duration_timeout")
    if isinstance(text, str) and not DURATION.fullmatch(text.strip()):
        yield Problem(
            "a duration such as `30m` or `1h`",
            f"{front.at('startup_duration_timeout')}: `startup_duration_timeout: {text}`",
        )


def custom_headers_problems(front: FrontMatter) -> Iterator[Problem]:
    """`custom_headers` with a name or value that the Hub does not set; all are lower case."""
    headers = front.get("custom_headers")
    if not isinstance(headers, dict):
        return
    for name, value in headers.items():
        where = f"{front.at('custom_headers')}: `{name}: {value}`"
        if name not in CUSTOM_HEADERS:
            yield Problem(f"custom headers among {', '.join(CUSTOM_HEADERS)}", where)
        elif value not in CUSTOM_HEADERS[name]:
            yield Problem(f"`{name}` one of {', '.join(sorted(CUSTOM_HEADERS[name]))}", where)


def oauth_expiration_problems(front: FrontMatter) -> Iterator[Problem]:
    """`hf_oauth_expiration_minutes` beyond 30 days."""
    minutes = front.get("hf_oauth_expiration_minutes")
    if type(minutes) is int and not 0 < minutes <= LONGEST_OAUTH_EXPIRATION_MINUTES:
        yield Problem(
            f"`hf_oauth_expiration_minutes` from 1 to {LONGEST_OAUTH_EXPIRATION_MINUTES} (30 days)",
            f"{front.at('hf_oauth_expiration_minutes')}: {minutes}",
        )


def duplicate_problems(front: FrontMatter) -> Iterator[Problem]:
    """Keys given twice."""
    for name, first, second in front.duplicates:
        yield Problem(
            f"each key once: `{name}` stands at README.md:{first}",
            f"README.md:{second}: `{name}` again",
        )


def key_warnings(front: FrontMatter) -> Iterator[str]:
    """Keys that do nothing for a Docker Space: unknown, unused, or without a value."""
    for name, value in front.values.items():
        key = KEYS.get(name)
        if key is None:
            close = difflib.get_close_matches(name, KEYS, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            yield f"{front.at(name)}: `{name}` is not a key of the Hub, which ignores it{hint}"
        elif key.unused:
            yield f"{front.at(name)}: `{name}` does nothing here: {key.unused}"
        elif value is None:
            yield f"{front.at(name)}: `{name}` has no value"
    if front.get("license") == "other":
        yield f"{front.at('license')}: `license: other` asks for a LICENSE file and `license_name`"


def position_problems(readme: bytes) -> Iterator[Problem]:
    """Something before the block: a byte order mark, which the Hub's own clients do not skip."""
    if readme.startswith(b"\xef\xbb\xbf"):
        yield Problem(
            "`---` at the first byte of README.md",
            "README.md starts with a UTF-8 byte order mark",
            "Save README.md as UTF-8 without BOM.",
        )


def position_warning(readme: bytes) -> str | None:
    """Blank lines before the block: the Hub's regular expression allows them, other tools do not."""
    text = _text(readme)
    if HUB_PATTERN.match(text) and text[:1].isspace():
        return "README.md: blank lines stand before the front matter; start the file with `---`"
    return None


def online_problems(readme: bytes, *, timeout_s: float = 20) -> list[Problem]:
    """Ask the Hub itself, as `RepoCard.validate` of huggingface_hub does. No token is sent.

    Raises:
        ConnectionError: when the Hub gives no verdict.
    """
    # Imported here: git's hook keeps these rules at every push, and asks nobody.
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
        return [Problem("metadata that the Hub accepts", answer.text.strip()[:2000])]
    if not answer.ok:
        raise ConnectionError(f"the Hub answered {answer.status_code} and gave no verdict")
    return []


def means_a_space(readme: bytes) -> bool:
    """Whether a README is meant to be a Space's, also when its front matter is broken.

    A block that can be read means it when it has a key that only Spaces have. One that cannot be
    read means it when the file opens like one, or names an `sdk` near its top.
    """
    try:
        return not _ONLY_SPACES.isdisjoint(FrontMatter.of_readme(readme).values)
    except FrontMatterError:
        head = [line.strip() for line in _text(readme)[:4096].lstrip("\ufeff").splitlines()]
        opening = next((line for line in head if line), "")
        return opening.startswith("---") or any(
            re.match(r"(sdk|app_port|colorFrom|colorTo)\s*:", line) for line in head[:40]
        )


_ONLY_SPACES = {"sdk", "app_port", "colorFrom", "colorTo", "short_description", "emoji"}


def _text(readme: bytes) -> str:
    # Not `str.splitlines` later on: a lone CR counts as the Hub's pattern counts it.
    return readme.decode("utf-8", "replace").removeprefix("\ufeff")


def _why_not_recognised(text: str) -> Problem:
    expected = "a block of YAML between two `---` lines at the top of README.md"
    if not text.strip():
        return Problem(expected, "README.md is absent or empty")
    start = len(text) - len(text.lstrip())
    lines = re.split(r"\r\n|\r|\n", text[: start + LARGEST_FRONT_MATTER])
    first = len(re.split(r"\r\n|\r|\n", text[:start])) - 1
    opening = lines[first].rstrip()
    if opening == "---":
        if any(line.startswith("---") for line in lines[first + 1 :]):
            return Problem(
                expected,
                f"README.md:{first + 1}: the block opens, and no later line is `---` alone",
                "Write the closing `---` on a line of its own, with a line break after it.",
            )
        return Problem(expected, f"README.md:{first + 1}: the block opens and is never closed")
    if opening.lstrip().startswith("---"):
        return Problem(
            expected,
            f"README.md:{first + 1}: the first line is {opening!r}",
            "The opening line is exactly three hyphens; nothing may follow them.",
        )
    later = next((n for n, line in enumerate(lines) if line.rstrip() == "---"), None)
    if later is not None:
        return Problem(
            expected,
            f"README.md:{first + 1}: text stands before the `---` of line {later + 1}",
            "Move the block to the very top of README.md.",
        )
    return Problem(expected, f"README.md:{first + 1}: it starts with text and has no block")


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
    return f"Write `{name}` as a {key.kind}."


class _Yaml12Loader(yaml.SafeLoader):
    """YAML 1.2, as the Hub's JavaScript reads it: `yes` and `on` are strings, `1:30` is too."""


_Yaml12Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Yaml12Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )
