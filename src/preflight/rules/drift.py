"""Drift between code, declaration and README: variables that one has and another lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preflight.model.context import context_files
from preflight.model.environment import EnvironmentDeclaration
from preflight.model.problems import Problem

# How programs read one variable by its name. A name that a program computes is not found here.
_NAME = r"(?P<name>[A-Z][A-Z0-9_]{2,})"
_READS = re.compile(
    "|".join(
        pattern.replace("NAME", _NAME.replace("name", f"name{number}"))
        for number, pattern in enumerate(
            (
                r"""\benviron(?:\.(?:get|pop|setdefault)\(|\[)\s*["']NAME["']""",  # Python
                r"""\bgetenv\(\s*["']NAME["']""",  # Python, C, PHP, Java
                # Node.js, Bun; a variable that is deleted is not read.
                r"""(?<!delete )\b(?:process|Bun)\.env(?:\.|\[["'])NAME\b""",
                r"""\bDeno\.env\.get\(\s*["']NAME["']""",
                r"""\bos\.(?:Getenv|LookupEnv)\(\s*"NAME\"""",  # Go
                r"""\benv::var(?:_os)?\(\s*"NAME\"""",  # Rust
                r"""\bENV(?:\.fetch\(|\[)\s*["']NAME["']""",  # Ruby
            )
        )
    )
)
_CODE = {
    *(".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".jsx", ".go", ".rs", ".rb", ".php"),
    *(".java", ".kt", ".c", ".cc", ".cpp", ".sh"),
}
_NOT_RUN = re.compile(r"(^|/)(node_modules|tests?|__tests__|\.venv|venv)/|\.(test|spec)\.\w+$")
# Set by the system or the runtime; nobody enters them in a Space's settings.
_GIVEN = re.compile(
    r"PATH|HOME|USER|PWD|SHELL|LANG|LC_\w+|TZ|TMPDIR|TEMP|TMP|TERM|HOSTNAME|CI|NO_COLOR|FORCE_COLOR"
    r"|NODE_\w+|PYTHON\w+|UV_\w+|PIP_\w+|XDG_\w+|npm_\w+|DEBUG|PORT|HOST|SSL_CERT_\w+|\w+_PROXY"
)
HUB_SETS = {
    *("SPACE_ID", "SPACE_AUTHOR_NAME", "SPACE_REPO_NAME", "SPACE_TITLE", "SPACE_HOST", "SYSTEM"),
    *("SPACE_CREATOR_USER_ID", "CPU_CORES", "MEMORY", "ACCELERATOR"),
    *("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL"),
}
"""Source: hub-docs spaces-overview.md and spaces-oauth.md; SYSTEM: gradio utils.py get_space."""
LARGEST_SOURCE = 1024 * 1024


@dataclass(frozen=True)
class Read:
    """One place where the code reads a variable."""

    name: str
    path: str
    line: int


def reads(folder: Path) -> Iterator[Read]:
    """Every read of a variable by its name, in the code that enters the build."""
    for path, text in _code_of(folder):
        for match in _READS.finditer(text):
            name = next(value for value in match.groupdict().values() if value)
            yield Read(name, path, text.count("\n", 0, match.start()) + 1)


def undeclared_problems(
    folder: Path, declaration: EnvironmentDeclaration, image_sets: set[str]
) -> Iterator[Problem]:
    """Variables that the code reads and nobody declares. `image_sets`: names of ENV and ARG."""
    known = {variable.name for variable in declaration.variables} | image_sets | HUB_SETS
    seen: set[str] = set()
    for read in reads(folder):
        if read.name in known | seen or _GIVEN.fullmatch(read.name):
            continue
        seen.add(read.name)
        yield Problem(
            f"{read.name} in {declaration.source}, with a comment that says what it is",
            f"the code reads {read.name}",
            file=read.path,
            line=read.line,
        )


def unread_problems(folder: Path, declaration: EnvironmentDeclaration) -> Iterator[Problem]:
    """Declared variables that no line of the code names. No code at hand, no verdict."""
    code = [text for _, text in _code_of(folder)]
    for variable in declaration.variables if code else ():
        if not any(_names(variable.name).search(text) for text in code):
            yield Problem(
                f"{variable.name} read by the code",
                f"{variable.name} is declared, and no line of the code names it",
                file=declaration.source,
                line=variable.line,
            )


def _names(variable: str) -> re.Pattern[str]:
    """A variable's name in code: also `cohere_api_key`, as settings classes read COHERE_API_KEY, and
    `${prefix}_API_KEY` or `prefix + "_API_KEY"`, a name that is put together."""
    ends = [variable[at:] for at, letter in enumerate(variable) if letter == "_" and at]
    put_together = rf"|[}}\"'`](?:{'|'.join(map(re.escape, ends))})\b" if ends else ""
    return re.compile(rf"\b{re.escape(variable)}\b{put_together}", re.IGNORECASE)


def undocumented_problems(readme: str, declaration: EnvironmentDeclaration) -> Iterator[Problem]:
    """Required variables that README.md does not name."""
    for variable in declaration.variables:
        if variable.required is not False and not re.search(rf"\b{variable.name}\b", readme):
            yield Problem(
                f"{variable.name} in README.md",
                f"README.md does not name the required {variable.kind} {variable.name}",
                file="README.md",
            )


def _code_of(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(context_files(folder)):
        file = folder / path
        if file.suffix not in _CODE or _NOT_RUN.search(path) or not file.is_file():
            continue
        if file.stat().st_size <= LARGEST_SOURCE:
            yield path, file.read_text(encoding="utf-8", errors="replace")
