"""The command `preflight`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from preflight.cli import bare
from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError
from preflight.pytest_plugin import command

PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """The console script."""
    from preflight.__main__ import main as run

    sys.exit(run())


@click.group()
@click.version_option(package_name="preflight-for-spaces")
def preflight() -> None:
    """Prove a Docker Space before you push it to Hugging Face."""


@preflight.command(context_settings={"ignore_unknown_options": True})
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def check(folder: Path | None, more: tuple[str, ...]) -> None:
    """Build, start and probe the Space in FOLDER; without FOLDER, the Spaces of compose.yaml.

    Further arguments go to pytest.

    Example: preflight check my-space
    """
    named = [f"--space={folder}"] if folder else []
    sys.exit(subprocess.call(command([*named, *more])))


@preflight.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def settings(folder: Path) -> None:
    """Print the table of the Variables and Secrets that the Space in FOLDER declares.

    Example: preflight settings my-space
    """
    path = folder / ".env.example"
    try:
        click.echo(EnvironmentDeclaration.of_file(path).settings_table())
    except OSError as error:
        click.echo(f"{path} cannot be read: {error.strerror}", err=True)
        sys.exit(2)
    except EnvironmentDeclarationError as error:
        click.echo(str(error), err=True)
        sys.exit(2)


def _passed_on(name: str, about: str) -> None:
    """Add a command whose arguments are read by its own parser."""

    @preflight.command(name, context_settings=PASSED_ON, help=about, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        sys.exit(_run(name, list(arguments)))


def _run(name: str, arguments: list[str]) -> int:
    if name in ("up", "down"):
        return bare.main([name, *arguments])
    if name in ("push", "hooks", "hook"):
        from preflight.cli import push

        return push.main([name, *arguments])
    if name in ("live", "rollback"):
        from preflight.cli import live

        return live.main([name, *arguments])
    if name == "new":
        from preflight.cli import new_space

        return new_space.main(arguments)
    from preflight.local_hub.__main__ import main as hub

    return hub(arguments)


for name, about in {
    "up": "Build and start the Spaces of compose.yaml.",
    "down": "Stop and remove what `preflight up` made.",
    "new": "Make a new Space folder that passes the contract.",
    "push": "Judge a Space folder as committed, then push it.",
    "hooks": "Install a git hook that judges pushes to Spaces.",
    "hook": "What that hook calls.",
    "live": "Follow a push and probe the live Space.",
    "rollback": "Put an earlier commit back at a Space's head.",
    "hub": "Start a Hub in a box.",
}.items():
    _passed_on(name, about)
