"""The variables that a log reports as missing, in the words of many frameworks and languages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

NAME = r"(?<![A-Za-z0-9_])[A-Za-z_][A-Za-z0-9_]{2,}"
# A log gives the reason at its end.
LAST_LINES = 80
LONGEST_LINE = 500
# In quotes, backquotes, `process.env.NAME`, `env.NAME`, `${NAME}`, or as it stands.
_QUOTED = rf"""["'`\[$({{]{{0,4}}(?:process\.env\.|import\.meta\.env\.|os\.environ\.|ENV\[['"]|env\.)?(?P<name>{NAME})["'`\])}}:]*"""
_ABSENT = (
    r"(?:(?:is|was|are|were|has|be|not|been|still)\s+)*"
    r"(?:a\s+)?(?:missing|required|undefined|unset|not set|unbound|not (?:be )?(?:defined|found|provided|configured|specified|present|available|declared)"
    r"|(?:must|needs? to|has to|should|have to) be (?:set|defined|provided|configured|specified|present)|empty|null)\b"
)
_VARIABLE = r"(?:env(?:ironment)?[ -]?)?(?:var(?:iable)?s?|key|setting|config(?:uration)?|parameter|secret|value)s?"

_NAMES = rf"(?P<names>{NAME}(?:[\"'`\]\s,]*(?:,|\band\b)[\"'`\[\s]*{NAME})*)"

# Each names one variable as `name`, or several as `names`. Letters of any case count where the
# words mean an environment for certain; else `_UPPER` decides.
_SURE = [
    # django-environ, OpenAI's and other clients: "Set the NAME environment variable".
    rf"\bset(?:ting)?\s+(?:the\s+)?{_QUOTED}\s+(?:env|environment)\b",
    # environs, Elixir, Prisma, Go's caarlos0/env: "environment variable "NAME" is not set".
    rf"\b(?:env|environment)[ -]?var(?:iable)?s?\s*(?:not found|missing)?:?\s*{_QUOTED}(?=[^\n]{{0,40}}\b(?:missing|not set|required|undefined|unset|not found)|\.?\s*$)",
    rf"{_QUOTED}\s+(?:env|environment)[ -]?var(?:iable)?\s+{_ABSENT}",
    # "Missing required environment variables: A, B"; Figaro, dotenv: keys; envalid's heading has none.
    rf"\bmissing\s+(?:the\s+)?(?:required\s+)?{_VARIABLE}(?:\s+{_VARIABLE})*\s*:?\s*[\"'`\[]*{_NAMES}",
    # decouple: "NAME not found. Declare it as envvar or define a default value."
    rf"{_QUOTED}\s+not found\. Declare it as envvar",
    # starlette: KeyError "Config 'NAME' is missing, and has no default."
    rf"\bConfig\s+{_QUOTED}\s+is missing",
    # kelseyhightower/envconfig: "required key NAME missing value"; Rust's envy: "missing value for field name".
    rf"\brequired key\s+{_QUOTED}\s+missing",
    rf"\bmissing (?:value for )?field\s+{_QUOTED}",
    # Spring: Could not resolve placeholder 'NAME' in value "${{NAME}}".
    rf"\bCould not resolve placeholder\s+{_QUOTED}",
    # Rails: Missing `secret_key_base` for 'production' environment.
    r"\bMissing `(?P<name>secret_key_base)` for",
    # env-var: "NAME" is a required variable; Elixir: could not fetch environment variable "NAME".
    rf"{_QUOTED}\s+is a required variable",
    # A shell's `set -u`, and ${{NAME:?}}: "NAME: unbound variable", "NAME: parameter not set".
    rf"\b(?P<name>{NAME}): (?:unbound variable|parameter (?:null or )?not set)",
]
_LIKELY = [
    # Python's KeyError, Ruby's "key not found".
    rf"\bKeyError: ['\"](?P<name>{NAME})['\"]",
    rf"\bkey not found: [:\"]*(?P<name>{NAME})",
    # "NAME is not set", "NAME must be set", joi's "NAME" is required, envalid's "NAME: undefined".
    rf"{_QUOTED}\s*(?::\s*)?\(?{_ABSENT}",
    rf"{_QUOTED}\s+(?:cannot|can't|must not|may not) be (?:empty|blank|null|undefined)",
    # "Missing NAME", "Please set NAME", "You must specify NAME", "requires NAME".
    rf"\b(?:missing|please (?:set|provide|define|specify)|must (?:set|specify|provide|define)|you need to (?:set|provide)|requires?|no value for)\s+(?:the\s+|a\s+|an\s+)?(?:{_VARIABLE}\s+)?{_QUOTED}",
    rf"\bENV\[['\"](?P<name>{NAME})['\"]\]",
]
_WITHOUT_A_NAME = {
    # Laravel reports what is missing, without the variable.
    r"No application encryption key has been specified": "APP_KEY",
}
_UPPER = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{4,}")
# Words in capitals that logs put beside "missing" or "required" and that name no variable.
_WORDS = re.compile(
    r"ERROR|WARN|WARNING|INFO|DEBUG|FATAL|CRITICAL|TRACE|NOTICE|PANIC|ALERT|HTTP|HTTPS|JSON|"
    r"YAML|TOML|HTML|NULL|NONE|TRUE|FALSE|TODO|NOTE|FILE|POST|HEAD|CORS|UUID|SASL|AUTH|CRASH|"
    r"EXIT|FAIL|FAILED|OPTIONS|DELETE|PATCH|UTF|ASGI|WSGI|SELECT|INSERT|UPDATE|TABLE|FROM|"
    r"WHERE|VALUE|VALUES"
)
# pydantic: "1 validation error for Settings", then a line with the field, then the reason.
_PYDANTIC = re.compile(
    r"validation errors? for (\w+)\n((?:.+\n[ \t]+.*(?:\n[ \t]+.*)*\n?)+)", re.MULTILINE
)
_FIELD = re.compile(r"^(\w+)\n[ \t]+[Ff]ield required", re.MULTILINE)
# zod, in JSON or as Node prints an object: path: [ 'NAME' ] beside "Required" or "received undefined".
_ZOD = re.compile(
    rf"\{{(?P<issue>[^{{}}]*\bpath[\"']?\s*:\s*\[\s*[\"'](?P<name>{NAME})[\"']\s*\][^{{}}]*)\}}"
)
# zod's flattened errors: NAME: [ 'Required' ].
_FLAT = re.compile(
    rf"[\"']?(?P<name>{NAME})[\"']?\s*:\s*\[\s*[\"'](?:Required|Invalid input[^\"']*undefined)[\"']"
)
# dotenv-safe and others: a heading, then the names, on a line each or separated by commas.
_LISTED = re.compile(
    r"^(?=[^\n]*\b(?:missing|not present|not set|undefined|required)\b)(?=[^\n]*\b(?:variables?|env|keys?|environment)\b)[^\n]*\n"
    rf"(?P<list>(?:[ \t]*[-*•]?[ \t]*[\"'`]?{NAME}\b[^\n]*\n?)+)",
    re.IGNORECASE | re.MULTILINE,
)


def missing_in(log: str, known: Collection[str] = ()) -> list[str]:
    """The variables that `log`, without terminal escapes, names as missing, in its order.

    known: names that the code reads; each of them counts in any case of letters.
    """
    lines = [line[:LONGEST_LINE] for line in log.splitlines()[-LAST_LINES:]]
    log = "\n".join(lines) + "\n"
    by_case = {name.lower(): name for name in known}
    found: dict[str, int] = {}
    for at, name, sure in _candidates(log):
        spelled = by_case.get(name.lower()) or _with_prefix(name, known)
        if spelled is None and sure:
            spelled = name.upper()
        if spelled is None and _UPPER.fullmatch(name) and not _WORDS.fullmatch(name):
            spelled = name
        if spelled and not _WORDS.fullmatch(spelled):
            found.setdefault(spelled, at)
    return sorted(found, key=lambda name: found[name])


def _with_prefix(name: str, known: Collection[str]) -> str | None:
    """The known name that ends with a settings class's field: its prefix is not in the log."""
    ends = [full for full in known if full.lower().endswith(f"_{name.lower()}")]
    return ends[0] if len(ends) == 1 and name.lower() == name else None


def _candidates(log: str) -> Iterator[tuple[int, str, bool]]:
    """Position, name, and whether the words mean an environment variable for certain."""
    for patterns, sure in ((_SURE, True), (_LIKELY, False)):
        for pattern in patterns:
            for match in re.finditer(pattern, log, re.IGNORECASE | re.MULTILINE):
                groups = match.groupdict()
                listed = re.findall(NAME, groups.get("names") or groups.get("name") or "")
                for name in listed:
                    # A word of a sentence is not a name, even if the other words are certain.
                    if _PROSE.fullmatch(name.lower()):
                        continue
                    yield match.start(), name, sure and _looks_like_a_variable(name)
    for block in _PYDANTIC.finditer(log):
        for field in _FIELD.finditer(block[2]):
            # pydantic validates models of requests too, but not while a Space starts.
            yield block.start() + field.start(), field[1], True
    for match in _ZOD.finditer(log):
        if re.search(r"Required|undefined", match["issue"]):
            yield match.start(), match["name"], True
    for match in _FLAT.finditer(log):
        yield match.start(), match["name"], True
    for match in _LISTED.finditer(log):
        for number, line in enumerate(match["list"].splitlines()):
            head = re.split(r":| \(|=| - |\s{2,}", line.strip(" \t-*•\"'`"), maxsplit=1)[0]
            for name in re.findall(NAME, head):
                yield match.start() + number, name, False
    for pattern, name in _WITHOUT_A_NAME.items():
        if said := re.search(pattern, log):
            yield said.start(), name, True


def _looks_like_a_variable(name: str) -> bool:
    return "_" in name or name.isupper()


_PROSE = re.compile(
    r"the|and|are|was|were|has|been|not|must|should|set|this|that|value|values|variable|"
    r"variables|environment|env|key|keys|field|config|configuration|setting|settings|parameter|"
    r"required|missing|default|for|with|your|you|please|following|these|argument|arguments|"
    r"module|file"
)
