"""Provide the base images: from a registry, or as stand-ins when no registry answers.

Standard library only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from preflight.engine.install import Failure, answers, say
from preflight.engine.stand_ins import install_mmdebstrap, make, name_for, recipe_for

stood_in_for: set[str] = set()
"""The official images that stand-ins have replaced in this process."""


# A file or script within a step, in which `from` is another language's word. Source: Dockerfile reference,
# here-documents.
_HERE_DOCUMENT = re.compile(
    r"(?ms)^(?P<step>\s*(?:RUN|COPY|ADD)\b[^\n]*<<-?[\"']?(?P<end>\w+)[\"']?[^\n]*\n).*?^\s*(?P=end)[ \t]*$"
)


_SYNTAX = re.compile(
    r"(?i)\A\ufeff?(?P<before>(?:#[ \t]*\w+[ \t]*=[^\n]*\n)*?)#[ \t]*syntax[ \t]*=[ \t]*(?P<image>\S+)"
)


class NoStandIn(Failure):
    """A base image can't be pulled here, and has no stand-in."""


def syntax_in(dockerfile: str) -> str | None:
    """The image that reads the Dockerfile, by its line `# syntax=`; None without one.

    Source: Dockerfile reference, parser directives: comments at the top of the file.
    """
    found = _SYNTAX.match(dockerfile)
    return found["image"] if found else None


def without_syntax(dockerfile: str) -> str:
    """The same for BuildKit's own reader, which needs no image; the line stays, so that line numbers do too."""
    return _SYNTAX.sub(r"\g<before># ", dockerfile)


def named_in(dockerfile: str) -> list[str]:
    """The images that a Dockerfile's FROM and COPY --from name; its own stages left out.

    An ARG before the first FROM counts with its default; a name that has none is left out.
    """
    # A line that ends in a backslash continues on the next line.
    text = re.sub(r"\\\n", " ", _HERE_DOCUMENT.sub(r"\g<step>", dockerfile))
    head = re.split(r"(?mi)^\s*FROM\s", text, maxsplit=1)[0]
    defaults = dict(re.findall(r"(?mi)^\s*ARG\s+(\w+)=[\"']?([^\s\"']*)", head))

    def value(match: re.Match[str]) -> str:
        given = defaults.get(match["braced"] or match["plain"]) or match["default"]
        return given or match[0]

    expansion = r"\$(?:\{(?P<braced>\w+)(?::?-(?P<default>[^}]*))?\}|(?P<plain>\w+))"
    stages = {name.lower() for name in re.findall(r"(?mi)^\s*FROM\s.*\sAS\s+(\S+)", text)}
    named = re.findall(r"(?mi)^\s*FROM\s+(?:--\S+\s+)*(\S+)", text)
    # A stage may also be copied from by its number.
    named += re.findall(r"(?mi)^\s*COPY\s.*--from=(\S*[:/]\S*)", text)
    images = {re.sub(expansion, value, reference).strip("\"'") for reference in named}
    return sorted(i for i in images if i.lower() not in stages | {"scratch"} and "$" not in i)


def ensure(
    images: list[str],
    offline: bool = False,
    pull: bool = False,
    say: Callable[[str], None] = say,
) -> dict[str, str]:
    """The stand-ins in use: {official name: stand-in's name}, empty where a registry answers.

    `offline` asks no registry. `pull` refreshes images that are here already. `say` takes what is
    done, for people.
    Raises NoStandIn when an image can neither be pulled nor stood in for, Failure when its stand-in
    can't be made.
    """
    stand_ins = {}
    for image in images:
        if not offline and not pull and answers(["docker", "image", "inspect", image]) is not None:
            continue
        if not offline and pull_image(image, say):
            continue
        if recipe_for(image) is None:
            message = f"the base image {image} can't be pulled, and there is no stand-in for it. Check the network and the registry."
            print(f"setup: {message}", file=sys.stderr, flush=True)
            raise NoStandIn(message)
        stand_ins[image] = name_for(image)
    if stand_ins:
        say(
            "NO IMAGE REGISTRY ANSWERS. STAND-INS made from Debian's packages take the place of: "
            + ", ".join(map(described, stand_ins))
        )
    missing = [
        image
        for image, name in stand_ins.items()
        if answers(["docker", "image", "inspect", name]) is None
    ]
    if missing:
        install_mmdebstrap()
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(make, missing))
    return stand_ins


def described(image: str) -> str:
    """The image's name, with what its stand-in has in the place of the official image's contents."""
    recipe = recipe_for(image)
    return f"{image} ({recipe.differs})" if recipe and recipe.differs else image


def pull_image(image: str, say: Callable[[str], None]) -> bool:
    say(f"pulling {image} …")
    try:
        return (
            subprocess.run(
                ["docker", "pull", "--quiet", image], capture_output=True, timeout=600
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False
