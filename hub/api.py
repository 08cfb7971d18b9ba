"""What the Hub answers over HTTP: git's own http-backend, and the API that `huggingface_hub` calls.

Source of paths and shapes: huggingface_hub `hf_api.py`, `_commit_api.py`, `lfs.py`, `_space_api.py`.
Whoever asks is believed: it listens on loopback alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from flask import Flask, Response, jsonify, request
from preflight.docker import DockerError, docker
from preflight.frontmatter import FrontMatter, FrontMatterError
from preflight.push import BINARY_PROBE, LARGEST_BLOB, subdomain
from preflight.rehearsal import HUB
from werkzeug.exceptions import HTTPException

from hub import ROOT
from hub.builder import (
    TURN_DEADLINE,
    end_abandoned_builds,
    retire_all_but_serving,
    run_log_of,
    runs,
)
from hub.receive import metadata_errors, readme_of, recognised, refusal
from hub.repository import (
    BRANCH,
    Busy,
    Hub,
    NoSuchSpace,
    Space,
    State,
    git_environment,
    name_faults,
    now,
    take,
)

LFS_JSON = "application/vnd.git-lfs+json"
SLEEP_AFTER = 48 * 3600
"""Seconds without a visitor, for hardware `cpu-basic`. Source: hub-docs spaces-gpus.md."""


class Refused(Exception):
    """An answer that is an error: status, the Hub's name of the error, message."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Builders:
    """Starts a builder for what was asked, and sees what becomes of it."""

    def __init__(self, settings: list[str]) -> None:
        self._settings = settings
        self._at_work: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, space: Space, how: str) -> None:
        """how: see `hub.builder`. A builder at work on this Space is ended by the new one."""
        if how != "restart":
            # Whoever asks for the log from now on wants this build's.
            space.build_log.unlink(missing_ok=True)
        with space.change() as state:
            state.builds += 1
            state.stage, state.error = state.stage_while("BUILDING"), None
            state.sha, number = space.head, str(state.builds)
        folder = str(space.hub.folder)
        command = [sys.executable, "-m", "hub.builder", folder, space.id, number, how]
        with (space.folder / "builder.log").open("w") as log:
            process = subprocess.Popen(
                [*command, *self._settings], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=ROOT, env=git_environment(),
                # Ctrl-C reaches the Hub alone, which then ends its builders.
                start_new_session=True,
            )  # fmt: skip
        self._at_work[space.id] = process
        threading.Thread(target=self._see, args=(space, int(number), process), daemon=True).start()

    def end(self, space: Space) -> None:
        """End the builder at work on a Space, and return when it has ended."""
        if process := self._at_work.pop(space.id, None):
            process.terminate()
            try:
                process.wait(TURN_DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _see(self, space: Space, number: int, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        with suppress(NoSuchSpace, DockerError):
            with space.change() as state:
                if state.builds != number or not state.building:
                    return
                if state.serving_sha == state.sha and state.container:
                    # It was killed after the switch.
                    state.stage = "RUNNING"
                else:
                    message = f"Job failed with exit code: {code if code >= 0 else 128 - code}"
                    in_build = state.stage.endswith("BUILDING")
                    state.stage = "BUILD_ERROR" if in_build else "RUNTIME_ERROR"
                    state.error = message
            end_abandoned_builds(space)
            retire_all_but_serving(space)

    def recover(self, hub: Hub) -> None:
        """Bring each Space to where it should be: after a killed builder, Hub or container."""
        for space in hub.spaces():
            state = space.state
            died = state.container and not runs(state.container)
            if state.building or died or space.head != state.sha:
                self.start(space, "restart")


def make_app(hub: Hub, builders: Builders) -> Flask:
    """The Hub's answers, for a WSGI server."""
    app = Flask("hub")
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.errorhandler(Refused)
    def refused(error: Refused) -> Response:
        answer = jsonify(error=str(error))
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

    @app.errorhandler(HTTPException)
    def no_such_path(error: HTTPException) -> Response:
        said = (
            f"this Hub does not know {request.method} {request.path}" if error.code == 404 else None
        )
        return refused(Refused(error.code or 500, said or str(error.description)))

    @app.get("/api/whoami-v2")
    def whoami() -> Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            raise Refused(401, "Invalid username or password.")
        token = {"type": "access_token", "accessToken": {"displayName": "any", "role": "write"}}
        return jsonify(type="user", id="0" * 24, name=HUB.owner, fullname=HUB.owner, email=None,
                       isPro=True, orgs=[], auth=token)  # fmt: skip

    @app.post("/api/repos/create")
    def create_repo() -> Response:
        asked = request.get_json()
        if asked.get("type") != "space":
            raise Refused(400, "this Hub has Spaces alone: repo_type='space'")
        space_id = f"{asked.get('organization') or HUB.owner}/{asked['name']}"
        if fault := next(name_faults(space_id), None):
            raise Refused(400, f"Invalid repo name: {fault}")
        state = State(
            private=asked.get("visibility") == "private", sdk=asked.get("sdk", "docker"), created=now()
        )  # fmt: skip
        for kind in ("variables", "secrets"):
            for one in asked.get(kind, []):
                getattr(state, kind)[one["key"]] = _setting(one)
        url = f"{request.host_url}spaces/{space_id}"
        try:
            Space.create(hub, space_id, state)
        except FileExistsError:
            answer = jsonify(error="You already created this space repo", url=url)
            answer.status_code = 409
            return answer
        return jsonify(url=url, name=space_id, id=space_id)

    @app.delete("/api/repos/delete")
    def delete_repo() -> Response:
        asked = request.get_json()
        space = hub.space(f"{asked.get('organization') or HUB.owner}/{asked['name']}")
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

    @app.get("/api/spaces/<owner>/<name>")
    @app.get("/api/spaces/<owner>/<name>/revision/<path:revision>")
    def space_info(owner: str, name: str, revision: str = "main") -> Response:
        space = hub.space(f"{owner}/{name}")
        state, sha = space.state, _commit(space, revision)
        try:
            card = FrontMatter.of_readme(readme_of(space.git_dir, sha)).values
        except FrontMatterError:
            card = {}
        files = space.git("ls-tree", "-r", "-z", "--name-only", sha).split("\0")
        return jsonify(
            id=space.id, author=owner, sha=sha, private=state.private, createdAt=state.created,
            sdk=card.get("sdk", state.sdk), subdomain=subdomain(owner, name), host=_url(space, state),
            runtime=runtime(space), cardData=card, tags=[], likes=0,
            siblings=[{"rfilename": file} for file in files if file],
        )  # fmt: skip

    @app.get("/api/spaces/<owner>/<name>/tree/<path:revision>")
    def tree(owner: str, name: str, revision: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        listed = space.git("ls-tree", "-r", "-l", "-z", _commit(space, revision)).split("\0")
        entries = [line.partition("\t") for line in listed if line]
        return jsonify(
            [
                {
                    "type": "file",
                    "path": path,
                    "oid": facts.split()[2],
                    "size": int(facts.split()[3]),
                }
                for facts, _, path in entries
            ]
        )

    @app.get("/api/spaces/<owner>/<name>/runtime")
    def get_runtime(owner: str, name: str) -> Response:
        return jsonify(runtime(hub.space(f"{owner}/{name}")))

    @app.post("/api/spaces/<owner>/<name>/restart")
    def restart(owner: str, name: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        builders.start(space, "factory" if request.args.get("factory") == "true" else "restart")
        return jsonify(runtime(space))

    @app.post("/api/spaces/<owner>/<name>/pause")
    def pause(owner: str, name: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        with space.change() as state:
            state.builds += 1
            state.stage, state.container, state.serving_sha = "PAUSED", None, None
        builders.end(space)
        retire_all_but_serving(space)
        return jsonify(runtime(space))

    @app.route("/api/spaces/<owner>/<name>/<kind>", methods=["GET", "POST", "DELETE"])
    def settings(owner: str, name: str, kind: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        if kind not in ("variables", "secrets"):
            raise Refused(404, f"this Hub does not know {request.path}")
        if request.method != "GET":
            asked = request.get_json()
            with space.change() as state:
                if request.method == "POST":
                    getattr(state, kind)[asked["key"]] = _setting(asked)
                else:
                    getattr(state, kind).pop(asked["key"], None)
                pushed = state.builds > 0
            # "Any change restarts the app". Source: huggingface_hub guides/manage-spaces.md.
            if pushed:
                builders.start(space, "restart")
        kept: dict[str, dict[str, str]] = getattr(space.state, kind)
        for one in kept.values() if kind == "secrets" else ():
            # A Secret can't be read again.
            del one["value"]
        return jsonify({key: {"key": key, **one} for key, one in kept.items()})

    @app.get("/api/spaces/<owner>/<name>/logs/<kind>")
    def logs(owner: str, name: str, kind: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        events = {"build": _build_log, "run": _run_log}
        if kind not in events:
            raise Refused(404, "logs are `build` or `run`")
        stream = (f"data: {json.dumps(event)}\n\n" for event in events[kind](space))
        return Response(stream, mimetype="text/event-stream")

    @app.get("/api/spaces/<owner>/<name>/xet-write-token/<path:revision>")
    def xet(owner: str, name: str, revision: str) -> Response:
        raise Refused(501, "this Hub has no Xet storage; set HF_HUB_DISABLE_XET=1 to upload by LFS")

    @app.post("/api/spaces/<owner>/<name>/preupload/<path:revision>")
    def preupload(owner: str, name: str, revision: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        files = []
        for file in request.get_json()["files"]:
            binary = b"\0" in base64.b64decode(file["sample"])[:BINARY_PROBE]
            mode = "lfs" if binary or file["size"] > LARGEST_BLOB else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        _commit(space, revision)
        return jsonify(files=files)

    @app.post("/api/spaces/<owner>/<name>/commit/<path:revision>")
    def commit(owner: str, name: str, revision: str) -> Response:
        space = hub.space(f"{owner}/{name}")
        if revision != "main":
            raise Refused(400, "this Hub commits to main alone")
        added: dict[str, bytes] = {}
        deleted: list[str] = []
        header: dict[str, Any] = {}
        for line in request.get_data().splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    header = value
                case "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {value['size']}\n"
                    added[value["path"]] = pointer.encode()
                case "deletedFile":
                    deleted.append(value["path"])
                case "deletedFolder":
                    deleted.append(value["path"].rstrip("/") + "/")
        with space.lock("receive"):
            head = space.head
            if header.get("parentCommit") not in (None, head):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            sha = space.commit(added, deleted, str(header.get("summary")))
            if text := refusal(space.git_dir, sha, BRANCH):
                raise Refused(400, text)
            space.git("update-ref", BRANCH, sha, head)
        builders.start(space, "push")
        return jsonify(
            success=True,
            commitOid=sha,
            commitUrl=f"{request.host_url}spaces/{space.id}/commit/{sha}",
        )

    @app.post("/spaces/<owner>/<name>/info/lfs/objects/batch")
    def lfs_batch(owner: str, name: str) -> Response:
        space, asked = (
            hub.space(f"{owner}/{name.removesuffix('.git')}"),
            request.get_json(force=True),
        )
        objects = []
        for one in asked["objects"]:
            there = (space.lfs / one["oid"]).is_file()
            href = {"href": f"{request.host_url}spaces/{space.id}/lfs/{one['oid']}"}
            if asked["operation"] == "upload":
                one |= {} if there else {"actions": {"upload": href}}
            elif there:
                one |= {"actions": {"download": href}}
            else:
                one |= {"error": {"code": 404, "message": "Object does not exist"}}
            objects.append(one)
        return Response(json.dumps({"transfer": "basic", "objects": objects}), mimetype=LFS_JSON)

    @app.route("/spaces/<owner>/<name>/lfs/<oid>", methods=["GET", "PUT"])
    def lfs_object(owner: str, name: str, oid: str) -> Response:
        space = hub.space(f"{owner}/{name}")
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
        return Response("")

    @app.route("/spaces/<owner>/<name>/<path:rest>", methods=["GET", "POST"])
    def git(owner: str, name: str, rest: str) -> Response:
        space = hub.space(f"{owner}/{name.removesuffix('.git')}")
        return serve_git(space, rest, lambda: builders.start(space, "push"))

    return app


def runtime(space: Space) -> dict[str, Any]:
    """The Space as `get_space_runtime` shows it. A container that has ended by itself is found out here."""
    state = space.state
    if state.stage == "RUNNING":
        shown = docker(
            "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}}",
            str(state.container), check=False,
        ).stdout.split()  # fmt: skip
        if shown[:1] != ["true"]:
            with space.change() as now_known:
                if now_known.container == state.container and now_known.stage == "RUNNING":
                    code = shown[1] if shown else "unknown"
                    now_known.stage, now_known.error = "RUNTIME_ERROR", f"Exit code: {code}."
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


def serve_git(space: Space, rest: str, received: Callable[[], None]) -> Response:
    """Let git's own http-backend answer; `received` is called when main has moved.

    One push at a time. The lock is held by git's processes as well, so that it also lasts as long
    as they do when this process is killed; whoever has it may remove what killed ones left.
    """
    receiving = rest == "git-receive-pack"
    lock = (space.folder / "receive.lock").open("a+")
    if receiving:
        take(lock)
        _remove_leftovers(space)
    before = space.head
    with tempfile.TemporaryFile() as body:
        # git reads its input to the end before it says much; a pipe each way could get stuck.
        shutil.copyfileobj(request.stream, body)
        environment = git_environment(
            GIT_PROJECT_ROOT=str(space.folder), GIT_HTTP_EXPORT_ALL="1", PATH_INFO=f"/repo.git/{rest}",
            REQUEST_METHOD=request.method, QUERY_STRING=request.query_string.decode(),
            CONTENT_TYPE=request.content_type or "", CONTENT_LENGTH=str(body.tell()),
            HTTP_CONTENT_ENCODING=request.headers.get("Content-Encoding", ""),
            GIT_PROTOCOL=request.headers.get("Git-Protocol", ""), REMOTE_ADDR="127.0.0.1",
            HUB_PYTHON=sys.executable,
        )  # fmt: skip
        body.seek(0)
        process = subprocess.Popen(
            ["git", "http-backend"], stdin=body, stdout=subprocess.PIPE, env=environment,
            pass_fds=[lock.fileno()],
        )  # fmt: skip
    assert process.stdout is not None
    status, headers = 200, []
    while line := process.stdout.readline().decode().strip():
        name, _, value = line.partition(": ")
        if name == "Status":
            status = int(value.split()[0])
        else:
            headers.append((name, value))
    stdout = process.stdout

    def answer() -> Iterator[bytes]:
        while chunk := stdout.read1(65536):  # type: ignore[attr-defined]
            yield chunk
        # Before the client has seen the end: whoever then asks must find the Space at BUILDING.
        end()

    def end() -> None:
        if lock.closed:
            return
        stdout.close()
        process.wait()
        lock.close()
        if receiving and space.head != before:
            received()

    response = Response(answer(), status, headers)
    response.call_on_close(end)
    return response


def _remove_leftovers(space: Space) -> None:
    """What a killed git left: its locks, and objects that no ref will ever name."""
    for lock in [*space.git_dir.glob("*.lock"), *space.git_dir.glob("refs/**/*.lock")]:
        lock.unlink(missing_ok=True)
    for incoming in space.git_dir.glob("objects/*incoming-*"):
        shutil.rmtree(incoming, ignore_errors=True)


def _build_log(space: Space) -> Iterator[dict[str, str]]:
    """The last build's log, followed while it is written."""
    position = 0
    while True:
        building = space.state.stage.endswith("BUILDING")
        if space.build_log.is_file():
            with space.build_log.open("rb") as file:
                file.seek(position)
                for line in file:
                    if line.endswith(b"\n"):
                        position += len(line)
                        yield json.loads(line)
        if not building:
            return
        time.sleep(0.1)


def _run_log(space: Space) -> Iterable[dict[str, str]]:
    """The log of the replica that serves, or of one that failed to start after it."""
    if space.run_log.is_file():
        return [json.loads(line) for line in space.run_log.read_text().splitlines()]
    container = space.state.container
    return run_log_of(container, follow=True) if container else []


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
    return f"https://{subdomain(space.owner, space.name)}.hf.localhost{port}"
