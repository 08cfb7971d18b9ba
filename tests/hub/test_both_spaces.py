"""Both Spaces of this repository, pushed to a Hub in a box and back, side by side."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from preflight.local_hub.box import HubInABox
from preflight.model.space import Space

from .conftest import Clone, Visitor

VARIABLES = {
    "backend-py": {"RAG_MODE": "embedded", "CORS_ORIGINS": "https://front.example.app"},
    "backend-node": {"CORS_ORIGINS": "https://front.example.app"},
}
SECRETS: dict[str, dict[str, str]] = {
    "backend-py": {},
    "backend-node": {
        "BETTER_AUTH_SECRET": "only-for-the-rehearsed-push-0123456789abcdef",
        "DATABASE_URL": "sqlite:/home/node/auth.db",
    },
}


class Journey:
    """A Space of this repository: its clone, its Space on the Hub, and the commit that must serve."""

    def __init__(self, hub: HubInABox, name: str, source: Path, folder: Path) -> None:
        self.hub, self.id = hub, f"acme/{name}"
        self.clone = Clone.of(source, folder)
        self.readme = (folder / "README.md").read_text()
        self.dockerfile = (folder / "Dockerfile").read_text()
        self.first = self.serving = self.clone.git("rev-parse", "HEAD").strip()
        hub.api.create_repo(
            self.id,
            repo_type="space",
            space_sdk="docker",
            space_variables=[
                {"key": key, "value": value} for key, value in VARIABLES[name].items()
            ],
            space_secrets=[{"key": key, "value": value} for key, value in SECRETS[name].items()],
        )

    def push(self, commit: str, *options: str, refused: bool = False) -> str:
        where = [self.hub.remote(self.id), f"{commit}:refs/heads/main"]
        return self.clone.git("push", "--quiet", *options, *where, fails=refused)

    def push_change(self, file: str, text: str, refused: bool = False) -> str:
        """Push the serving commit with one file changed; returns git's output."""
        self.clone.git("reset", "--quiet", "--hard", self.serving)
        return self.push(self.clone.commit({file: text}), "--force", refused=refused)

    def ends_as(self, stage: str, error: str | None = None) -> None:
        runtime = self.hub.wait(self.id)
        assert (runtime.stage, runtime.raw.get("errorMessage")) == (stage, error), self.id
        assert runtime.raw["sha"] == self.serving


def test_pushed_updated_spoiled_and_rolled_back(
    hub: HubInABox, own_spaces: dict[str, Space], tmp_path: Path
) -> None:
    """No request may be lost by pushes, a refused push, a failing build, a hanging start or a roll back."""
    both = [
        Journey(hub, name, own_spaces[name].folder, tmp_path / f"a clone of {name}")
        for name in VARIABLES
    ]
    for space in both:
        space.push(space.first, "--force")
    for space in both:
        space.ends_as("RUNNING")

    with ExitStack() as visits:
        visitors = [visits.enter_context(Visitor(hub.edge(space.id), "/health")) for space in both]

        for space in both:
            space.push_change("README.md", f"{space.readme}\nOne line more.\n")
            space.serving = space.clone.git("rev-parse", "HEAD").strip()
        for space in both:
            space.ends_as("RUNNING")

        for space in both:
            spoiled = space.readme.replace("app_port: 7860", "app_port: 80")
            said = space.push_change("README.md", spoiled, refused=True)
            assert '"app_port" must be greater than or equal to 1025' in said
            space.ends_as("RUNNING")

        for space in both:
            space.push_change("Dockerfile", f"{space.dockerfile}\nRUN exit 2\n")
        for space in both:
            space.ends_as("BUILD_ERROR", "Job failed with exit code: 2")
            log = "".join(hub.api.fetch_space_logs(space.id, build=True))
            assert "--> RUN exit 2\nERROR: " in log
            assert log.endswith("build error Job failed with exit code: 2\n")

        for space in both:
            elsewhere = "app_port: 8000\nstartup_duration_timeout: 1s"
            space.push_change("README.md", space.readme.replace("app_port: 7860", elsewhere))
        for space in both:
            space.ends_as("RUNTIME_ERROR", "Launch timed out, workload was not healthy after 1 s")

        for space in both:
            space.serving = space.first
            space.push(space.first, "--force")
        for space in both:
            space.ends_as("RUNNING")

    for space, visitor in zip(both, visitors, strict=True):
        assert not visitor.lost, space.id
        assert len(visitor.answers) > 20
        hub.api.delete_repo(space.id, repo_type="space")
