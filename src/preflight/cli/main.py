"""The command `preflight`. Each command imports what it needs when it runs: `--help` is quick."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from preflight.cli.doctor import doctor
from preflight.cli.init import init
from preflight.cli.load import load
from preflight.cli.rules import explain, rules

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
TO_PYTEST = {"ignore_unknown_options": True}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="preflight-for-spaces")
def preflight() -> None:
    """Check a Docker Space before you push it to Hugging Face.

    Exit codes: 0 holds, 1 findings, 2 could not judge, 5 nothing to judge.
    """


@preflight.command(context_settings=TO_PYTEST)
@click.option(
    "--repeat", default=0, metavar="N", help="Only start the Space N times, and report the spread."
)
@click.option("--watch", is_flag=True, help="Check again whenever a file changes.")
@click.argument("folders", nargs=-1, type=click.UNPROCESSED)
def check(folders: tuple[str, ...], repeat: int, watch: bool) -> None:
    """Build, start and probe the Space in each FOLDER.

    Without FOLDER: the Spaces of compose.yaml, or else the Space in this folder. Other options go
    to pytest; `pytest --help` lists them.

    \b
    Example: preflight check my-space
             preflight check . --ref HEAD
             preflight check . --repeat 10
    """
    named = [Path(text) for text in folders if _is_folder(text)] or [Path()]
    if repeat:
        from preflight.cli.repeat import repeat as start_repeatedly

        sys.exit(max(start_repeatedly(folder, repeat) for folder in named))
    if watch:
        from preflight.cli.watch import on_change

        sys.exit(on_change(named, lambda: _judged(folders)))
    sys.exit(_judged(folders))


@preflight.command(context_settings=TO_PYTEST)
@click.argument("folders", nargs=-1, type=click.UNPROCESSED)
def static(folders: tuple[str, ...]) -> None:
    """Check the files of the Space in each FOLDER, without a Docker engine.

    \b
    Example: preflight static my-space
    """
    from preflight.pytest_plugin import CONTRACT, STATIC

    tests = [str(CONTRACT / f"test_{name}.py") for name in STATIC]
    sys.exit(_judged((*folders, *tests), names_tests=True))


def _judged(arguments: tuple[str, ...], names_tests: bool = False) -> int:
    """Judge these folders with these pytest options; without folders, compose.yaml or this folder."""
    from preflight.pytest_plugin import judge, with_values

    given = [f"--space={text}" if _is_folder(text) else text for text in with_values(arguments)]
    named = any(text.startswith(("--space", "--live")) for text in given)
    if not named and not Path("compose.yaml").is_file():
        given.insert(0, "--space=.")
    return judge(given, names_tests)


def _is_folder(text: str) -> bool:
    return not text.startswith("-") and not text.endswith(".py")


@preflight.command()
@click.argument("folder", type=FOLDER)
def settings(folder: Path) -> None:
    """Print the Variables and Secrets that the Space in FOLDER declares.

    \b
    Example: preflight settings my-space
    """
    from preflight.model.environment import EnvironmentDeclaration, EnvironmentDeclarationError

    path = folder / ".env.example"
    try:
        click.echo(EnvironmentDeclaration.of_file(path).settings_table())
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")
    except EnvironmentDeclarationError as error:
        _fail(str(error))


preflight.add_command(init)


@preflight.command()
@click.argument("name")
@click.option("--node", is_flag=True, help="A server in Node.js; the default is Python.")
@click.option("--remove", is_flag=True, help="Remove the Space NAME and its services instead.")
def new(name: str, node: bool, remove: bool) -> None:
    """Make the folder NAME: a Space that passes, with its services in an existing compose.yaml.

    \b
    Example: preflight new my-space
             preflight new my-space --remove
    """
    from preflight.cli import new_space

    sys.exit(new_space.main(name, node=node, remove=remove))


@preflight.command()
@click.argument("folder", type=FOLDER)
@click.option("--space", default="", metavar="OWNER/NAME", help="The Space on the Hub.")
@click.option("--remote", default="", help="Another remote than the Space's own.")
@click.option("--dry-run", is_flag=True, help="Stop before the push.")
@click.option(
    "--force", is_flag=True, help="Push a commit that did not pass, and list the failed rules."
)
@click.option(
    "--set",
    "enter",
    is_flag=True,
    help="Enter missing Variables and Secrets from .env or the shell.",
)
@click.option("--without-secrets", is_flag=True, help="Push although required Secrets are missing.")
@click.option("--load", "with_load", is_flag=True, help="Also judge 30 s of load by its slo.toml.")
def push(
    folder: Path,
    space: str,
    remote: str,
    dry_run: bool,
    force: bool,
    without_secrets: bool,
    with_load: bool,
    enter: bool,
) -> None:
    """Check FOLDER as committed, then push it to its Space.

    \b
    Example: preflight push backend-py --space me/backend-py
    """
    from preflight.cli import push as pushing

    plan = pushing.Plan(folder, space, remote, dry_run, force, without_secrets, with_load, enter)
    sys.exit(pushing.main(plan))


@preflight.group(invoke_without_command=True)
@click.pass_context
def hook(context: click.Context) -> None:
    """Install a git hook that checks what plain `git push` sends to a Space.

    \b
    Example: preflight hook
    """
    if context.invoked_subcommand is None:
        from preflight.cli import hook as hooks

        sys.exit(hooks.install())


@hook.command("run", hidden=True)
@click.argument("name")
@click.argument("url")
def run_hook(name: str, url: str) -> None:
    """Check each commit that git is about to push; git writes them to standard input."""
    from preflight.cli import hook as hooks

    sys.exit(hooks.run(name, url, sys.stdin.read().splitlines()))


@preflight.command()
@click.argument("space", metavar="OWNER/NAME")
@click.option(
    "--url", default="", help="The URL to probe; by default the Space's address on the Hub."
)
@click.option(
    "--folder", default="", help="The Space's folder here; by default the folder of its name."
)
@click.option("--ref", default="", help="The commit to wait for; by default the Space's head.")
@click.option(
    "--watch",
    default=0.0,
    metavar="MINUTES",
    help="Probe again after so many minutes, until a probe fails.",
)
def live(space: str, url: str, folder: str, ref: str, watch: float) -> None:
    """Follow a push until it serves, probe the live Space, compare its settings.

    \b
    Example: preflight live me/backend-py
             preflight live me/backend-py --watch 10
    """
    from preflight.cli import live as following

    sys.exit(following.main(space, url, folder, ref, watch))


@preflight.command()
@click.argument("space", metavar="OWNER/NAME")
@click.option(
    "--ref", default="", help="The commit to go back to; by default the one before the head."
)
@click.option("--remote", default="", help="Another remote than the Space's own.")
@click.option("--dry-run", is_flag=True, help="Stop before the push.")
def rollback(space: str, ref: str, remote: str, dry_run: bool) -> None:
    """Put an earlier commit back at the Space's head.

    \b
    Example: preflight rollback me/backend-py --ref 1a2b3c4
    """
    from preflight.cli import rollback as going_back

    sys.exit(going_back.main(space, ref, remote, dry_run))


@preflight.command()
@click.argument("folder", default=".", type=FOLDER)
@click.option(
    "--watch", is_flag=True, help="Rebuild on change, and switch when the new build serves."
)
@click.option("--port", default=8443, show_default=True, help="The port of the edge.")
@click.option("--owner", default="acme", show_default=True, help="The account in the address.")
def serve(folder: Path, watch: bool, port: int, owner: str) -> None:
    """Serve the Space in FOLDER behind a rehearsed Hub edge and in the Hub's frame, until Ctrl-C.

    \b
    Example: preflight serve my-space --watch
    """
    from preflight.cli import serve as serving

    sys.exit(serving.main(folder, watch, port, owner))


@preflight.command()
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default=Path(".hub"),
    show_default=True,
    help="The folder of its repositories and logs.",
)
@click.option("--port", default=8460, show_default=True, help="0 for any free port.")
@click.option("--run", "run_id", default="", hidden=True)
@click.option(
    "--hub",
    "fields",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the Hub's profile; repeatable.",
)
def hub(state: Path, port: int, run_id: str, fields: tuple[str, ...]) -> None:
    """Start a Hub on this machine: it receives, builds, starts and serves Spaces.

    \b
    Example: preflight hub
    """
    from preflight.local_hub import server

    sys.exit(server.serve(state, port, run_id, fields))


@preflight.command(context_settings={**TO_PYTEST, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Build and start the Spaces of compose.yaml.

    \b
    Example: preflight up
    """
    from preflight.cli import bare

    sys.exit(bare.main(["up", *arguments]))


@preflight.command(context_settings={**TO_PYTEST, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def down(arguments: tuple[str, ...]) -> None:
    """Stop and remove what `preflight up` made.

    \b
    Example: preflight down
    """
    from preflight.cli import bare

    sys.exit(bare.main(["down", *arguments]))


preflight.add_command(doctor)
preflight.add_command(rules)
preflight.add_command(explain)
preflight.add_command(load)


def _fail(message: str) -> None:
    """Exit with code 2: the command could not judge."""
    click.echo(message, err=True)
    sys.exit(2)
