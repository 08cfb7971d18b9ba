"""The environment, checked once at start.

`.env.example` declares every variable; a test compares the two.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
)

# Supervisors give up at code 3 and restart for ever at most others.
# Source: uvicorn release notes 0.50.
EXIT_CONFIG = 3
# Ports that a Space can reach. hub-docs spaces-overview.md, "Networking", names 80, 443 and 8080 as
# the only ones. 5432 is open in fact: one Space's error text is a database server's own answer.
OPEN_PORTS = {80, 443, 8080, 5432}
# Values for trials with compose; on the Hub they are refused.
SAMPLES = {
    "COHERE_API_KEY": "sample-cohere-api-key",
    "QDRANT_API_KEY": "sample-qdrant-api-key",
    "FEEDBACK_TOKEN": "sample-feedback-token-for-laptops-only",
    "METRICS_TOKEN": "sample-metrics-token-for-laptops-only",
}
REQUIRED_IN_CLOUD = {
    "COHERE_API_KEY": "a Secret: the key from dashboard.cohere.com",
    "QDRANT_URL": "a Secret: the cluster's URL, such as https://xyz.cloud.qdrant.io",
    "QDRANT_API_KEY": "a Secret: the cluster's API key",
}
PACKAGED_INDEX = Path(__file__).parent.parent / "data" / "index.sqlite"


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    try:
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_valid:
        raise ValueError("must be an absolute URL, http:// or https://, with a valid port if any")
    if any(c.isspace() for c in value) or parts.username or parts.query or parts.fragment:
        raise ValueError("must be a plain URL without user, query, fragment or blanks")
    return value.rstrip("/")


def _origin_fault(entry: str) -> str | None:
    """What is wrong with one CORS origin, or None.

    A browser sends exactly scheme://host[:port], lower case, without default port: anything else
    would never match. Source: https://html.spec.whatwg.org/#ascii-serialisation-of-an-origin
    """
    if not entry:
        return "is empty"
    if "*" in entry:
        return "is a wildcard: list each origin"
    try:
        parts = urlsplit(entry)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not an origin: use scheme://host[:port]"
    if parts.scheme not in ("http", "https") or not host:
        return "is not an origin: use scheme://host[:port]"
    if parts.path == "/" and entry.endswith("/"):
        return "ends with a slash: remove it"
    plain = f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
    if entry != plain or not entry.isascii() or any(c.isspace() for c in entry):
        return "is not a lower-case origin: use exactly scheme://host[:port]"
    if port == {"http": 80, "https": 443}[parts.scheme]:
        return "names the default port, which browsers leave out: remove it"
    if parts.scheme == "http" and host not in ("localhost", "127.0.0.1"):
        return "uses http, which is accepted for localhost and 127.0.0.1 only: use https"
    return None


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    entries = [entry.strip() for entry in value.split(",")]
    faults = [f"entry {n} {fault}" for n, e in enumerate(entries, 1) if (fault := _origin_fault(e))]
    if faults:
        raise ValueError("; ".join(faults))
    return frozenset(entries)


def _index_fault(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            # Source: sqlite.org/fileformat.html, "The Database Header".
            sound = file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        return (error.strerror or "cannot be read").lower()
    return None if sound else "not an index"


Url = Annotated[str, AfterValidator(_http_url)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/-]{1,255}$")]
Token = Annotated[SecretStr, Field(min_length=32)]


class Settings(BaseModel):
    """One field per variable, of the same name in lower case; times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rag_mode: Literal["cloud", "embedded"] = "cloud"
    cohere_api_key: SecretStr = SecretStr("")
    qdrant_url: Url = "http://localhost:6333"
    qdrant_api_key: SecretStr = SecretStr("")
    collection_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,255}$")] = "book"
    cors_origins: Annotated[frozenset[str], BeforeValidator(_origins)] = frozenset()

    rag_fallback: Literal["on", "off"] = "on"
    cohere_base_url: Url = "https://api.cohere.com"
    chat_model: Name = "command-a-03-2025"
    embed_model: Name = "embed-v4.0"
    embed_dimension: Annotated[int, Field(ge=1, le=65536)] | None = None
    rerank_model: Name | None = None
    upstream_timeout: Annotated[float, Field(gt=0, le=300)] = 20
    qdrant_timeout: Annotated[float, Field(gt=0, le=60)] = 5

    max_body_bytes: Annotated[int, Field(ge=1024, le=10_000_000)] = 1_100_000
    rate_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    global_per_minute: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    trusted_proxy_hops: Annotated[int, Field(ge=0, le=10)] = 1

    feedback_token: Token | None = None
    metrics_token: Token | None = None
    feedback_path: Path = Path("/tmp/feedback.sqlite")
    index_path: Path = PACKAGED_INDEX
    log_level: Literal["debug", "info", "warn", "error"] = "info"
    system: str = ""

    @property
    def on_hub(self) -> bool:
        """True inside a Space. Source: hub-docs spaces-overview.md, "Helper environment"."""
        return self.system == "spaces"

    @property
    def embedded(self) -> bool:
        return self.rag_mode == "embedded"

    @property
    def needs_index(self) -> bool:
        return self.embedded or self.rag_fallback == "on"

    def warnings(self) -> list[str]:
        """Settings that are valid but may not work, one sentence each, without secrets."""
        out = []
        if self.on_hub and not self.embedded:
            for name, url in (
                ("QDRANT_URL", self.qdrant_url),
                ("COHERE_BASE_URL", self.cohere_base_url),
            ):
                port = effective_port(url)
                if port not in OPEN_PORTS:
                    out.append(
                        f"{name}: port {port} may be closed on the Hub; 80, 443 and 8080 are "
                        "documented as open, 5432 was observed open"
                    )
        return out


