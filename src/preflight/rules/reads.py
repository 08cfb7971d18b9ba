"""Which variables of its environment a Space's code reads, by their names.

It does not find a name that a program computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preflight.model.context import context_files

LARGEST_SOURCE = 1024 * 1024
CODE = {
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".go", ".rs", ".rb", ".php"),
    *(".java", ".kt", ".c", ".cc", ".cpp", ".sh", ".bash", ".ex", ".exs", ".cs", ".vue", ".svelte"),
}
_NOT_RUN = re.compile(r"(^|/)(node_modules|tests?|__tests__|\.venv|venv)/|\.(test|spec)\.\w+$")
# The system or the runtime sets them; a user does not enter them in a Space's settings.
GIVEN = re.compile(
    r"PATH|HOME|USER|PWD|SHELL|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|TERM|HOSTNAME|CI|NO_COLOR|FORCE_COLOR"
    r"|NODE_\w+|PYTHON\w+|UV_\w+|PIP_\w+|XDG_\w+|npm_\w+|DEBUG|PORT|HOST|SSL_CERT_\w+|\w+_PROXY"
)
HUB_SETS = {
    *("SPACE_ID", "SPACE_AUTHOR_NAME", "SPACE_REPO_NAME", "SPACE_TITLE", "SPACE_HOST", "SYSTEM"),
    *("SPACE_CREATOR_USER_ID", "CPU_CORES", "MEMORY", "ACCELERATOR"),
    *("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL"),
}
"""Source: hub-docs spaces-overview.md and spaces-oauth.md; SYSTEM: gradio utils.py get_space."""


@dataclass(frozen=True)
class Read:
    """A place where the code reads a variable. type: a guess by the code's conversion.

    required: the code has no default there, so it fails without the variable.
    """

    name: str
    path: str
    line: int
    required: bool = False
    default: str | None = None
    type: str = "string"


def reads(folder: Path, by_name_alone: bool = False) -> Iterator[Read]:
    """Every read of a variable, in the code and the scripts that enter the build.

    by_name_alone: leave out settings classes and shells, whose names follow other rules.
    """
    for path, text in code_of(folder):
        found = [*_by_name(path, text)]
        if path.endswith(".py") and not by_name_alone:
            found += _settings_classes(path, text)
        script = path.endswith((".sh", ".bash")) or "." not in Path(path).name
        if script and not by_name_alone:
            found += _shell(path, text)
        yield from sorted(found, key=lambda read: read.line)


def is_entered(name: str) -> bool:
    """Whether a user enters the variable in a Space's settings: neither Hub nor system sets it."""
    return name not in HUB_SETS and not GIVEN.fullmatch(name)


def needed(folder: Path) -> list[Read]:
    """The first read of each required variable that neither Hub nor system sets."""
    first: dict[str, Read] = {}
    for read in reads(folder):
        if read.required and is_entered(read.name):
            first.setdefault(read.name, read)
    return list(first.values())


