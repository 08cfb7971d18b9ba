"""What the Hub answers over HTTP: git's remotes, and the API that `huggingface_hub` calls.

Source of paths and shapes: huggingface_hub `hf_api.py`, `_commit_api.py`, `lfs.py`, `_space_api.py`.
Callers are not authenticated: the Hub listens on loopback only.
"""

from __future__ import annotations

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from preflight.local_hub.answers import Refused
from preflight.local_hub.api_files import Files
from preflight.local_hub.api_repos import Repos
from preflight.local_hub.api_spaces import Spaces
from preflight.local_hub.builders import Builders
from preflight.local_hub.repository import Hub, NoSuchSpace, Space


def make_app(hub: Hub, builders: Builders) -> Flask:
    """The Hub's answers, for a WSGI server."""
    app = Flask("hub")

    class SpaceOfPath(BaseConverter):
        regex = r"[^/]+/[^/]+?(?:\.git)?"
        part_isolating = False

        def to_python(self, value: str) -> Space:
            return Space(hub, value.removesuffix(".git"))

    app.url_map.converters["space"] = SpaceOfPath

    @app.before_request
    def is_there() -> None:
        """Refuse a request for a Space that does not exist."""
        if space := (request.view_args or {}).get("space"):
            hub.space(space.id)

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        answer = jsonify(error=str(error), **error.more)
        answer.status_code = error.status
        answer.headers["X-Error-Message"] = str(error).replace("\n", " ")
        if error.code:
            answer.headers["X-Error-Code"] = error.code
        return answer

    @app.errorhandler(NoSuchSpace)
    def no_such_space(error: NoSuchSpace) -> Response:
        return refused(Refused(404, "Repository not found", "RepoNotFound"))

    @app.errorhandler(KeyError)
    def incomplete(error: KeyError) -> Response:
        return refused(Refused(400, f"the request lacks {error}"))

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        if error.code in (404, 405):
            return refused(Refused(404, f"this Hub does not know {request.method} {request.path}"))
        return refused(Refused(error.code or 500, str(error.description)))

    for answers in (Repos(hub, builders), Spaces(hub, builders), Files(hub, builders)):
        for path, methods, name in answers.routes:
            app.add_url_rule(path, endpoint=path, view_func=getattr(answers, name), methods=methods)
    return app
