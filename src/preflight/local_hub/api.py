"""What the Hub answers over HTTP: git's remotes, and the API that `huggingface_hub` calls.

Source of paths and shapes: huggingface_hub `hf_api.py`, `_commit_api.py`, `lfs.py`, `_space_api.py`.
Whoever asks is believed: it listens on loopback alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from preflight.engine.docker import docker
from preflight.local_hub import BRANCH, logs
from preflight.local_hub.builders import Builders
from preflight.local_hub.git_http import serve_git
from preflight.local_hub.receive import metadata_errors, readme_of, recognised, refusal
from preflight.local_hub.replicas import retire_all_but_serving
from preflight.local_hub.repository import Busy, Hub, NoSuchSpace, Space, State, name_faults, now
from preflight.model.frontmatter import FrontMatter, FrontMatterError
from preflight.model.git import BINARY_PROBE, LARGEST_BLOB
from preflight.model.hub_profile import HUB

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
SLEEP_AFTER = 48 * 3600
"""Seconds without a visitor, for hardware `cpu-basic`. Source: hub-docs spaces-gpus.md."""


class Refused(Exception):
    """An answer that is an error: status, message, the Hub's name of the error, more of the body."""

    def __init__(self, status: int, message: str, code: str = "", **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more


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
        """Whatever is asked of a Space, it has to exist."""
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

    @app.errorhandler(Busy)
    def busy(error: Busy) -> Response:
        return refused(Refused(503, str(error)))

    @app.errorhandler(KeyError)
    def incomplete(error: KeyError) -> Response:
        return refused(Refused(400, f"{error} is missing in what was sent"))

    @app.errorhandler(HTTPException)
    def unknown(error: HTTPException) -> Response:
        if error.code in (404, 405):
            return refused(Refused(404, f"this Hub does not know {request.method} {request.path}"))
        return refused(Refused(error.code or 500, str(error.description)))

    @app.get("/api/whoami-v2")
    def whoami() -> Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            raise Refused(401, "Invalid username or password.")
        token = {"type": "access_token", "accessToken": {"displayName": "any", "role": "write"}}
        return jsonify(type="user", name=HUB.owner, fullname=HUB.owner, orgs=[], auth=token)

    @app.post("/api/repos/create")
    def create_repo() -> Response:
        asked = request.get_json()
        space_id, url = named_in(asked), f"{request.host_url}spaces/{named_in(asked)}"
        if asked.get("type") != "space":
            raise Refused(400, "this Hub has Spaces alone: repo_type='space'")
        if fault := next(name_faults(space_id), None):
            raise Refused(400, f"Invalid repo name: {fault}")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        state = State(private=private, sdk=asked.get("sdk", "docker"), created=now())
        for one in asked.get("variables", []):
            state.variables[one["key"]] = _setting(one)
        for one in asked.get("secrets", []):
            state.secrets[one["key"]] = _setting(one)
        try:
            Space.create(hub, space_id, state)
        except FileExistsError:
            raise Refused(409, "You already created this space repo", url=url) from None
        return jsonify(url=url, name=space_id)

    @app.delete("/api/repos/delete")
    def delete_repo() -> Response:
        space = hub.space(named_in(request.get_json()))
        with space.change() as state:
            # Whatever builds has no say any more.
            state.builds += 1
            state.stage, state.container, edge = "DELETING", None, state.edge
        builders.end(space)
        retire_all_but_serving(space, seconds=0)
        if edge:
            docker("rm", "--force", "--volumes", edge, check=False)
        space.delete()
        return jsonify({})

    def named_in(asked: dict[str, Any]) -> str:
        return f"{asked.get('organization') or HUB.owner}/{asked['name']}"

    @app.post("/api/validate-yaml")
    def validate_yaml() -> Response:
        readme = request.get_json()["content"].encode()
        errors = [{"message": message} for message in metadata_errors(readme)]
        missing = "empty or missing yaml metadata in repo card"
        warnings = [] if recognised(readme) else [{"message": missing}]
        if errors and request.headers.get("Accept") == "text/plain":
            lines = "\n".join(f"- Error: {one['message']}" for one in errors)
            return Response(lines, 400, mimetype="text/plain")
        answer = jsonify(errors=errors, warnings=warnings)
        answer.status_code = 400 if errors else 200
        return answer

    @app.get("/api/spaces/<space:space>")
    @app.get("/api/spaces/<space:space>/revision/<path:revision>")
    def space_info(space: Space, revision: str = "main") -> Response:
        state, sha = space.state, _commit(space, revision)
        try:
            card = FrontMatter.of_readme(readme_of(space.git_dir, sha)).values
        except FrontMatterError:
            card = {}
        files = space.git("ls-tree", "-r", "-z", "--name-only", sha).split("\0")
        return jsonify(
            id=space.id, author=space.owner, sha=sha, private=state.private, createdAt=state.created,
            sdk=card.get("sdk", state.sdk), subdomain=space.subdomain, host=_url(space, state),
            runtime=_runtime(space), cardData=card, tags=[], likes=0,
            siblings=[{"rfilename": file} for file in files if file],
        )  # fmt: skip

    @app.get("/api/spaces/<space:space>/tree/<path:revision>")
    def tree(space: Space, revision: str) -> Response:
        listed = space.git("ls-tree", "-r", "-l", "-z", _commit(space, revision)).split("\0")
        entries = [line.partition("\t") for line in listed if line]
        found = [(path, facts.split()) for facts, _, path in entries]
        return jsonify(
            [
                {"type": "file", "path": path, "oid": oid, "size": int(size)}
                for path, (_, _, oid, size) in found
            ]
        )

    @app.get("/api/spaces/<space:space>/runtime")
    def runtime(space: Space) -> Response:
        return jsonify(_runtime(space))

    @app.post("/api/spaces/<space:space>/restart")
    def restart(space: Space) -> Response:
        builders.start(space, "factory" if request.args.get("factory") == "true" else "restart")
        return jsonify(_runtime(space))

    @app.post("/api/spaces/<space:space>/pause")
    def pause(space: Space) -> Response:
        with space.change() as state:
            state.builds += 1
            state.stage, state.container, state.serving_sha = "PAUSED", None, None
        builders.end(space)
        retire_all_but_serving(space)
        return jsonify(_runtime(space))

    @app.route("/api/spaces/<space:space>/<any(variables, secrets):kind>", methods=["GET", "POST", "DELETE"])  # fmt: skip
    def settings(space: Space, kind: str) -> Response:
        if request.method != "GET":
            asked = request.get_json()
            with space.change() as state:
                if request.method == "POST":
                    getattr(state, kind)[asked["key"]] = _setting(asked)
                else:
                    getattr(state, kind).pop(asked["key"], None)
            # "Any change restarts the app". Source: huggingface_hub guides/manage-spaces.md.
            if state.builds > 0:
                builders.start(space, "restart")
        kept: dict[str, dict[str, str]] = getattr(space.state, kind)
        for one in kept.values() if kind == "secrets" else ():
            # A Secret can't be read again.
            del one["value"]
        return jsonify({key: {"key": key, **one} for key, one in kept.items()})

    @app.get("/api/spaces/<space:space>/logs/<any(build, run):kind>")
    def get_logs(space: Space, kind: str) -> Response:
        events = logs.build_log(space) if kind == "build" else logs.run_log(space)
        stream = (f"data: {json.dumps(event)}\n\n" for event in events)
        return Response(stream, mimetype="text/event-stream")

    @app.get("/api/spaces/<space:space>/xet-write-token/<path:revision>")
    def xet(space: Space, revision: str) -> Response:
        raise Refused(501, "this Hub has no Xet storage; set HF_HUB_DISABLE_XET=1 to upload by LFS")

    @app.post("/api/spaces/<space:space>/preupload/<path:revision>")
    def preupload(space: Space, revision: str) -> Response:
        files = []
        for file in request.get_json()["files"]:
            binary = b"\0" in base64.b64decode(file["sample"])[:BINARY_PROBE]
            mode = "lfs" if binary or file["size"] > LARGEST_BLOB else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        return jsonify(files=files)

    @app.post("/api/spaces/<space:space>/commit/main")
    def commit(space: Space) -> Response:
        header: dict[str, Any] = {}
        added: dict[str, bytes] = {}
        deleted: list[str] = []
        for line in request.get_data().splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    header = value
                case "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    added[value["path"]] = LFS_POINTER.format_map(value).encode()
                case "deletedFile" | "deletedFolder":
                    deleted.append(value["path"])
        with space.lock("receive"):
            space.remove_leftovers()
            head = space.head
            if header.get("parentCommit") not in (None, head):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            sha = space.commit(added, deleted, header["summary"])
            if text := refusal(space.git_dir, sha, BRANCH):
                raise Refused(400, text)
            space.git("update-ref", BRANCH, sha, head)
        builders.start(space, "push")
        url = f"{request.host_url}spaces/{space.id}/commit/{sha}"
        return jsonify(success=True, commitOid=sha, commitUrl=url)

    @app.post("/spaces/<space:space>/info/lfs/objects/batch")
    def lfs_batch(space: Space) -> Response:
        # Its content type is `application/vnd.git-lfs+json`.
        asked = request.get_json(force=True)
        for one in asked["objects"]:
            there = (space.lfs / one["oid"]).is_file()
            href = {"href": f"{request.host_url}spaces/{space.id}/lfs/{one['oid']}"}
            if asked["operation"] == "download" and not there:
                one["error"] = {"code": 404, "message": "Object does not exist"}
            elif there == (asked["operation"] == "download"):
                one["actions"] = {asked["operation"]: href}
        return jsonify(transfer="basic", objects=asked["objects"])

    @app.route("/spaces/<space:space>/lfs/<oid>", methods=["GET", "PUT"])
    def lfs_object(space: Space, oid: str) -> Response:
        stored = space.lfs / oid
        if request.method == "GET":
            if not stored.is_file():
                raise Refused(404, "Object does not exist")
            return Response(stored.read_bytes(), mimetype="application/octet-stream")
        content = request.get_data()
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(422, "the content is not what its SHA-256 says")
        space.lfs.mkdir(exist_ok=True)
        new = stored.with_suffix(f".{threading.get_ident()}")
        new.write_bytes(content)
        new.replace(stored)
        return Response()

    @app.route("/spaces/<space:space>/<path:rest>", methods=["GET", "POST"])
    def git(space: Space, rest: str) -> Response:
        return serve_git(space, rest, lambda: builders.start(space, "push"))

    return app


def _runtime(space: Space) -> dict[str, Any]:
    """The Space as `get_space_runtime` shows it. A replica that has ended by itself is found out here."""
    state = space.state
    if state.stage == "RUNNING":
        shown = docker(
            "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", str(state.container),
            check=False,
        ).stdout.split()  # fmt: skip
        if shown[:1] != ["true"]:
            with space.change() as latest:
                if latest.container == state.container and latest.stage == "RUNNING":
                    code = shown[1] if shown else "unknown"
                    latest.stage, latest.error = "RUNTIME_ERROR", f"Exit code: {code}."
            state = space.state
    hardware = "cpu-basic" if state.container else None
    found: dict[str, Any] = {
        "stage": state.stage,
        "hardware": {"current": hardware, "requested": "cpu-basic"},
        "gcTimeout": SLEEP_AFTER,
        "replicas": {"current": 1 if state.container else 0, "requested": 1},
        "devMode": False,
        "domains": [{"domain": _url(space, state).removeprefix("https://"), "stage": "READY"}],
        "sha": state.serving_sha,
    }
    return found | ({"errorMessage": state.error} if state.error else {})


def _setting(given: dict[str, str]) -> dict[str, str]:
    described = {"description": given["description"]} if given.get("description") else {}
    return {"value": given["value"], **described, "updatedAt": now()}


def _commit(space: Space, revision: str) -> str:
    try:
        return space.git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except subprocess.CalledProcessError:
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None


def _url(space: Space, state: State) -> str:
    """Where the Space answers; without a port until its first build."""
    port = f":{state.edge_port}" if state.edge_port else ""
    return f"https://{space.subdomain}.hf.localhost{port}"