def code_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Path and text of each file of code that enters the build."""
    for path in sorted(context_files(folder)):
        file = folder / path
        script = "." not in file.name and file.parent == folder
        if not (file.suffix in CODE or script) or _NOT_RUN.search(path) or not file.is_file():
            continue
        if file.stat().st_size > LARGEST_SOURCE:
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if not script or re.match(r"#!.*\b(ba|da|a)?sh\b", text):
            yield path, text


_NAME = r"(?P<name>[A-Z][A-Z0-9_]{2,})"
_ANY_NAME = r"(?P<name>[A-Za-z][A-Za-z0-9_]{2,})"
# How programs read one variable: (pattern, whether a read without a default fails).
_READS = [
    (re.compile(pattern.replace("NAME", name)), fails)
    for pattern, name, fails in (
        # Python.
        (r"""\benviron\[\s*["']NAME["']\s*\](?!\s*=[^=])""", _NAME, True),
        (r"""\benviron\.(?:get|pop|setdefault)\(\s*["']NAME["']""", _NAME, False),
        (r"""\bgetenv\(\s*["']NAME["']""", _NAME, False),
        # decouple, starlette, environs and django-environ: config("NAME"), env.str("NAME"), env("NAME").
        (r"""(?<![\w.])config\(\s*["']NAME["']""", _NAME, True),
        (r"""(?<![\w.])env(?:\.(?:str|int|bool|float|list|url|json|db|db_url|cache))?\(\s*["']NAME["']""", _NAME, True),
        # dynaconf: Validator("NAME", must_exist=True).
        (r"""\bValidator\(\s*["']NAME["']\s*,\s*must_exist=True""", _NAME, True),
        # Node.js, Bun, Vite; a variable that is deleted or assigned is not read.
        (r"""(?<!delete )\b(?:process|Bun)\.env(?:\.|\[["'])NAME\b(?!["'\]]*\s*=[^=])""", _NAME, False),
        (r"""\bimport\.meta\.env\.NAME\b""", _NAME, False),
        (r"""\bDeno\.env\.get\(\s*["']NAME["']""", _NAME, False),
        # env-var: env.get("NAME").required(); envalid and zod schemas are read by `_schemas`.
        (r"""\benv\.get\(\s*["']NAME["']\s*\)\.required\(""", _NAME, True),
        # Go, Rust, Ruby, PHP, Elixir, C#.
        (r"""\bos\.(?:Getenv|LookupEnv)\(\s*"NAME\"""", _NAME, False),
        (r"""\benv::var(?:_os)?\(\s*"NAME\"""", _NAME, False),
        (r"""\bENV\.fetch\(\s*["']NAME["']\s*\)""", _NAME, True),
        (r"""\bENV(?:\.fetch\(|\[)\s*["']NAME["']""", _NAME, False),
        (r"""\bSystem\.fetch_env!\(\s*"NAME\"""", _NAME, True),
        (r"""\bSystem\.(?:get_env|getenv)\(\s*"NAME\"""", _NAME, False),
        (r"""\bGetEnvironmentVariable\(\s*"NAME\"""", _NAME, False),
    )
]  # fmt: skip
# `NAME: z.string()`, `NAME: str({…})`, `NAME: Joi.string().required()` in files that use such a library.
_SCHEMA = re.compile(
    r"""^\s*["']?(?P<name>[A-Z][A-Z0-9_]{2,})["']?\s*:\s*(?P<rule>(?:z\.|Joi\.|str\(|num\(|bool\(|port\(|url\(|email\(|host\(|json\().*)$""",
    re.MULTILINE,
)
_SCHEMA_LIBRARY = re.compile(r"""["'](?:zod|envalid|joi|@t3-oss/env-\w+)["']""")


def _by_name(path: str, text: str) -> Iterator[Read]:
    taken: set[int] = set()
    for pattern, fails in _READS:
        for match in pattern.finditer(text):
            at = match.start("name")
            if at in taken:
                continue
            taken.add(at)
            rest = text[match.end() : match.end() + 200].split("\n")[0]
            default = _default(rest)
            stops = fails and not re.match(r"""["'\]]*\s*,""", rest)
            stops = stops or bool(
                re.match(r"""["'\])]*\s*(?:\?\?|\|\|)\s*(?:\(\s*\(\)\s*=>|throw)""", rest)
            )
            before = text[max(0, match.start() - 40) : match.start()].split("\n")[-1]
            yield Read(
                match["name"], path, _line(text, at), stops, default, _type(before, rest, default)
            )
    if _SCHEMA_LIBRARY.search(text):
        for match in _SCHEMA.finditer(text):
            rule = match["rule"]
            optional = re.search(r"optional\(|default\(|\bdefault\s*:|nullish\(|catch\(", rule)
            joi = rule.startswith("Joi.") and "required(" not in rule
            yield Read(
                match["name"], path, _line(text, match.start("name")), not (optional or joi), None,
                _type("", rule, None),
            )  # fmt: skip


def _default(rest: str) -> str | None:
    """The default for an absent variable, if the code gives it beside the read."""
    match = re.match(
        r"""["'\]]*\)?\s*(?:,|\?\?|\|\||\bor\b)\s*(?:default\s*=\s*)?(?:["']([^"'\n]*)["']|(-?\d+(?:\.\d+)?|[Tt]rue|[Ff]alse)\b)""",
        rest,
    )
    return None if match is None else match[1] if match[1] is not None else match[2].lower()


