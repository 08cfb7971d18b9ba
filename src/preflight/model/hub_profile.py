"""What the Hub is taken to do. A value that no source settles is a setting here, and nowhere else.

Sources: hub-docs is github.com/huggingface/hub-docs. Confidence A: official text or code; B: a
statement or code that only makes sense if true; C: measured by others; D: reported by users;
"unknown": nothing found, the value is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass
class Rehearsal:
    """The Hub as rehearsed. Durations are seconds, sizes bytes.

    Read a field when it is needed, never as a default argument: `--hub NAME=VALUE` sets it for a run.
    """

    # "The container runs with user ID 1000." A, hub-docs spaces-sdks-docker.md
    uid: int = 1000
    # Which group the container gets: unknown. None leaves it to the image.
    gid: int | None = None
    # Hardware `cpu-basic`: 2 vCPU, 16 GB, 50 GB of disk that is lost. A, hub-docs spaces-gpus.md
    cpus: int = 2
    memory: int = 16 * 1024**3
    # A, hub-docs spaces-config-reference.md: startup_duration_timeout is 30 minutes by default.
    # What gets near it fails far too late, so the rehearsal's own budget is shorter.
    start_deadline: float = 60
    # A server that ends this soon after its first answer has not started. Ours.
    settle: float = 1
    # Path and status that make a Space "healthy": unknown. Any HTTP answer on app_port counts.
    readiness_path: str = "/"
    # How long a sleeping Space may take to wake; 13 to 17 s were seen for a small one (C). Ours.
    wake_deadline: float = 180
    # From SIGTERM to SIGKILL: unknown. 10 s is Docker's own default.
    stop_deadline: float = 10
    # A wrong environment has to be told within this time. Ours.
    refusal_deadline: float = 10
    # A build that hangs. The Hub's own limit: unknown.
    build_deadline: float = 900
    # "any requests going to other ports will be blocked". A, hub-docs spaces-overview.md
    outbound_ports: tuple[int, ...] = (80, 443, 8080)
    # Image sizes that the Hub takes: unknown. Builds were seen to fail by memory while exporting
    # big images (D, Cinnamon/kotaemon issue 725). Ours: all layers, one layer, bytes of files
    # that a later layer replaces or deletes.
    image_budget: int = 2 * 1024**3
    layer_budget: int = 1024**3
    waste_budget: int = 50 * 1024**2
    # 99 of 100 answers of an idle `/health` come within this time. Ours.
    health_latency: float = 0.050
    platform: str = "linux/amd64"
    owner: str = "acme"

    def environment(self, name: str, title: str, owner: str | None = None) -> dict[str, str]:
        """The variables that the Hub injects into a Space at run time; `owner` in the place of ours.

        A, hub-docs spaces-overview.md; SYSTEM: B, gradio `utils.get_space`. PORT, HOME and
        HF_TOKEN are not documented as injected, so they are not.
        """
        owner = owner or self.owner
        return {
            "SYSTEM": "spaces",
            "SPACE_ID": f"{owner}/{name}",
            "SPACE_AUTHOR_NAME": owner,
            "SPACE_REPO_NAME": name,
            "SPACE_TITLE": title,
            "SPACE_HOST": self.host(name, owner),
            "SPACE_CREATOR_USER_ID": "0123456789abcdef01234567",
            "CPU_CORES": str(self.cpus),
            "MEMORY": f"{self.memory // 1024**3}Gi",
            "ACCELERATOR": "none",
        }

    def host(self, name: str, owner: str | None = None) -> str:
        """The public host name: lower case, "/" and "." become "-" (A, hub-docs spaces-embed.md); "_" too (C)."""
        label = f"{owner or self.owner}-{name}".lower()
        return (
            "".join("-" if character in "/._" else character for character in label) + ".hf.space"
        )

    def override(self, assignment: str) -> None:
        """Set one field from `NAME=VALUE`; several values are separated by commas.

        Raises ValueError when there is no such field or its value is of another kind.
        """
        name, _, text = assignment.partition("=")
        kinds = {field.name: str(field.type) for field in fields(self)}
        readers: dict[str, Callable[[str], object]] = {
            "int": int,
            "int | None": lambda text: int(text) if text else None,
            "float": float,
            "str": str,
            "tuple[int, ...]": lambda text: tuple(int(part) for part in text.split(",")),
        }
        if name not in kinds:
            raise ValueError(f"{name!r} is no setting of the rehearsal; known: {', '.join(kinds)}")
        try:
            setattr(self, name, readers[kinds[name]](text))
        except ValueError:
            raise ValueError(f"{name}: {text!r} is no {kinds[name]}") from None


HUB = Rehearsal()
