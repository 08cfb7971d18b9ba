"""The content of an image's layers, read in one pass over `docker image save`, without running the image."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from preflight.engine.docker import DockerError, docker
from preflight.engine.image import Image
from preflight.engine.run import LABEL, Run
from preflight.model.hub_profile import HUB

# A small machine reads 2 GiB in about 20 s.
DEADLINE = 300
_CHUNK = 1 << 20
# Of each chunk, for the estimate of the compressed size: within 6 % of gzip's on images of 50 to 200 MB.
_SAMPLE = 1 << 16
# Source: sqlite.org/fileformat.html, 1.3.
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True)
class Entry:
    """A file or folder as the image holds it.

    layer: the number of its layer, from 0. database: whether it is a SQLite file.
    """

    uid: int
    gid: int
    mode: int
    layer: int = 0
    folder: bool = False
    database: bool = False

    def writable_by(self, uid: int, gid: int) -> bool:
        if self.uid == uid:
            return bool(self.mode & 0o200)
        return bool(self.mode & (0o020 if self.gid == gid else 0o002))


@dataclass(frozen=True)
class Layer:
    """One layer: the instruction that made it, the bytes of its files, and its wasted bytes.

    wasted: bytes of files of earlier layers that this one replaces or deletes; they stay in the image.
    compressed: about how many bytes a registry stores, and each start of the Space may pull.
    """

    instruction: str
    size: int
    wasted: int
    compressed: int


@dataclass(frozen=True)
class Contents:
    """An image's layers, its users, the requested entries, and the places of Secrets' values.

    leaks: pairs of a Secret's name and the place, never a value.
    """

    layers: list[Layer]
    passwd: str
    entries: dict[str, Entry] = field(default_factory=dict)
    leaks: list[tuple[str, str]] = field(default_factory=list)

    @property
    def users(self) -> list[tuple[str, int, int, str]]:
        """Name, uid, gid, home of each line of /etc/passwd."""
        found = []
        for line in self.passwd.splitlines():
            parts = line.split(":")
            if len(parts) >= 6 and parts[2].isdigit() and parts[3].isdigit():
                found.append((parts[0], int(parts[2]), int(parts[3]), parts[5]))
        return found


def uid_of(image: Image, contents: Contents) -> int:
    """The uid that the Hub runs the image as."""
    user = (HUB.user or str(image.config.get("User") or "")).partition(":")[0]
    uids = {name: uid for name, uid, _, _ in contents.users}
    return int(user) if user.isdigit() else uids.get(user, 0)


def home_of(image: Image, contents: Contents) -> str:
    """The home folder of that user; / when there is none."""
    environment = dict(line.partition("=")[::2] for line in image.config.get("Env") or [])
    user = uid_of(image, contents)
    of_user = (home for _, uid, _, home in contents.users if uid == user)
    return (environment.get("HOME") or next(of_user, "")).rstrip("/") or "/"


def contents_of(run: Run, image: Image, secrets: Mapping[str, str]) -> Contents:
    """Read an image, once for its content: a later run finds what this one has read.

    secrets: name → value to look for in every file and setting.
    """
    name = image.tag.partition(":")[0].replace("/", "-")
    kept = run.folder.parent / "layers" / f"{name}.json"

    def read() -> dict[str, Any]:
        content = _digest(image, secrets)
        with suppress(OSError, ValueError, KeyError):
            known = json.loads(kept.read_text())
            if known["content"] == content:
                found: dict[str, Any] = known["found"]
                return found
        found = asdict(read_image(image.tag, secrets))
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Atomically: another run may read it at any time.
        part = kept.with_name(f"{name}.{run.id}")
        part.write_text(json.dumps({"content": content, "found": found}))
        part.replace(kept)
        return found

    known = run.once(f"layers-{name}", read)
    return Contents(
        [Layer(**layer) for layer in known["layers"]],
        known["passwd"],
        {path: Entry(**entry) for path, entry in known["entries"].items()},
        [(name, place) for name, place in known["leaks"]],
    )


def _digest(image: Image, secrets: Mapping[str, str]) -> str:
    """A hash of all that the result depends on: layers, settings, history, the Secrets' values, this file."""
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image.tag).stdout
    settings = {**image.config, "Labels": {**(image.config.get("Labels") or {}), LABEL: ""}}
    layers = image.inspection["RootFS"]["Layers"]
    inputs = json.dumps([layers, settings, history, dict(secrets)], sort_keys=True)
    return hashlib.sha256(inputs.encode() + Path(__file__).read_bytes()).hexdigest()


