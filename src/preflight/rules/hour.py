"""Faults that appear only after a while: workers for the host's cores, programs that the Hub pauses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from preflight.model.problems import Problem, Severity
from preflight.rules.dockerfile import Dockerfile, at, script_of

# A process for each core of the machine: the Hub's hosts have dozens, a Space has two.
_EACH_CORE = re.compile(
    r"(--workers|-w|--processes|--threads-per-worker)[ =]+[\"']?(\$\(\(?[^)]*nproc|`nproc|auto\b|-1\b)"
    r"|\b(WEB_CONCURRENCY|UVICORN_WORKERS|GUNICORN_WORKERS|WORKERS)[ =]+[\"']?(\$\(\(?[^)]*nproc|`nproc)"
    r"|\b(workers|num_workers|processes|n_workers)\s*=\s*[^#\n]*\b(os|multiprocessing|mp|psutil)\.cpu_count\("
    r"|\b(workers|processes)\s*\(?\s*[^#\n]*Etc\.nprocessors|\bpm2(-runtime)?\b[^\n]*\s-i\s+(max|0|-1)\b"
    r"|os\.cpus\(\)\.length|availableParallelism\(\)|\bNumCPU\(\)"
)
_IN_NODE = re.compile(r"cluster\.fork|worker_threads|child_process|numWorkers|workers", re.I)
# The Hub's own record shows pauses within minutes of a push; the rest are of the same kinds.
_PAUSED = re.compile(
    r"(?<![\w.-])(searx(ng)?|x11vnc|[Xx]vnc|tigervnc\S*|tightvnc\S*|vncserver|novnc|websockify|wireproxy|xray(-core)?"
    r"|v2ray|sing-box|ss-server|shadowsocks\S*|trojan-go|hysteria2?|cloudflared|ngrok|frp[cs]|gost|xmrig|cpuminer"
    r"|tailscaled?|openvpn|wg-quick|ttyd|guacd)(?![\w-])"
)
_FILES = (
    "*.sh",
    "*.py",
    "*.conf",
    "*.toml",
    "*.ini",
    "*.js",
    "*.mjs",
    "*.cjs",
    "*.ts",
    "Procfile",
    "*.yml",
)
LARGEST = 200_000


def worker_problems(dockerfile: Dockerfile, sources: Mapping[str, str]) -> Iterator[Problem]:
    """Start commands that run a process for each core that the container sees: the cores of the host."""
    found = []
    for name in ("ENTRYPOINT", "CMD"):
        command = dockerfile.final.last(name)
        if command and (match := _EACH_CORE.search(" ".join(command.value))):
            found.append(("Dockerfile", command.start_line, match.group()))
    for name, text in sources.items():
        for match in _EACH_CORE.finditer(text):
            in_node = match.group().startswith(("os.cpus", "availableParallelism"))
            if in_node and not _IN_NODE.search(text):
                continue
            found.append((name, text.count("\n", 0, match.start()) + 1, match.group()))
    for name, line, words in found[:3]:
        yield Problem(
            "workers for the CPUs that the Space has",
            f"{words.strip()[:100]}: the container sees all cores of its host, not the Space's 2 CPUs",
            "Write a number, or read CPU_CORES, which the Hub sets: workers = int(os.environ.get('CPU_CORES', 2)).",
            file=name,
            line=line,
        )


def start_files(folder: Path) -> dict[str, str]:
    """Scripts and settings at the folder's root, which configure the start."""
    paths = {path for pattern in _FILES for path in folder.glob(pattern)}
    paths |= {path for pattern in _FILES[:3] for path in folder.glob(f"*/{pattern}")}
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(paths)
        if path.is_file() and path.stat().st_size < LARGEST and "node_modules" not in path.parts
    }


def paused_problems(dockerfile: Dockerfile, processes: list[str]) -> Iterator[Problem]:
    """Programs for which the Hub pauses a Space, running or installed."""
    seen = set()
    for line in processes:
        words = [word.rpartition("/")[2] for word in line.split()[:3]]
        for word in words:
            if _PAUSED.fullmatch(word) and word not in seen:
                seen.add(word)
                yield _paused(word, f"the process {word} runs")
    for stage in dockerfile.stages:
        if match := _PAUSED.search(stage.base.partition(":")[0].rpartition("/")[2]):
            yield _paused(match.group(), f"FROM {stage.base}")
        for command in stage.commands:
            match = (
                _PAUSED.search(script_of(command))
                if command.cmd in ("RUN", "CMD", "ENTRYPOINT")
                else None
            )
            if match and match.group() not in seen:
                seen.add(match.group())
                found = _paused(match.group(), f"{command.cmd} names {match.group()}")
                yield Problem(found.expected, found.actual, severity=Severity.RISK, **at(command))


def _paused(name: str, where: str) -> Problem:
    return Problem("no program for which the Hub pauses a Space", f"{where}: {name}")


# Where frameworks take a pattern for origins.
_PATTERNS = re.compile(
    r"(?:allow_origin_regex\s*=\s*|ORIGIN_REGEX\w*\s*=\s*\[?\s*|origins?\s*[=:]\s*\[?\s*)"
    r"(?:r?(?P<quote>[\"'])(?P<text>(?:(?!(?P=quote)).)+)(?P=quote)|/(?P<slash>(?:\\/|[^/\n])+)/[a-z]*)",
    re.I,
)


def loose_origins(sources: Mapping[str, str]) -> list[tuple[str, str, int, str]]:
    """Foreign origins that a pattern in the sources matches because a dot is not escaped.

    Each with its file, line and pattern. Only a request proves it: another rule may refuse the origin.
    """
    found = []
    for name, text in sources.items():
        for match in _PATTERNS.finditer(text):
            pattern = (match["slash"] or "").replace("\\/", "/") or match["text"] or ""
            origin = _stranger(pattern)
            if origin:
                found.append((origin, name, text.count("\n", 0, match.start()) + 1, pattern))
    return found


def _stranger(pattern: str) -> str | None:
    """An origin that the pattern matches and its author does not own."""
    text = pattern.strip().removeprefix("^").removesuffix("$").replace("https?", "https")
    if not text.startswith(("http", "(http")):
        return None
    # The first alternative of each group.
    text = re.sub(r"\((?:\?:)?([^()|]*)[^()]*\)[?*+]?", r"\1", text)
    text = re.sub(r"\.[*+]\??|\[[^\]]+\][*+]?\??|\\w[*+]?|\\S[*+]?|\\d[*+]?", "evil", text)
    if not re.search(r"[a-z0-9](?<!\\)\.[a-z]", text):
        return None
    text = text.replace("\\.", "\1").replace("\\-", "-")
    text = re.sub(r"(?<=[a-z0-9])\.(?=[a-z])", "x", text).replace("\1", ".")
    return text if re.fullmatch(r"https?://[\w.:-]+", text) else None
