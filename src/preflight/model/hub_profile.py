"""The assumed behaviour of the Hub, in two profiles. Every value without a definite source is a field
here.

`observed` is the default: the behaviour of Spaces on the Hub. `documented` is the behaviour in
hub-docs (github.com/huggingface/hub-docs). `--hub documented` takes that profile, `--hub
NAME=VALUE` sets one field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from preflight.model.problems import Severity

OBSERVED, DOCUMENTED = "observed", "documented"
MIRRORS = "89 Docker Spaces with the Hub's own record of each, read from public mirrors"


def known(value: Any, about: str, *, source: str, sure: str, seen: str = "", **of: Any) -> Any:
    """A field of the profiles.

    value: as observed, or as documented where nothing else was observed. `documented=` names
    another value of that profile. sure: A official text or code; B a statement or code that only
    makes sense if true; C measured by others; D reported by users; "unknown" where nothing was
    found and the value is ours; or the chance that it is so, in percent. seen: when the source was
    read, by month.
    """
    facts = {"about": about, "source": source, "sure": sure, "seen": seen}
    values = {OBSERVED: value, DOCUMENTED: of.get(DOCUMENTED, value)}
    return field(default=value, metadata={"facts": facts, "values": values})


@dataclass
class Rehearsal:
    """The Hub as rehearsed. Durations are seconds, sizes bytes.

    Read a field when it is needed, never as a default argument: `--hub` sets it for a run.
    """

    user: str = known(
        "",
        "the user of the container; empty: the image's own, root where it has none",
        documented="1000",
        source=f"{MIRRORS}: ten without USER write to paths of root and serve; hub-docs spaces-sdks-docker.md says uid 1000",
        sure="97 % without USER, 70 % for another USER than 1000",
        seen="2026-08",
    )
    outbound_ports: tuple[int, ...] = known(
        (),
        "the ports that a Space may connect to; empty: all, and what is known of a port is reported",
        documented=(80, 443, 8080),
        source="a database server's own answer from port 5432 in the Hub's record of a Space; hub-docs spaces-overview.md says that others are blocked",
        sure="95 % for 5432, unknown for others",
        seen="2026-08",
    )
    uid: int = known(
        1000,
        "the uid that an image is best made for",
        source="hub-docs spaces-sdks-docker.md",
        sure="A",
        seen="2026-08",
    )
    cpus: int = known(
        2, "CPUs of `cpu-basic`", source="hub-docs spaces-gpus.md", sure="A", seen="2026-08"
    )
    memory: int = known(
        16 * 1024**3,
        "memory of `cpu-basic`",
        source="hub-docs spaces-gpus.md",
        sure="A",
        seen="2026-08",
    )
    start_deadline: float = known(
        60,
        "time to the first answer. The Hub gives 30 minutes; what gets near it fails far too late",
        source="ours; hub-docs spaces-config-reference.md for the 30 minutes",
        sure="A",
        seen="2026-08",
    )
    patience: float = known(
        5,
        "times start_deadline: a start that still works then is awaited that long, since the Hub gives 30 minutes",
        source="ours",
        sure="unknown",
    )
    settle: float = known(
        1,
        "a server that ends this soon after its first answer has not started",
        source="ours",
        sure="unknown",
    )
    elsewhere: float = known(
        5,
        "a process that listens on other ports alone and does nothing new for this long never answers",
        source="ours",
        sure="unknown",
    )
    readiness_path: str = known(
        "/",
        "the path that makes a Space healthy; any answer on `app_port` is taken",
        source="ours",
        sure="unknown",
    )
    wake_deadline: float = known(
        180,
        "how long a sleeping Space may take to wake",
        source="ours; 13 to 17 s were measured by others for a small one",
        sure="C",
        seen="2026-08",
    )
    stop_deadline: float = known(
        10, "from SIGTERM to SIGKILL", source="Docker's default", sure="unknown"
    )
    refusal_deadline: float = known(
        10, "how soon a Space refuses a wrong environment", source="ours", sure="unknown"
    )
    build_deadline: float = known(900, "how long a build may take", source="ours", sure="unknown")
    image_budget: int = known(
        2 * 1024**3,
        "bytes of all layers of an image",
        source="ours; builds were seen to fail by memory while exporting big images: Cinnamon/kotaemon issue 725",
        sure="D",
    )
    layer_budget: int = known(1024**3, "bytes of one layer", source="ours", sure="unknown")
    waste_budget: int = known(
        50 * 1024**2,
        "bytes of files that a later layer replaces or deletes",
        source="ours",
        sure="unknown",
    )
    health_latency: float = known(
        0.050,
        "99 of 100 answers of an idle `/health` come within it",
        source="ours",
        sure="unknown",
    )
    platform: str = known(
        "linux/amd64",
        "the platform of the build",
        source='the command of the Hub\'s button "Run with Docker", quoted by users',
        sure="D",
        seen="2026-08",
    )
    owner: str = known(
        "acme", "the owner where none is known; only names depend on it", source="ours", sure="A"
    )

    def environment(self, name: str, title: str, owner: str | None = None) -> dict[str, str]:
        """The variables that the Hub injects into a Space at run time; `owner` in the place of ours.

        A, hub-docs spaces-overview.md; SYSTEM: B, gradio `utils.get_space`. HOME and HF_TOKEN are
        not documented as injected, so they are not. Neither is PORT, and Spaces with `app_port` 3000
        and `process.env.PORT || 3000` run.
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
        """The public host name: lower case, "/" and "." become "-" (A, hub-docs spaces-embed.md); "_"
        too (A, observed)."""
        label = f"{owner or self.owner}-{name}".lower()
        return (
            "".join("-" if character in "/._" else character for character in label) + ".hf.space"
        )

    def lets_out(self, port: int) -> bool:
        """Whether a Space may connect to this port."""
        return not self.outbound_ports or port in self.outbound_ports

    @property
    def profile(self) -> str:
        """The nearest profile, and the fields that differ from it: `observed, uid=1001`."""
        changed = {
            name: {field.name: getattr(self, field.name) for field in fields(self) if getattr(self, field.name) != field.metadata["values"][name]}
            for name in (OBSERVED, DOCUMENTED)
        }  # fmt: skip
        name = min(changed, key=lambda candidate: len(changed[candidate]))
        return ", ".join([name, *(f"{field}={value}" for field, value in changed[name].items())])

    def override(self, assignment: str) -> None:
        """Take a whole profile by its name, or set one field by `NAME=VALUE`; several values are
        separated by commas.

        Raises ValueError for an unknown profile or field, or a value of another type.
        """
        name, equals, text = assignment.partition("=")
        if not equals and name in (OBSERVED, DOCUMENTED):
            for field in fields(self):
                setattr(self, field.name, field.metadata["values"][name])
            return
        kinds = {field.name: str(field.type) for field in fields(self)}
        readers: dict[str, Callable[[str], object]] = {
            "int": int,
            "float": float,
            "str": str,
            "tuple[int, ...]": lambda text: tuple(int(part) for part in text.split(",") if part),
        }
        if name not in kinds or not equals:
            raise ValueError(
                f"write {OBSERVED}, {DOCUMENTED}, or NAME=VALUE with one of {', '.join(kinds)}"
            )
        try:
            setattr(self, name, readers[kinds[name]](text))
        except ValueError:
            raise ValueError(f"{name}: {text!r} is not of type {kinds[name]}") from None


HUB = Rehearsal()


@dataclass(frozen=True)
class Outbound:
    """The evidence on connections from a Space to a port that is not documented as open."""

    severity: Severity
    known: str


DOCUMENTED_PORTS = (80, 443, 8080)
_OPEN = Outbound(Severity.ADVICE, "observed open in 2026-08 (sure: 95 %), documented as blocked")
_MAIL = Outbound(Severity.RISK, "users reported it unreachable from 2023 to 2025")
_UNKNOWN = Outbound(Severity.ADVICE, "documented as blocked; whether it is was not observed")


def outbound(port: int) -> Outbound | None:
    """The evidence on a port; None for a port that is documented as open.

    Under a profile that blocks the port, connecting to it breaks the Space.
    """
    if port in (HUB.outbound_ports or DOCUMENTED_PORTS):
        return None
    if not HUB.lets_out(port):
        return Outbound(Severity.BREAKS, "blocked in this profile of the Hub")
    # 5432 PostgreSQL, 6543 its pooler at Supabase; the others are SMTP's.
    table = {5432: _OPEN, 6543: _OPEN, **dict.fromkeys((25, 465, 587, 2525), _MAIL)}
    return table.get(port, _UNKNOWN)
