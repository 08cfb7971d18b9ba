"""Drafts of the files that a Space lacks: `.env.example`, front matter, `.dockerignore`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preflight.model.frontmatter import DEFAULT_APP_PORT, means_a_space
from preflight.model.given import looks_sensitive
from preflight.rules.dockerfile import Dockerfile, DockerfileError, names_set
from preflight.rules.reads import Read, is_entered, reads

DECLARATION = ".env.example"
IGNORE = ".dockerignore"
README = "README.md"


@dataclass(frozen=True)
class Draft:
    """A file to write: its path in the folder, its whole text, and a summary for the user."""

    path: str
    text: str
    about: str


def drafts(folder: Path) -> Iterator[Draft]:
    """Each file that the Space in `folder` lacks. Existing files stay as they are."""
    if not (folder / DECLARATION).exists():
        variables = variables_read(folder)
        required = sum(variable.required for variable in variables)
        about = f"{len(variables)} variables that the code reads, {required} of them required"
        yield Draft(DECLARATION, declaration(variables), about)
    readme = folder / README
    text = readme.read_bytes() if readme.is_file() else b""
    if not means_a_space(text):
        port = port_of(folder)
        head = front_matter(folder.resolve().name, port)
        about = f"front matter for a Docker Space that listens on {port}"
        body = text.decode("utf-8", "replace") or f"\n# {_title(folder.resolve().name)}\n"
        yield Draft(README, head + body, about)
    if not (folder / IGNORE).exists():
        yield Draft(IGNORE, _IGNORED, "what the build does not need: .git, .env, caches")


def variables_read(folder: Path) -> list[Read]:
    """Each variable that the code reads and that a user enters, once: required if any read requires it."""
    try:
        dockerfile = Dockerfile.of_folder(folder)
        set_by_the_image = names_set(dockerfile)
    except (DockerfileError, OSError):
        set_by_the_image = set()
    found: dict[str, list[Read]] = {}
    for read in reads(folder):
        if is_entered(read.name) and read.name not in set_by_the_image:
            found.setdefault(read.name, []).append(read)
    return [_joined(places) for places in found.values()]


def _joined(places: list[Read]) -> Read:
    first = places[0]
    types = [place.type for place in places if place.type != "string"]
    defaults = [place.default for place in places if place.default is not None]
    return Read(
        first.name,
        first.path,
        first.line,
        required=any(place.required for place in places),
        default=defaults[0] if defaults else None,
        type=types[0] if types else first.type,
    )


def declaration(variables: list[Read]) -> str:
    """The text of `.env.example` for these variables; it marks its guesses."""
    lines = [
        "# What this Space reads from its environment, drafted from its code by `preflight init`.",
        "# Guesses: @type, and @sensitive (a Secret on the Hub; without it, a Variable). Correct them,",
        "# say what each variable is for, and delete this paragraph.",
    ]
    for variable in variables:
        sensitive = looks_sensitive(variable.name)
        decorators = ["@required" if variable.required else "@optional"]
        decorators += ["@sensitive"] if sensitive else []
        decorators.append(f"@type={_type_of(variable)}")
        # A Secret's default in the code must not be published a second time.
        default = "" if sensitive or variable.required else variable.default or ""
        value = f'"{default}"' if re.search(r"[\s#'$]", default) else default
        lines += ["", f"# Read in {variable.path}:{variable.line}.", f"# {' '.join(decorators)}"]
        lines.append(f"{variable.name}={value}")
    return "\n".join(lines) + "\n"


def _type_of(read: Read) -> str:
    if read.type != "string":
        return read.type
    return "url" if read.name.endswith(("_URL", "_URI")) and not read.default else "string"


def front_matter(name: str, port: int) -> str:
    """The front matter of a Docker Space of this name."""
    lines = ["---", f"title: {_title(name)}", "emoji: 🚀", "colorFrom: blue", "colorTo: green"]
    lines += ["sdk: docker", f"app_port: {port}", "pinned: false", "---", ""]
    return "\n".join(lines)


def port_of(folder: Path) -> int:
    """The port of the Dockerfile if it exposes exactly one; else the Hub's default."""
    try:
        text = (folder / "Dockerfile").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return DEFAULT_APP_PORT
    exposed = re.findall(r"(?mi)^\s*EXPOSE\s+(\d+)(?:/tcp)?\s*$", text)
    return int(exposed[0]) if len(set(exposed)) == 1 else DEFAULT_APP_PORT


def _title(name: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", " ", name).strip()
    return words.capitalize() or "My Space"


_IGNORED = """\
.git
.env
.env.*
!.env.example
__pycache__
*.pyc
.venv
venv
.pytest_cache
node_modules
.DS_Store
"""
