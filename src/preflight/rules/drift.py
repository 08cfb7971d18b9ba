"""Drift between code, declaration and README: variables that are in one and absent in another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from preflight.model.environment import EnvironmentDeclaration
from preflight.model.problems import Problem
from preflight.rules.reads import code_of, is_entered, reads


def undeclared_problems(
    folder: Path, declaration: EnvironmentDeclaration, image_sets: set[str]
) -> Iterator[Problem]:
    """Variables that the code reads and the declaration lacks. `image_sets`: names of ENV and ARG."""
    known = {variable.name for variable in declaration.variables} | image_sets
    seen: set[str] = set()
    for read in reads(folder, by_name_alone=True):
        if read.name in known | seen or not is_entered(read.name):
            continue
        seen.add(read.name)
        yield Problem(
            f"{read.name} in {declaration.source}, with a comment that describes it",
            f"the code reads {read.name}",
            file=read.path,
            line=read.line,
        )


def unread_problems(folder: Path, declaration: EnvironmentDeclaration) -> Iterator[Problem]:
    """Declared variables that no line of the code names. Without code there is no verdict."""
    code = [text for _, text in code_of(folder)]
    for variable in declaration.variables if code else ():
        if not any(_names(variable.name).search(text) for text in code):
            yield Problem(
                f"{variable.name} read by the code",
                f"{variable.name} is declared, but no line of the code names it",
                file=declaration.source,
                line=variable.line,
            )


def _names(variable: str) -> re.Pattern[str]:
    """A variable's name in code, in any case, and as a computed name.

    Settings classes read COHERE_API_KEY as `cohere_api_key`; a program may compute the name as
    `${prefix}_API_KEY` or `prefix + "_API_KEY"`.
    """
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