def effective_port(url: str) -> int:
    """The port of `url`, which must be valid; without a port, the default of its scheme."""
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


class SettingsError(Exception):
    """`faults`: one line per invalid variable, starting with its name, without its value."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from `environ`. A blank value counts as unset.

    Raises SettingsError with every fault at once.
    """
    given = {
        name: environ[name.upper()].strip()
        for name in Settings.model_fields
        if environ.get(name.upper(), "").strip()
    }
    faults: dict[str, str] = {}
    settings = None
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        # The stock text of this error prints the offending value, which may be a key.
        for detail in error.errors(include_input=False, include_url=False, include_context=False):
            name = str(detail["loc"][0]).upper()
            faults.setdefault(name, detail["msg"].removeprefix("Value error, "))
    if given.get("rag_mode", "cloud") == "cloud":
        for name, what in REQUIRED_IN_CLOUD.items():
            if name.lower() not in given:
                faults[name] = f"missing; set it ({what}), or set RAG_MODE=embedded"
    if given.get("system") == "spaces":
        for name, sample in SAMPLES.items():
            if given.get(name.lower()) == sample:
                faults[name] = "is the sample value; set your own"
    if settings and settings.needs_index and (fault := _index_fault(settings.index_path)):
        faults["INDEX_PATH"] = f"{fault}; build one with: python -m app.ingest build"
    if faults or not settings:
        raise SettingsError([f"{name}: {text}" for name, text in sorted(faults.items())])
    return settings


def environment(environ: Mapping[str, str], file: Path = Path(".env")) -> Mapping[str, str]:
    """`environ`, completed by the variables of `file`, which is ignored on the Hub.

    `environ` wins. The image contains no such file.
    """
    if environ.get("SYSTEM") == "spaces" or not file.is_file():
        return environ
    from dotenv import dotenv_values

    found = dotenv_values(file, interpolate=False)
    return {**{name: value for name, value in found.items() if value is not None}, **environ}


def load_settings() -> Settings:
    """Settings of the process; ends it with exit code 3 if they are invalid."""
    try:
        return read_settings(environment(os.environ))
    except SettingsError as error:
        _refuse(error.faults)


def _refuse(faults: list[str]) -> NoReturn:
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    sys.exit(EXIT_CONFIG)
