"""`preflight load`: a load test of any Space, with a verdict."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import click

from preflight.load import plan


class Targets(click.Group):
    """A group whose arguments are a target, unless they start with a command's name."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["run", *args]
        return super().resolve_command(ctx, args)


def _shape(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        return plan.a_shape(text)
    except ArgumentTypeError as error:
        raise click.BadParameter(str(error)) from None


@click.group(cls=Targets, context_settings={"ignore_unknown_options": True})
def load() -> None:
    """Load a Space and judge it by its slo.toml: exit code 0 held, 1 crossed, 2 invalid.

    \b
    Example: preflight load my-space            a folder: built and run behind the edge
    preflight load http://127.0.0.1:7860        a running server
    preflight load OWNER/NAME --yes-load-this   on the Hub: 20 requests per second for 30 s
    preflight load compare A.json B.json        two reports of the same machine

    All options: preflight load run --help
    """


@load.command("run")
@click.argument("target")
@click.option("--slo", type=click.Path(dir_okay=False, path_type=Path), help="Thresholds; by default the slo.toml of the target's folder, else of this folder. Drafted when absent.")  # fmt: skip
@click.option("-u", "--users", type=click.IntRange(1), help="Simulated users; by default 10, or as many as --rate needs.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(0), default=0.0, help="Arrivals per second: the open model, with latencies from the intended start.")  # fmt: skip
@click.option("-t", "--time", "seconds", type=click.IntRange(1), help="Seconds; by default 30, or as long as the shape needs.")  # fmt: skip
@click.option(
    "--shape", default="steady", callback=_shape, help=f"One of {', '.join(plan.SHAPES)}."
)
@click.option("--think", type=click.FloatRange(0), default=0.2, show_default=True, help="Seconds between two requests of a user in the closed model.")  # fmt: skip
@click.option("--report-dir", "report", type=click.Path(file_okay=False, path_type=Path), help="Where load.html, .md, .xml, .json and .prom go; by default a folder of the user's cache.")  # fmt: skip
@click.option("--ca", default="", help="Certificate authority (PEM file) of an https:// target.")
@click.option("--yes-load-this", is_flag=True, help="Confirm that the target's owner wants this load; required for a target on another machine.")  # fmt: skip
@click.option("--max-rate", type=click.FloatRange(0), default=0.0, help="Requests per second to a target on another machine; by default 20.")  # fmt: skip
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def run_(**given: Any) -> None:
    """Load TARGET: a Space's folder, a URL, or OWNER/NAME on the Hub.

    Arguments after `--` go to Locust, such as `-- --otel` or `-- --processes 2`.

    Example: preflight load my-space --rate 50
    """
    from preflight.load import command
    from preflight.pytest_plugin.folders import in_the_cache

    given["report"] = given["report"] or in_the_cache(Path.cwd()) / "load"
    sys.exit(command.load(command.Wanted(**given)))


@load.command()
@click.argument("old", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(dir_okay=False, path_type=Path))
def compare(old: Path, new: Path) -> None:
    """Compare two load.json of the same machine. Exit codes: 0 not slower, 1 slower, 2 not comparable.

    Example: preflight load compare monday.json reports/load/load.json
    """
    from preflight.load import compare as comparison

    try:
        rows = comparison.of_reports(old, new)
    except comparison.CannotCompare as error:
        click.echo(f"Comparison: invalid (exit code 2): {error}", err=True)
        sys.exit(2)
    click.echo(comparison.table(rows, str(old), str(new)))
    sys.exit(1 if any(row.worse for row in rows) else 0)
