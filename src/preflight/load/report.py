"""The verdict for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from preflight.load.figures import PERCENTILES, Run
from preflight.load.judge import EXIT_CODES, HELD, INVALID, NOT_RUN, Row, Verdict
from preflight.load.watch import Watched

COLUMNS = ["request", "samples", "per second", *PERCENTILES, "failed", "429", "verdict"]
# Of load.json; report.schema.json describes it.
SCHEMA_VERSION = 1


def cells(row: Row) -> list[str]:
    """A text for each of COLUMNS: measured / allowed."""

    def pair(actual: str, limit: str | None) -> str:
        return f"{actual} / {limit}" if limit is not None else actual

    slo, seen = row.slo, row.figures
    if row.state == NOT_RUN:
        return [row.name, *["-"] * (len(COLUMNS) - 2), row.state]
    failed = seen.failures / seen.samples if seen.samples else 0.0
    latencies = []
    for key in PERCENTILES:
        actual, limit = seen.percentile(key), slo.limit(key) if slo else None
        text = "-" if actual is None else f"{actual:g}"
        latencies.append(pair(text, None if limit is None else f"{limit:g} ms"))
    return [
        row.name,
        pair(str(seen.samples), f"{slo.samples:g}" if slo and slo.samples else None),
        pair(f"{row.rate:.2g}", f"{slo.rate:g}" if slo and slo.rate else None),
        *latencies,
        pair(f"{failed:.1%}", f"{slo.failures:.1%}" if slo else None),
        str(seen.limited),
        row.state,
    ]


def headline(verdict: Verdict) -> str:
    """The verdict, the people, the model, and the load on the generator."""
    run = verdict.run
    return (
        f"{verdict.state} (exit code {verdict.exit_code}): {_people(run)}, {model(run)}, "
        f"{run.seconds:.0f} s{', ended early' if run.stopped else ''}; generator {run.cpu:.0%} of a "
        f"core, {run.late_ms:g} ms late"
    )


def _people(run: Run) -> str:
    present = {name: count for name, count in run.people.items() if count}
    # In the open model they only bound how many requests may wait at once.
    if run.arrivals is not None:
        return f"at most {sum(present.values())} requests at once"
    named = (f"{count} {name}{'s' if count != 1 else ''}" for name, count in present.items())
    return ", ".join(named) or "no people"


def model(run: Run) -> str:
    """The model of a run, in words."""
    if run.arrivals is None:
        return "closed model (people wait for answers)"
    seen = run.arrivals
    return (
        f"open model ({seen.rate}, latency from the intended start, {seen.dropped} of {seen.due} "
        "arrivals dropped)"
    )


def lines_of(verdict: Verdict) -> list[str]:
    """The lines below the headline: targets, reasons, notes."""
    targets = [f"{space or 'target'}: {url}" for space, url in verdict.run.targets.items()]
    return [", ".join(targets) or "no target", *verdict.reasons, *verdict.notes]


def table(verdict: Verdict) -> str:
    """For a terminal."""
    rows = [COLUMNS, *map(cells, verdict.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.append(f"Load: {headline(verdict)}")
    return "\n".join(lines + [f"  {line}" for line in lines_of(verdict)])


def markdown(verdict: Verdict) -> str:
    lines = [
        f"## Load: {headline(verdict)}",
        "",
        *(f"- {line}" for line in lines_of(verdict)),
        "",
    ]
    for row in [COLUMNS, ["---"] * len(COLUMNS), *map(cells, verdict.rows)]:
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def html(verdict: Verdict, watched: Sequence[Watched]) -> str:
    """A section for Locust's report."""
    colour = {HELD: "#1a7f37", INVALID: "#9a6700"}.get(verdict.state, "#cf222e")
    notes = "".join(f"<li>{escape(line)}</li>" for line in lines_of(verdict))
    head, *body = [COLUMNS, *map(cells, verdict.rows)]
    return (
        '<section id="verdict" style="font: 14px sans-serif; margin: 1em; overflow-x: auto">'
        f'<h2 style="color: {colour}">{escape(headline(verdict))}</h2>'
        f"<ul>{notes}</ul>"
        '<table cellpadding="4" style="border-collapse: collapse; text-align: left"><tr>'
        + "".join(f"<th>{escape(cell)}</th>" for cell in head)
        + "</tr>"
        + "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in body)
        + "</table>"
        + "".join(map(charts, watched))
        + "</section>"
    )


def charts(watched: Watched) -> str:
    """A Space's resources during the run, which distinguish "slow" from "starved"."""
    series: list[tuple[str, Sequence[float]]] = [
        ("CPU, cores", watched.cpu),
        ("memory, MB", watched.memory),
        ("received and sent, MB", watched.network),
        ("open files", watched.files),
        ("connections", watched.connections),
        ("disk, MB", watched.disk),
    ]
    figures = []
    for title, values in series:
        if not values:
            continue
        top, last = max(values) or 1, watched.seconds[-1] or 1
        line = " ".join(
            f"{300 * second / last:.1f},{60 - 58 * value / top:.1f}"
            for second, value in zip(watched.seconds, values, strict=True)
        )
        figures.append(
            f'<figure style="display: inline-block; margin: .5em"><figcaption>{title}, at most '
            f'{top:.4g}</figcaption><svg width="300" height="60" style="background: #f6f8fa">'
            f'<polyline points="{line}" fill="none" stroke="#0969da"/></svg></figure>'
        )
    return f"<h3>{escape(watched.name)}, restarts: {watched.restarts}</h3>{''.join(figures)}"