def _type(before: str, rest: str, default: str | None) -> str:
    """A type by the code's conversion of the value: `int(…)`, `cast=bool`, `z.coerce.number()`, its default."""
    if default in ("true", "false") or re.search(r"cast=bool|\bbool\(|boolean\(", rest):
        return "boolean"
    converts = re.search(r"\b(?:int|float|Number|parseInt|parseFloat)\(\s*(?:os\.)?$", before)
    numbers = r"cast=(?:int|float)|\bnumber\(|^num\(|^port\(|\.as(?:Int|PortNumber)"
    if converts or re.search(numbers, rest) or re.fullmatch(r"-?\d+(\.\d+)?", default or ""):
        return "number"
    return "url" if re.search(r"\b(?:url|uri)\(", rest) else "string"


# A settings class of pydantic: class Settings(BaseSettings), with `name: type` and perhaps `= default`.
_SETTINGS = re.compile(
    r"^class \w+\([^)]*\bBaseSettings\b[^)]*\):\n((?:[ \t]+.*\n|[ \t]*\n)*)", re.MULTILINE
)
_FIELD = re.compile(
    r"^(    |\t)(?P<name>[A-Za-z]\w*)\s*:\s*(?P<type>[^=\n#]+?)\s*(?:=\s*(?P<default>.+?))?\s*(?:#.*)?$"
)
_TYPES = {"int": "number", "float": "number", "bool": "boolean"}


def _settings_classes(path: str, text: str) -> Iterator[Read]:
    for block in _SETTINGS.finditer(text + "\n"):
        prefix = re.search(r"""env_prefix\s*=\s*["'](\w*)["']""", block[1])
        for number, line in enumerate(block[1].splitlines()):
            field = _FIELD.match(line)
            if field is None or field["name"] == "model_config" or "ClassVar" in field["type"]:
                continue
            given = field["default"]
            alias = re.search(
                r"""(?:validation_alias|alias|env)\s*=\s*["'](\w+)["']""", given or ""
            )
            required = given is None or bool(
                re.match(r"Field\(\s*(?:\.\.\.|(?!default|[^=,)]*[,)])\w+\s*=)", given)
                and "default" not in given
            )
            name = alias[1] if alias else (prefix[1] if prefix else "") + field["name"]
            kind = _TYPES.get(field["type"].replace("| None", "").strip(), "string")
            if "Url" in field["type"]:
                kind = "url"
            literal = re.fullmatch(r"""["'](.*)["']|(-?\d+(?:\.\d+)?|True|False)""", given or "")
            default = None
            if literal:
                default = literal[1] if literal[1] is not None else literal[2].lower()
            yield Read(
                name.upper(), path, _line(text, block.start(1)) + number, required, default, kind
            )


# `${NAME:?}` and `$NAME` under `set -u` fail; `${NAME:-default}` has a default.
_EXPANSION = re.compile(
    r"\$(?:\{(?P<braced>[A-Z][A-Z0-9_]{2,})(?P<operator>:?[-?+=])?(?P<word>[^}]*)\}|(?P<plain>[A-Z][A-Z0-9_]{2,}))"
)


def _shell(path: str, text: str) -> Iterator[Read]:
    strict = re.search(r"^\s*set\s+-\w*u|^\s*set\s+-o\s+nounset|^#!.*\s-\w*u", text, re.MULTILINE)
    set_here = set(
        re.findall(
            r"^\s*(?:export\s+|local\s+|readonly\s+)?([A-Z][A-Z0-9_]{2,})=", text, re.MULTILINE
        )
    )
    set_here |= set(re.findall(r"\b(?:for|read(?:\s+-\w+)*)\s+([A-Z][A-Z0-9_]{2,})\b", text))
    code = re.sub(r"(?m)^\s*#.*$", "", text)
    for match in _EXPANSION.finditer(code):
        name, operator = match["braced"] or match["plain"], match["operator"] or ""
        if name in set_here and not operator:
            continue
        required = operator.endswith("?") or (bool(strict) and not operator)
        default = match["word"] if operator.endswith(("-", "=")) else None
        yield Read(name, path, _line(code, match.start()), required, default or None)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
