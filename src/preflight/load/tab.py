"""The verdict in Locust's web UI: a tab, and JSON at /verdict."""

from __future__ import annotations

from collections.abc import Callable

import flask
from locust.web import WebUI

from preflight.load import report
from preflight.load.judge import Verdict

# Locust has a single Host for all people, and a run on named Spaces does not read it.
WITHOUT_HOST = '<style>.MuiFormControl-root:has(input[name="host"]){display:none}</style></head>'


def show(judge: Callable[[], Verdict], web_ui: WebUI, hide_host: bool) -> None:
    """Add the tab and the route /verdict. Source: locust examples/extend_web_ui.py"""
    keys = {column: column.replace(" ", "_") for column in report.COLUMNS}
    structure = [{"key": key, "title": column} for column, key in keys.items()]
    web_ui.template_args["extended_tabs"] = [{"title": "Verdict", "key": "verdict"}]
    web_ui.template_args["extended_tables"] = [{"key": "verdict", "structure": structure}]
    assert web_ui.app

    @web_ui.app.after_request
    def add_verdict(response: flask.Response) -> flask.Response:
        if flask.request.path.endswith("/stats/requests") and response.is_json:
            verdict = judge()
            rows = [[report.headline(verdict)], *map(report.cells, verdict.rows)]
            table = [dict(zip(keys.values(), row, strict=False)) for row in rows]
            extended = [{"key": "verdict", "data": table}]
            response.set_data(flask.json.dumps({**response.get_json(), "extended_stats": extended}))
        elif hide_host and flask.request.path == "/" and response.mimetype == "text/html":
            page = response.get_data(as_text=True)
            response.set_data(page.replace("</head>", WITHOUT_HOST, 1))
        return response

    @web_ui.app.get("/verdict")
    def verdict() -> flask.Response:
        return flask.Response(report.data(judge()), mimetype="application/json")