def read_image(tag: str, secrets: Mapping[str, str]) -> Contents:
    """Read an image from the engine. Raises DockerError when the stream breaks off."""
    process = subprocess.Popen(
        ["docker", "image", "save", tag], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    overdue = threading.Timer(DEADLINE, process.kill)
    overdue.start()
    try:
        blobs, documents = _read(process.stdout, secrets)
    except (tarfile.TarError, EOFError) as error:
        process.kill()
        said = process.stderr.read().decode(errors="replace").strip()
        raise DockerError(f"`docker image save {tag}` broke off: {said or error}") from None
    finally:
        overdue.cancel()
        process.stdout.close()
        process.stderr.close()
        process.wait()
    return _joined(blobs, documents, secrets)


@dataclass
class _Blob:
    """One layer's files: path → (bytes, entry); deleted paths; places of Secrets; /etc/passwd; its size
    in a registry."""

    files: dict[str, tuple[int, Entry]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    leaks: list[tuple[str, str]] = field(default_factory=list)
    passwd: str | None = None
    compressed: int = 0


def _read(stream: IO[bytes], secrets: Mapping[str, str]) -> tuple[dict[str, _Blob], dict[str, Any]]:
    blobs: dict[str, _Blob] = {}
    documents: dict[str, Any] = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
        for member in archive:
            if not member.isfile():
                continue
            content = archive.extractfile(member)
            assert isinstance(content, io.BufferedReader)
            # Documents are JSON; a layer is a tar, compressed or not.
            if content.peek(1)[:1] in (b"{", b"["):
                documents[member.name] = json.loads(content.read())
            elif member.size > 1024 and not member.name.endswith(("VERSION", "repositories")):
                blobs[member.name] = _layer(content, secrets)
    return blobs, documents


def _layer(stream: IO[bytes], secrets: Mapping[str, str]) -> _Blob:
    blob = _Blob()
    metered = _Metered(stream)
    with tarfile.open(fileobj=metered, mode="r|*", bufsize=_CHUNK) as archive:
        for member in archive:
            path = "/" + member.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                blob.deleted.append(folder + "/")
            elif name.startswith(".wh."):
                blob.deleted.append(f"{folder}/{name.removeprefix('.wh.')}")
            else:
                entry = Entry(member.uid, member.gid, member.mode, folder=member.isdir())
                blob.files[path] = (member.size if member.isfile() else 0, entry)
            if not member.isfile():
                continue
            if path == "/etc/passwd":
                content = archive.extractfile(member)
                assert content is not None
                blob.passwd = content.read().decode(errors="replace")
            elif member.size:
                content = archive.extractfile(member)
                assert content is not None
                head = content.read(len(_SQLITE))
                if head == _SQLITE:
                    size, entry = blob.files[path]
                    blob.files[path] = size, replace(entry, database=True)
                if secrets:
                    blob.leaks += [(secret, path) for secret in _found(content, secrets, head)]
    blob.compressed = metered.compressed
    return blob


class _Metered(io.BufferedIOBase):
    """A layer's stream, which estimates its size in a registry: registries keep layers in gzip.

    It compresses a part of each chunk: all of an image would take longer than its start.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._read = self._sampled = self._compressed = 0

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = self._stream.read(-1 if size is None else size)
        sample = chunk[:_SAMPLE]
        self._read += len(chunk)
        self._sampled += len(sample)
        self._compressed += len(zlib.compress(sample))
        return chunk

    @property
    def compressed(self) -> int:
        return self._read * self._compressed // max(self._sampled, 1)


def _found(content: IO[bytes], secrets: Mapping[str, str], before: bytes) -> Iterator[str]:
    """Names of the Secrets whose value is in a file. before: the part that was read already."""
    wanted = {name: value.encode() for name, value in secrets.items()}
    overlap = max(map(len, wanted.values()))
    window = before + content.read(_CHUNK)
    while window:
        for name in [name for name, value in wanted.items() if value in window]:
            del wanted[name]
            yield name
        chunk = content.read(_CHUNK)
        window = window[-overlap:] + chunk if chunk else b""


def _joined(
    blobs: dict[str, _Blob], documents: dict[str, Any], secrets: Mapping[str, str]
) -> Contents:
    """The layers in order, each with the bytes that it wastes in earlier layers."""

    def masked(text: str) -> str:
        for value in secrets.values():
            text = text.replace(value, "[secret]")
        return text

    manifest = documents["manifest.json"][0]
    config = documents[manifest["Config"]]
    made = [step for step in config.get("history", []) if not step.get("empty_layer")]
    present: dict[str, int] = {}
    layers: list[Layer] = []
    entries: dict[str, Entry] = {}
    leaks: list[tuple[str, str]] = []
    passwd = ""
    for number, name in enumerate(manifest["Layers"]):
        blob = blobs.get(name, _Blob())
        step = masked(made[number].get("created_by", "")) if number < len(made) else ""
        gone = set(blob.files)
        for path in blob.deleted:
            prefix = path if path.endswith("/") else path + "/"
            gone |= {known for known in present if known == path or known.startswith(prefix)}
        wasted = sum(present.pop(path, 0) for path in gone)
        for path, (size, entry) in blob.files.items():
            present[path] = size
            entries[path] = replace(entry, layer=number)
        passwd = passwd if blob.passwd is None else blob.passwd
        content = sum(size for size, _ in blob.files.values())
        layers.append(Layer(step, content, wasted, blob.compressed))
        leaks += [(secret, f"{path} of the layer of `{step}`") for secret, path in blob.leaks]
    for secret, value in secrets.items():
        for place, text in _settings(config):
            if value in text:
                leaks.append((secret, masked(place)))
    folders = {path: entry for path, entry in entries.items() if path in present}
    return Contents(layers, passwd, folders, leaks)


def _settings(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    inner = config.get("config") or {}
    for line in inner.get("Env") or []:
        yield f"ENV {line.partition('=')[0]}", line
    for key, label in (inner.get("Labels") or {}).items():
        yield f"LABEL {key}", str(label)
    for key in ("Cmd", "Entrypoint", "Healthcheck"):
        yield key.upper(), json.dumps(inner.get(key))
    for step in config.get("history", []):
        made = step.get("created_by", "")
        yield f"the image's history: `{made}`", made
