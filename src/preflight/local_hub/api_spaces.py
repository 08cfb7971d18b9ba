"""A Space that runs on the Hub: its stage, settings and logs."""

from __future__ import annotations

import json
from typing import ClassVar

from flask import Response, jsonify, request

from preflight.local_hub import logs
from preflight.local_hub.answers import Route, runtime_of, setting_of
from preflight.local_hub.builders import Builders
from preflight.local_hub.replicas import retire_all_but_serving
from preflight.local_hub.repository import Hub, Space


class Spaces:
    """A running Space: its stage, settings and logs."""

    routes: ClassVar[list[Route]] = [
        ("/api/spaces/<space:space>/runtime", ["GET"], "runtime"),
        ("/api/spaces/<space:space>/restart", ["POST"], "restart"),
        ("/api/spaces/<space:space>/pause", ["POST"], "pause"),
        (
            "/api/spaces/<space:space>/<any(variables, secrets):kind>",
            ["GET", "POST", "DELETE"],
            "settings",
        ),
        ("/api/spaces/<space:space>/logs/<any(build, run):kind>", ["GET"], "get_logs"),
    ]

    def __init__(self, hub: Hub, builders: Builders) -> None:
        self._hub = hub
        self._builders = builders

    def runtime(self, space: Space) -> Response:
        return jsonify(runtime_of(space))

    def restart(self, space: Space) -> Response:
        self._builders.start(
            space, "factory" if request.args.get("factory") == "true" else "restart"
        )
        return jsonify(runtime_of(space))

    def pause(self, space: Space) -> Response:
        with space.change() as state:
            state.builds += 1
            state.stage, state.container, state.serving_sha = "PAUSED", None, None
        self._builders.end(space)
        retire_all_but_serving(space)
        return jsonify(runtime_of(space))

    def settings(self, space: Space, kind: str) -> Response:
        if request.method != "GET":
            asked = request.get_json()
            with space.change() as state:
                if request.method == "POST":
                    getattr(state, kind)[asked["key"]] = setting_of(asked)
                else:
                    getattr(state, kind).pop(asked["key"], None)
            # "Any change restarts the app". Source: huggingface_hub guides/manage-spaces.md.
            if state.builds > 0:
                self._builders.start(space, "restart")
        kept: dict[str, dict[str, str]] = getattr(space.state, kind)
        for setting in kept.values() if kind == "secrets" else ():
            # A Secret can't be read again.
            del setting["value"]
        return jsonify({key: {"key": key, **setting} for key, setting in kept.items()})

    def get_logs(self, space: Space, kind: str) -> Response:
        events = logs.build_log(space) if kind == "build" else logs.run_log(space)
        stream = (f"data: {json.dumps(event)}\n\n" for event in events)
        return Response(stream, mimetype="text/event-stream")
