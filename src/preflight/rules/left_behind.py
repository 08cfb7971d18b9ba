"""Files that a build step left in root's home, where the app's user does not find them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from preflight.model.problems import Problem, Severity
from preflight.rules.sources import Sources

# By the folder below root's home: its content, the variable that moves it, and the severity. A library
# that downloads the content again makes the first request slow; without the other content, requests fail.
KNOWN: dict[str, tuple[str, str, Severity]] = {
    ".cache/ms-playwright": ("Playwright's browsers", "PLAYWRIGHT_BROWSERS_PATH", Severity.BREAKS),
    ".cache/puppeteer": ("Puppeteer's browser", "PUPPETEER_CACHE_DIR", Severity.BREAKS),
    ".cache/selenium": ("Selenium's drivers", "SE_CACHE_PATH", Severity.BREAKS),
    ".cache/camoufox": ("Camoufox's browser", "XDG_CACHE_HOME", Severity.BREAKS),
    "nltk_data": ("NLTK's data", "NLTK_DATA", Severity.BREAKS),
    "stanza_resources": ("Stanza's models", "STANZA_RESOURCES_DIR", Severity.BREAKS),
    ".local/share/argos-translate": (
        "Argos Translate's packages",
        "XDG_DATA_HOME",
        Severity.BREAKS,
    ),
    ".local/lib": ("packages of `pip install --user`", "PYTHONUSERBASE", Severity.BREAKS),
    ".local/share/uv": ("Python as uv installs it", "UV_PYTHON_INSTALL_DIR", Severity.BREAKS),
    ".ollama": ("Ollama's models", "OLLAMA_MODELS", Severity.BREAKS),
    ".cache/huggingface": ("models of Hugging Face", "HF_HOME", Severity.RISK),
    ".cache/torch": ("PyTorch's models", "TORCH_HOME", Severity.RISK),
    ".cache/whisper": ("Whisper's models", "XDG_CACHE_HOME", Severity.RISK),
    ".cache/clip": ("CLIP's models", "XDG_CACHE_HOME", Severity.RISK),
    ".cache/chroma": ("Chroma's models", "XDG_CACHE_HOME", Severity.RISK),
    ".keras": ("Keras's models", "KERAS_HOME", Severity.RISK),
    ".EasyOCR": ("EasyOCR's models", "EASYOCR_MODULE_PATH", Severity.RISK),
    ".paddleocr": ("PaddleOCR's models", "HOME", Severity.RISK),
    ".insightface": ("InsightFace's models", "HOME", Severity.RISK),
    ".u2net": ("rembg's models", "U2NET_HOME", Severity.RISK),
    ".flair": ("Flair's models", "FLAIR_CACHE_ROOT", Severity.RISK),
    ".local/share/tts": ("TTS's models", "TTS_HOME", Severity.RISK),
}
# Caches of build tools, and files of shells: no app looks for them.
_OF_BUILDS = re.compile(
    r"\.cache/(pip|uv|yarn|pnpm|go-build|node|node-gyp|npm|fontconfig|matplotlib|pypoetry|pre-commit|prisma"
    r"|typescript|deno|bazel|composer|mesa_shader_cache|gstreamer.*|motd.*|black|ruff|mypy|turbo|esbuild|vite"
    r"|Cypress|electron.*|next.*|ccache|cmake.*|dotslash|rosetta|virtualenv)"
    r"|\.(npm|yarn\w*|pnpm\S*|bash\w*|profile|wget-hsts|git\S*|ssh|gnupg|node-gyp|cargo|rustup|m2|gradle|nuget"
    r"|dotnet|composer|python_history|java|pki|lesshst|v8flags\S*|config|launchpadlib|sudo_as\S*|viminfo"
    r"|selected_editor|local|cache|subversion|docker|tmp|terminfo|zsh\S*|node_repl_history|npmrc|yarnrc)"
)
ROOT = "/root/"


def left_behind(
    paths: Iterable[str],
    home: str,
    user: str,
    environment: Mapping[str, str],
    may_read: bool,
    sources: Sources,
    everything: Iterable[str],
) -> Iterator[Problem]:
    """Content of root's home that the Space's own build steps made and its app can't use.

    paths: files below /root that RUN steps of the Space made. home: the home folder of the app's user, `user`.
    may_read: whether that user may read below /root. everything: all paths of the image.
    """
    if home == "/root" and may_read:
        return
    pointed = [value for value in environment.values() if value.startswith(ROOT)]
    present = set(everything)
    groups: dict[str, str] = {}
    for path in paths:
        groups.setdefault(_group(path), path)
    for group, example in sorted(groups.items()):
        known = KNOWN.get(group)
        if may_read and any(
            value.startswith(f"{ROOT}{group}") or f"{ROOT}{group}".startswith(value)
            for value in pointed
        ):
            continue
        if not known and _OF_BUILDS.fullmatch(group):
            continue
        inside = example.removeprefix(ROOT)
        # A later step has copied the files to the place where the app looks.
        if home != "/root" and f"{home.rstrip('/')}/{inside}" in present:
            continue
        yield _problem(group, example, home, user, known, sources)


def _group(path: str) -> str:
    """The folder below root's home that holds a path: an entry of KNOWN, or the first one or two names."""
    inside = path.removeprefix(ROOT)
    for name in KNOWN:
        if inside == name or inside.startswith(f"{name}/"):
            return name
    parts = inside.split("/")
    deep = parts[0] in (".cache", ".local", ".config") and len(parts) > 1
    return "/".join(
        parts[: 3 if deep and parts[1] == "share" and len(parts) > 2 else 2 if deep else 1]
    )


def _problem(
    group: str,
    example: str,
    home: str,
    user: str,
    known: tuple[str, str, Severity] | None,
    sources: Sources,
) -> Problem:
    last = group.rpartition("/")[2].lstrip(".")
    naming = next((name for name, text in sources.running.items() if last and last in text), None)
    what, variable, severity = known or ("what a build step made", "", Severity.ADVICE)
    named = ""
    if not known and naming:
        severity, named = Severity.BREAKS, f", and {naming} names {last}"
    fix = "Run the step as the app's user: write USER before the RUN and after the step that adds the user."
    if variable and variable != "HOME":
        fix += f" Or keep the files outside every home: ENV {variable}=/opt/{last or 'data'} before that RUN."
    return Problem(
        f"{what} where the app's user looks for it: below {home}",
        f"a RUN as root left {what} in /root/{group} (such as {example}); the app runs as {user}, "
        f"whose home is {home}{named}",
        fix,
        severity=severity,
        file=naming if not known else None,
    )
