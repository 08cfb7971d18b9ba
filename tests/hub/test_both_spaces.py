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
            space_variables=[{"key": key, "value": one} for key, one in VARIABLES[name].items()],
            space_secrets=[{"key": key, "value": one} for key, one in SECRETS[name].items()],
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
    for one in both:
        one.push(one.first, "--force")
    for one in both:
        one.ends_as("RUNNING")

    with ExitStack() as visits:
        visitors = [visits.enter_context(Visitor(hub.edge(one.id), "/health")) for one in both]

        for one in both:
            one.push_change("README.md", f"{one.readme}\nOne line more.\n")
            one.serving = one.clone.git("rev-parse", "HEAD").strip()
        for one in both:
            one.ends_as("RUNNING")

        for one in both:
            spoiled = one.readme.replace("app_port: 7860", "app_port: 80")
            said = one.push_change("README.md", spoiled, refused=True)
            assert '"app_port" must be greater than or equal to 1025' in said
            one.ends_as("RUNNING")

        for one in both:
            one.push_change("Dockerfile", f"{one.dockerfile}\nRUN exit 2\n")
        for one in both:
            one.ends_as("BUILD_ERROR", "Job failed with exit code: 2")
            log = "".join(hub.api.fetch_space_logs(one.id, build=True))
            assert "--> RUN exit 2\nERROR: " in log
            assert log.endswith("build error Job failed with exit code: 2\n")

        for one in both:
            elsewhere = "app_port: 8000\nstartup_duration_timeout: 1s"
            one.push_change("README.md", one.readme.replace("app_port: 7860", elsewhere))
        for one in both:
            one.ends_as("RUNTIME_ERROR", "Launch timed out, workload was not healthy after 1 s")

        for one in both:
            one.serving = one.first
            one.push(one.first, "--force")
        for one in both:
            one.ends_as("RUNNING")

    for one, visitor in zip(both, visitors, strict=True):
        assert not visitor.lost, one.id
        assert len(visitor.answers) > 20
        hub.api.delete_repo(one.id, repo_type="space")