def junit(verdict: Verdict) -> str:
    """JUnit XML: a test case for each request name, and a test case for the validity of the run."""
    suite = xml.Element("testsuite", name="load", time=f"{verdict.run.seconds:.1f}")
    properties = xml.SubElement(suite, "properties")
    for space, url in verdict.run.targets.items():
        xml.SubElement(properties, "property", name=f"target {space}".strip(), value=url)
    valid = xml.SubElement(suite, "testcase", classname="load", name="the run is valid")
    if verdict.state == INVALID:
        xml.SubElement(valid, "error", message="; ".join(verdict.reasons))
    for row in verdict.rows:
        case = xml.SubElement(suite, "testcase", classname="load", name=row.name)
        if row.state == NOT_RUN:
            xml.SubElement(case, "skipped", message="the run had no people who make this request")
        elif row.state != HELD:
            xml.SubElement(case, "failure", message="; ".join(row.reasons)).text = (
                row.slo.why if row.slo else ""
            )
    counts = {"tests": "testcase", "failures": "*/failure", "errors": "*/error"}
    for key, path in {**counts, "skipped": "*/skipped"}.items():
        suite.set(key, str(len(suite.findall(path))))
    return xml.tostring(suite, encoding="unicode", xml_declaration=True)


def data(
    verdict: Verdict,
    watched: Sequence[Watched] = (),
    machine: dict[str, Any] | None = None,
    shape: str = "",
) -> str:
    """load.json, as report.schema.json describes it."""
    run = verdict.run
    arrivals = run.arrivals and {
        "rate": run.arrivals.rate,
        "due": run.arrivals.due,
        "dropped": run.arrivals.dropped,
    }
    return json.dumps(
        {
            "schema": SCHEMA_VERSION,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "verdict": verdict.state,
            "exit_code": verdict.exit_code,
            "reasons": verdict.reasons,
            "notes": verdict.notes,
            "targets": run.targets,
            "model": "closed" if run.arrivals is None else "open",
            "arrivals": arrivals,
            "shape": shape,
            "seconds": round(run.seconds, 1),
            "people": run.people,
            "machine": machine,
            "generator": {
                "processes": sum(bool(generator.late) for generator in run.generators.values()),
                "cpu": run.cpu,
                "late_ms": run.late_ms,
                "steal": run.steal,
            },
            "watched": {space.name: _watched(space) for space in watched},
            "requests": [_request(row) for row in verdict.rows],
        },
        indent=1,
    )


def _watched(space: Watched) -> dict[str, Any]:
    return {
        "seconds": [round(second, 1) for second in space.seconds],
        "cpu": [round(cores, 2) for cores in space.cpu],
        "memory_mb": [round(megabytes, 1) for megabytes in space.memory],
        "network_mb": [round(megabytes, 2) for megabytes in space.network],
        "files": space.files,
        "connections": space.connections,
        "disk_mb": [round(megabytes, 2) for megabytes in space.disk],
        "restarts": space.restarts,
    }


def _request(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "verdict": row.state,
        "reasons": row.reasons,
        "samples": row.figures.samples,
        "failures": row.figures.failures,
        "limited": row.figures.limited,
        "rate": round(row.rate, 2),
        "latencies": {f"{ms:g}": count for ms, count in sorted(row.figures.latencies.items())},
        **{key: row.figures.percentile(key) for key in PERCENTILES},
    }


def prometheus(verdict: Verdict, shape: str) -> str:
    """The figures in Prometheus' text format, for the textfile collector of node_exporter.
    Source: prometheus.io, exposition formats"""

    def series(name: str, kind: str, about: str, values: Sequence[tuple[str, float]]) -> list[str]:
        head = [f"# HELP preflight_load_{name} {about}", f"# TYPE preflight_load_{name} {kind}"]
        return [
            *head,
            *(f"preflight_load_{name}{{{labels}}} {value:g}" for labels, value in values),
        ]

    rows = [(_labels(request=row.name), row.figures) for row in verdict.rows]
    latencies = [
        (f'{labels},quantile="{share:g}"', actual / 1000)
        for labels, seen in rows
        for key, share in PERCENTILES.items()
        if (actual := seen.percentile(key)) is not None
    ]
    lines = [
        *series("verdict", "gauge", "0 held, 1 crossed, 2 invalid",
                [(_labels(shape=shape), EXIT_CODES[verdict.state])]),
        *series("latency_seconds", "gauge", "Latency at a quantile of the run, in seconds.", latencies),
        *series("samples", "gauge", "Responses in the run.", [(labels, s.samples) for labels, s in rows]),
        *series("failures", "gauge", "Responses that failed.", [(labels, s.failures) for labels, s in rows]),
        *series("limited", "gauge", "429 responses.", [(labels, s.limited) for labels, s in rows]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    quoted = {key: json.dumps(value, ensure_ascii=False) for key, value in labels.items()}
    return ",".join(f"{key}={value}" for key, value in quoted.items())


def write(
    verdict: Verdict,
    watched: Sequence[Watched],
    report: Path,
    machine: dict[str, Any],
    shape: str,
) -> None:
    """Write the verdict at the top of Locust's HTML report, and beside it as .md, .xml (JUnit), .json
    and .prom (Prometheus)."""
    page = report.read_text()
    report.write_text(page.replace("<body>", "<body>" + html(verdict, watched), 1))
    report.with_suffix(".md").write_text(markdown(verdict))
    report.with_suffix(".xml").write_text(junit(verdict))
    report.with_suffix(".prom").write_text(prometheus(verdict, shape))
    report.with_suffix(".json").write_text(data(verdict, watched, machine, shape) + "\n")
