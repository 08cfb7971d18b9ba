"""The files of a Space on the Hub: commits by the API, LFS, git itself."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from typing import Any, ClassVar

from flask import Response, jsonify, request

from preflight.local_hub import BRANCH
from preflight.local_hub.answers import Refused, Route
from preflight.local_hub.builders import Builders
from preflight.local_hub.git_http import serve_git
from preflight.local_hub.receive import refusal
from preflight.local_hub.repository import Hub, Space
from preflight.model.git import BINARY_PROBE, LARGEST_BLOB

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"


class Files:
    """The content of a repository: commits by the API, LFS, git itself."""

    routes: ClassVar[list[Route]] = [
        ("/api/spaces/<space:space>/xet-write-token/<path:revision>", ["GET"], "xet"),
        ("/api/spaces/<space:space>/preupload/<path:revision>", ["POST"], "preupload"),
        ("/api/spaces/<space:space>/commit/main", ["POST"], "commit"),
        ("/spaces/<space:space>/info/lfs/objects/batch", ["POST"], "lfs_batch"),
        ("/spaces/<space:space>/lfs/<oid>", ["GET", "PUT"], "lfs_object"),
        ("/spaces/<space:space>/<path:rest>", ["GET", "POST"], "git"),
    ]

    def __init__(self, hub: Hub, builders: Builders) -> None:
        self._hub = hub
        self._builders = builders

    def xet(self, space: Space, revision: str) -> Response:
        raise Refused(501, "this Hub has no Xet storage; set HF_HUB_DISABLE_XET=1 to upload by LFS")

    def preupload(self, space: Space, revision: str) -> Response:
        files = []
        for file in request.get_json()["files"]:
            binary = b"\0" in base64.b64decode(file["sample"])[:BINARY_PROBE]
            mode = "lfs" if binary or file["size"] > LARGEST_BLOB else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False})
        return jsonify(files=files)

    def commit(self, space: Space) -> Response:
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
        with space.lock:
            head = space.head
            if header.get("parentCommit") not in (None, head):
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            sha = space.commit(added, deleted, header["summary"])
            if text := refusal(space.git_dir, sha, BRANCH):
                raise Refused(400, text)
            space.git("update-ref", BRANCH, sha, head)
        self._builders.start(space, "push")
        url = f"{request.host_url}spaces/{space.id}/commit/{sha}"
        return jsonify(success=True, commitOid=sha, commitUrl=url)

    def lfs_batch(self, space: Space) -> Response:
        # Its content type is `application/vnd.git-lfs+json`.
        asked = request.get_json(force=True)
        for wanted in asked["objects"]:
            there = (space.lfs / wanted["oid"]).is_file()
            href = {"href": f"{request.host_url}spaces/{space.id}/lfs/{wanted['oid']}"}
            if asked["operation"] == "download" and not there:
                wanted["error"] = {"code": 404, "message": "Object does not exist"}
            elif there == (asked["operation"] == "download"):
                wanted["actions"] = {asked["operation"]: href}
        return jsonify(transfer="basic", objects=asked["objects"])

    def lfs_object(self, space: Space, oid: str) -> Response:
        stored = space.lfs / oid
        if request.method == "GET":
            if not stored.is_file():
                raise Refused(404, "Object does not exist")
            return Response(stored.read_bytes(), mimetype="application/octet-stream")
        content = request.get_data()
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refused(422, "the content does not match its SHA-256")
        space.lfs.mkdir(exist_ok=True)
        new = stored.with_suffix(f".{threading.get_ident()}")
        new.write_bytes(content)
        new.replace(stored)
        return Response()

    def git(self, space: Space, rest: str) -> Response:
        return serve_git(space, rest, lambda: self._builders.start(space, "push"))
