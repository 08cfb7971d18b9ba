"""`preflight init`: write the files that a Space folder lacks."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from preflight.model.program import typed


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the files instead of writing them.")
def init(folder: Path, dry_run: bool) -> None:
    """Draft .env.example, front matter and .dockerignore for the Space in FOLDER, where absent.

    Types and Secrets in .env.example are guesses from the code: review them.

    \b
    Example: preflight init my-space
    """
    from preflight.rules.draft import DECLARATION, README, drafts

    found = list(drafts(folder))
    for draft in found:
        path = folder / draft.path
        if dry_run:
            click.echo(f"--- {path}\n{draft.text}", nl=False)
            continue
        try:
            # A file that appeared in the meantime is the owner's; README.md alone is extended.
            with path.open("w" if draft.path == README else "x", encoding="utf-8") as file:
                file.write(draft.text)
        except OSError as error:
            click.echo(f"{path} cannot be written: {error.strerror}", err=True)
            sys.exit(2)
        click.echo(f"{path}: {draft.about}")
    if not found:
        click.echo(f"{folder} has {DECLARATION}, front matter and .dockerignore: nothing to write")
    elif not dry_run:
        click.echo(f"Review the files, then: {typed(f'check {shlex.quote(str(folder))}')}")
