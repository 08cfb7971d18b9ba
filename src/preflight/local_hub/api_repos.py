"""Accounts and repositories of the Hub: create, delete, describe."""

from __future__ import annotations

from typing import Any, ClassVar

from flask import Response, jsonify, request

from preflight.engine.docker import docker
from preflight.local_hub.answers import Refused, Route, commit_of, runtime_of, setting_of, url_of
from preflight.local_hub.builders import Builders
from preflight.local_hub.receive import metadata_errors, readme_of, recognised
from preflight.local_hub.replicas import retire_all_but_serving
from preflight.local_hub.repository import Hub, Space, State, name_faults, now
from preflight.model.frontmatter import FrontMatter, FrontMatterError
from preflight.model.hub_profile import HUB


class Repos:
    """Accounts and repositories: create, delete, describe."""

    routes: ClassVar[list[Route]] = [
        ("/api/whoami-v2", ["GET"], "whoami"),
        ("/api/repos/create", ["POST"], "create_repo"),
        ("/api/repos/delete", ["DELETE"], "delete_repo"),
        ("/api/validate-yaml", ["POST"], "validate_yaml"),
        ("/api/spaces/<space:space>", ["GET"], "space_info"),
        ("/api/spaces/<space:space>/revision/<path:revision>", ["GET"], "space_info"),
        ("/api/spaces/<space:space>/tree/<path:revision>", ["GET"], "tree"),
    ]

    def __init__(self, hub: Hub, builders: Builders) -> None:
        self._hub = hub
        self._builders = builders

    def whoami(self) -> Response:
        if not request.headers.get("Authorization", "").startswith("Bearer "):
            raise Refused(401, "Invalid username or password.")
        token = {"type": "access_token", "accessToken": {"displayName": "any", "role": "write"}}
        return jsonify(type="user", name=HUB.owner, fullname=HUB.owner, orgs=[], auth=token)

    def create_repo(self) -> Response:
        asked = request.get_json()
        space_id, url = self._named_in(asked), f"{request.host_url}spaces/{self._named_in(asked)}"
        if asked.get("type") != "space":
            raise Refused(400, "this Hub has Spaces alone: repo_type='space'")
        if fault := next(name_faults(space_id), None):
            raise Refused(400, f"Invalid repo name: {fault}")
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        state = State(private=private, sdk=asked.get("sdk", "docker"), created=now())
        for variable in asked.get("variables", []):
            state.variables[variable["key"]] = setting_of(variable)
        for secret in asked.get("secrets", []):
            state.secrets[secret["key"]] = setting_of(secret)
        try:
            Space.create(self._hub, space_id, state)
        except FileExistsError:
            raise Refused(409, "You already created this space repo", url=url) from None
        return jsonify(url=url, name=space_id)

    def delete_repo(self) -> Response:
        space = self._hub.space(self._named_in(request.get_json()))
        with space.change() as state:
            # A running build must not change the Space any more.
            state.builds += 1
            state.stage, state.container, edge = "DELETING", None, state.edge
        self._builders.end(space)
        retire_all_but_serving(space, seconds=0)
        if edge:
            docker("rm", "--force", "--volumes", edge, check=False)
        space.delete()
        return jsonify({})

    @staticmethod
    def _named_in(asked: dict[str, Any]) -> str:
        return f"{asked.get('organization') or HUB.owner}/{asked['name']}"

    def validate_yaml(self) -> Response:
        readme = request.get_json()["content"].encode()
        errors = [{"message": message} for message in metadata_errors(readme)]
        missing = "empty or missing yaml metadata in repo card"
        warnings = [] if recognised(readme) else [{"message": missing}]
        if errors and request.headers.get("Accept") == "text/plain":
            lines = "\n".join(f"- Error: {error['message']}" for error in errors)
            return Response(lines, 400, mimetype="text/plain")
        answer = jsonify(errors=errors, warnings=warnings)
        answer.status_code = 400 if errors else 200
        return answer

    def space_info(self, space: Space, revision: str = "main") -> Response:
        state, sha = space.state, commit_of(space, revision)
        try:
            card = FrontMatter.of_readme(readme_of(space.git_dir, sha)).values
        except FrontMatterError:
            card = {}
        files = space.git("ls-tree", "-r", "-z", "--name-only", sha).split("\0")
        return jsonify(
            id=space.id, author=space.owner, sha=sha, private=state.private, createdAt=state.created,
            sdk=card.get("sdk", state.sdk), subdomain=space.subdomain, host=url_of(space, state),
            runtime=runtime_of(space), cardData=card, tags=[], likes=0,
            siblings=[{"rfilename": file} for file in files if file],
        )  # fmt: skip

    def tree(self, space: Space, revision: str) -> Response:
        listed = space.git("ls-tree", "-r", "-l", "-z", commit_of(space, revision)).split("\0")
        entries = [line.partition("\t") for line in listed if line]
        found = [(path, facts.split()) for facts, _, path in entries]
        return jsonify(
            [
                {"type": "file", "path": path, "oid": oid, "size": int(size)}
                for path, (_, _, oid, size) in found
            ]
        )
