"""`preflight rules` and `preflight explain`: the rules, without a run."""

from __future__ import annotations

import difflib
import sys

import click


@click.command("rules")
@click.option(
    "--severity",
    type=click.Choice(["breaks", "risk", "advice"]),
    help="List only rules of this severity.",
)
def rules(severity: str | None) -> None:
    """List the rules: id, severity, sentence.

    \b
    Example: preflight rules --severity breaks
    """
    from preflight.pytest_plugin.reference import entries

    chosen = [entry for entry in entries() if severity in (None, entry.rule.severity)]
    widest = max(len(entry.id) for entry in chosen)
    for entry in chosen:
        click.echo(f"{entry.id:<{widest}}  {entry.rule.severity:<6}  {entry.rule.sentence}")


@click.command("explain")
@click.argument("rule")
def explain(rule: str) -> None:
    """Print the page of RULE: its effect on the Hub, the fix, and the source.

    \b
    Example: preflight explain start.serves
    """
    from preflight.pytest_plugin.reference import entries, explained

    known = {entry.id: entry for entry in entries()}
    # Findings name parameters too: edge.survives[ab].
    found = known.get(rule.partition("[")[0])
    if found is None:
        near = difflib.get_close_matches(rule, known, n=3, cutoff=0.4)
        hint = f"; similar: {', '.join(near)}" if near else ""
        click.echo(f"RULE {rule!r} does not exist{hint}. List all: preflight rules", err=True)
        sys.exit(2)
    click.echo(explained(found), nl=False)
