"""Spaces with faults in the image: owners, files left by a step, data kept by the app; with look-alikes."""

from __future__ import annotations

from pathlib import PurePosixPath

from preflight.model.problems import Severity
from tests.selftest.cases import TOKEN, Broken, Edits
from tests.selftest.visitor_cases import Alike, Running, pages

COPY = "COPY --chown=1000:1000 app.py pages.py ./"
DATABASE = """
import sqlite3


def rows(sql):
    with sqlite3.connect("/app/rides.db") as database:
        return list(database.execute(sql))
"""
SEED = "RUN python -c \"import sqlite3; sqlite3.connect('rides.db').execute('CREATE TABLE rides (name TEXT)')\""
FORM = "<!doctype html><title>T</title><form method=post action=/rides><input name=name></form>"
NOTES = """
if path == "/":
    return 200, HTML, '''<!doctype html><title>T</title><script>
const save = (text) => axios.post("/notes", {text})
</script>'''
if path == "/notes" and method == "POST":
    try:
        open(os.path.join(FOLDER, "notes"), "a").write(body)
    except OSError as error:
        print(error)
        return 500, [], "not written"
    return 201, [], "written"
"""
WRITES = f"""
if path == "/rides" and method == "POST":
    try:
        rows("INSERT INTO rides VALUES ('x')")
    except sqlite3.Error as error:
        print(error)
        return 500, [], "not written"
    return 200, [], "written"
if path == "/":
    return 200, HTML, {FORM!r}
"""
READS = 'if path == "/rides":\n    return 200, [], str(rows("SELECT name FROM rides"))'
HOME = """
from pathlib import Path


def found(name):
    return (Path.home() / name).read_text()
"""


def image(step: str, copy: str = COPY) -> Edits:
    """The Dockerfile with a step as root behind COPY."""
    return {"Dockerfile": [(COPY, f"{copy}\n{step}")]}


FILES = (
    Running("database-of-root", "files.data_can_be_written", edit=image(SEED), files=pages(WRITES, DATABASE), sample=True),
    Running(
        "database-in-a-folder-of-root",
        "files.data_can_be_written",
        edit=image(f"{SEED} && chown 1000 rides.db"),
        files=pages(WRITES, DATABASE),
    ),
    Running(
        "uploads-of-root",
        "files.data_can_be_written",
        severity=Severity.RISK,
        edit=image("RUN mkdir uploads"),
        files=pages('if path == "/put":\n    with open(f"uploads/{path}", "w") as file:\n        file.write(body)'),
    ),
    Alike("database-of-the-app", edit=image(f"RUN chown 1000 /app\nUSER 1000\n{SEED}"), files=pages(WRITES, DATABASE)),
    Alike(
        "database-that-is-read",
        edit=image(SEED),
        files=pages(READS, DATABASE.replace('"/app/rides.db"', '"file:/app/rides.db?mode=ro", uri=True')),
    ),
    Running(
        "notes-of-a-script-in-a-folder-of-root",
        "files.data_can_be_written",
        files=pages(NOTES, "import os\n\nFOLDER = os.sep.join(['', 'srv'])"),
    ),
    Alike("uploads-in-tmp", files=pages('if path == "/put":\n    with open(f"/tmp/uploads/{path}", "w") as file:\n        file.write(body)')),
    Alike(
        "uploads-if-allowed",
        files=pages('if path == "/put":\n    try:\n        open("uploads/x", "w").close()\n    except OSError:\n        return 200, [], "not kept"'),
    ),
    Running("corpora-of-root", "files.fetched_content_is_in_reach", edit=image("RUN mkdir -p ~/nltk_data/tokenizers && touch ~/nltk_data/tokenizers/punkt")),
    Running("browser-of-root", "files.fetched_content_is_in_reach", edit=image("RUN mkdir -p ~/.cache/ms-playwright/chromium-1 && touch ~/.cache/ms-playwright/chromium-1/chrome")),
    Running(
        "models-of-root",
        "files.fetched_content_is_in_reach",
        severity=Severity.RISK,
        edit=image("RUN mkdir -p ~/.cache/huggingface/hub && touch ~/.cache/huggingface/hub/model"),
    ),
    Running(
        "words-of-root",
        "files.fetched_content_is_in_reach",
        edit=image("RUN mkdir -p ~/.wordlists && touch ~/.wordlists/en.txt"),
        files=pages('if path == "/words":\n    return 200, [], found(".wordlists/en.txt")', HOME),
    ),
    Alike("cache-of-a-build", edit=image("RUN mkdir -p ~/.cache/pip/http ~/.npm/_logs && touch ~/.cache/pip/http/x ~/.npm/_logs/y")),
    Alike("corpora-in-opt", edit=image("ENV NLTK_DATA=/opt/nltk\nRUN mkdir -p /opt/nltk && touch /opt/nltk/punkt")),
    Alike(
        "corpora-copied-home",
        edit=image("RUN mkdir -p ~/nltk_data && touch ~/nltk_data/punkt && cp -r ~/nltk_data /home/user/ && chown -R 1000 /home/user"),
    ),
    Alike("everything-as-root", edit={"Dockerfile": [("USER 1000\n", ""), (COPY, f"{COPY}\n{SEED}")]}, files=pages(WRITES, DATABASE)),
    Running(
        "library-is-ignored",
        "files.commit_builds_and_serves",
        also=("push.build_files_are_committed",),
        edit={"Dockerfile": [(COPY, "COPY --chown=1000:1000 . .")], "app.py": [("import pages\n", "import lib.words\nimport pages\n")]},
        files={".gitignore": "lib/\n"},
        uncommitted={"lib/words.py": "WORDS = []\n"},
    ),
    Alike(
        "notes-are-ignored",
        edit={"Dockerfile": [(COPY, "COPY --chown=1000:1000 . .")]},
        files={".gitignore": "notes/\n"},
        uncommitted={"notes/todo.txt": "none\n"},
    ),
)  # fmt: skip

KEYED = """import os
import string

KEY = os.environ.get("RIDES_KEY", "").strip(string.whitespace + string.punctuation)
if len(KEY) < 20:
    raise SystemExit("RIDES_KEY is missing or shorter than 20 characters")
"""
HOUR = (
    Running("keeps-each-request", "hour.keeps_nothing_of_a_request", files=pages("KEPT.append(bytearray(50_000))", "KEPT = []")),
    Running(
        "leaves-children",
        "hour.keeps_nothing_of_a_request",
        files=pages('LEFT.append(subprocess.Popen(["true"]))', "import subprocess\n\nLEFT = []"),
    ),
    Running("leaves-files-open", "hour.keeps_nothing_of_a_request", files=pages('OPEN.append(open("/app/app.py"))', "OPEN = []")),
    Alike("keeps-the-last-ones", files=pages("KEPT.append(bytearray(50_000))", "import collections\n\nKEPT = collections.deque(maxlen=50)")),
    Alike("waits-for-its-children", files=pages('subprocess.run(["true"])', "import subprocess")),
    Running(
        "prints-its-key-at-the-start",
        "hour.prints_no_secret",
        files=pages("pass", f'{KEYED}\nprint("settings:", dict(os.environ))')
        | {".env.example": "# The key.\n# @required @sensitive @type=string(minLength=20)\nRIDES_KEY=\n"},
        edit={"README.md": [("# Visited", "# Visited\n\nRIDES_KEY")]},
    ),
    Running(
        "prints-its-key-at-a-request",
        "hour.prints_no_secret",
        files=pages("print('asked with', KEY)", KEYED)
        | {".env.example": "# The key.\n# @required @sensitive @type=string(minLength=20)\nRIDES_KEY=\n"},
        edit={"README.md": [("# Visited", "# Visited\n\nRIDES_KEY")]},
    ),
    Running(
        "prints-its-environment",
        "hour.prints_no_secret",
        files=pages("pass", "import os\n\nTOKEN = os.environ.get('RIDES_TOKEN')\nprint(dict(os.environ))"),
    ),
    Running("prints-a-key", "hour.prints_no_secret", files=pages(f"print('asked with', 'hf_' + {TOKEN[3:]!r})")),
    Running(
        "prints-an-environment-without-secrets",
        "hour.prints_no_secret",
        severity=Severity.ADVICE,
        files=pages("pass", "import os\n\nprint(dict(os.environ))"),
    ),
    Alike("prints-names-of-variables", files=pages("pass", "import os\n\nTOKEN = os.environ.get('RIDES_TOKEN')\nprint(sorted(os.environ))")),
    Running("origins-by-a-loose-pattern", "hour.origin_patterns_match_one_site", files=pages(
        'origin = headers.get("Origin", "")\nif path == "/" and re.fullmatch(allow_origin_regex, origin):\n    return 200, HTML + [("Access-Control-Allow-Origin", origin)], PAGE',
        'import re\n\nallow_origin_regex = r"https://.*.rides-example.com"',
    )),
    Alike("origins-by-a-strict-pattern", files=pages(
        'origin = headers.get("Origin", "")\nif path == "/" and re.fullmatch(allow_origin_regex, origin):\n    return 200, HTML + [("Access-Control-Allow-Origin", origin)], PAGE',
        'import re\n\nallow_origin_regex = r"https://([a-z]+\\.)?rides-example\\.com"',
    )),
    Running("origin-with-a-slash", "cors.origins_in_the_code_are_what_browsers_send", files=pages(
        'origin = headers.get("Origin", "")\nif origin in allowed_origins:\n    return 200, HTML + [("Access-Control-Allow-Origin", origin)], PAGE',
        'allowed_origins = ["https://rides.vercel.app/", "http://localhost:3000"]',
    )),
    Alike("origin-with-a-slash-that-the-server-strips", files=pages(
        'origin = headers.get("Origin", "")\nif origin in allowed_origins:\n    return 200, HTML + [("Access-Control-Allow-Origin", origin)], PAGE',
        'allowed_origins = [each.rstrip("/") for each in ["https://rides.vercel.app/"]]',
    )),
    Running("runs-a-tunnel", "hour.runs_nothing_that_is_paused", edit=image("RUN printf '#!/bin/sh\\nexec sleep 600\\n' >/usr/local/bin/wireproxy && chmod 755 /usr/local/bin/wireproxy")),
)  # fmt: skip

KEY = 'os.environ.get("SIGNING_KEY", "").strip()'
PASTED = (
    Broken(
        "sample-with-a-newline",
        "environment.refuses_a_wrong_environment",
        needs="container",
        edit={"app.py": [(KEY, KEY.replace(".strip()", ""))]},
    ),
    Broken(
        "ends-in-a-trace-at-a-newline",
        "environment.trims_or_refuses_by_name",
        needs="container",
        edit={"app.py": [("        if not self.signer:", '        if "\\n" in os.environ.get("SIGNER_NAME", ""):\n            raise ValueError(1)\n        if not self.signer:')]},
    ),
)  # fmt: skip

IMAGES = FILES + HOUR + PASTED


def folder(case: str, check: str = "", **given: object) -> Broken:
    return Broken(case, check, base="visited", **given)  # type: ignore[arg-type]


START_SCRIPT = "#!/bin/sh\nexec python app.py\n"
STARTS = {
    "Dockerfile": [
        ("app.py pages.py ./", "app.py pages.py start.sh ./"),
        ('CMD ["python", "app.py"]', 'CMD ["./start.sh"]'),
    ]
}
BY_A_SHELL = {
    "Dockerfile": [
        STARTS["Dockerfile"][0],
        ('CMD ["python", "app.py"]', 'CMD ["sh", "start.sh"]'),
    ]
}
WINDOWS_SCRIPT = START_SCRIPT.replace("\n", "\r\n")
EXECUTABLE = (
    ("update-index", "--chmod=+x", "start.sh"),
    ("checkout-index", "--force", "start.sh"),
    ("commit", "--quiet", "--message=mode"),
)
# As on Windows and on many mounts.
ANY_MODE = ("config", "core.fileMode", "false")
EXECUTABLE_HERE_ALONE = (
    ("update-index", "--chmod=+x", "start.sh"),
    ("checkout-index", "--force", "start.sh"),
    ANY_MODE,
    ("update-index", "--chmod=-x", "start.sh"),
    ("commit", "--quiet", "--allow-empty", "--message=mode"),
)
BUILDS = "FROM node:24-bookworm-slim AS web\nWORKDIR /web\nCOPY web .\nRUN npm ci && npm run build\n\nFROM python:3.11-slim-bookworm\n"
WEB = {"web/package.json": '{"name": "web"}', "web/package-lock.json": "{}"}
READS_A_VARIABLE = WEB | {"web/src/api.ts": "export const API = import.meta.env.VITE_API_URL;\n"}

TREE = (
    folder("mode-in-the-tree", "tree.scripts_are_executable", edit=STARTS, files={"start.sh": START_SCRIPT}, git=EXECUTABLE_HERE_ALONE, sample=True),
    folder("mode-as-committed", edit=STARTS, files={"start.sh": START_SCRIPT}, git=(*EXECUTABLE_HERE_ALONE[:3], ("commit", "--quiet", "--message=mode"))),
    folder("mode-set-by-a-step", edit={"Dockerfile": [*STARTS["Dockerfile"], ("USER 1000\n", "RUN chmod +x start.sh\nUSER 1000\n")]}, files={"start.sh": START_SCRIPT}, git=EXECUTABLE_HERE_ALONE),
    folder("mode-of-a-shells-argument", edit=BY_A_SHELL, files={"start.sh": START_SCRIPT}, git=EXECUTABLE_HERE_ALONE),
    folder("line-ends-by-attributes", "tree.scripts_have_unix_line_ends", edit=STARTS, files={"start.sh": START_SCRIPT, ".gitattributes": "*.sh text eol=crlf\n"}, git=(ANY_MODE, ("update-index", "--chmod=+x", "start.sh"), ("commit", "--quiet", "--message=mode"))),
    folder("line-ends-as-committed", "tree.scripts_have_unix_line_ends", edit=STARTS, files={"start.sh": WINDOWS_SCRIPT}, git=EXECUTABLE),
    folder("line-ends-of-a-shells-argument", "tree.scripts_have_unix_line_ends", severity=Severity.RISK, edit=BY_A_SHELL, files={"start.sh": WINDOWS_SCRIPT}),
    folder("line-ends-that-a-step-converts", edit={"Dockerfile": [*STARTS["Dockerfile"], ("USER 1000\n", "RUN sed -i 's/\\r$//' start.sh\nUSER 1000\n")]}, files={"start.sh": WINDOWS_SCRIPT}, git=EXECUTABLE),
    folder("line-ends-by-attributes-lf", edit=STARTS, files={"start.sh": START_SCRIPT, ".gitattributes": "*.sh text eol=lf\n"}, git=(ANY_MODE, ("update-index", "--chmod=+x", "start.sh"), ("commit", "--quiet", "--message=mode"))),
    folder("gitlink-without-address", "tree.submodules_can_be_cloned", severity=Severity.RISK, git=(("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},words"), ("commit", "--quiet", "--message=link"), ("checkout-index", "--force", "--all"))),
    folder("gitlink-over-ssh", "tree.submodules_can_be_cloned", severity=Severity.RISK, files={".gitmodules": '[submodule "words"]\n\tpath = words\n\turl = git@github.com:acme/words.git\n'}, git=(("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},words"), ("commit", "--quiet", "--message=link"), ("checkout-index", "--force", "--all"))),
    folder("gitlink-with-address", files={".gitmodules": '[submodule "words"]\n\tpath = words\n\turl = https://github.com/acme/words\n'}, git=(("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},words"), ("commit", "--quiet", "--message=link"), ("checkout-index", "--force", "--all"))),
    folder("names-by-case", "tree.names_differ_by_more_than_case", files={"Notes.txt": "a", "notes.txt": "b"}),
    folder("link-out-of-the-folder", "tree.links_stay_in_the_folder", files={"model": PurePosixPath("../../models/words")}),
    folder("variable-without-argument", "build.variables_reach_their_step", edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", BUILDS)]}, files=READS_A_VARIABLE),
    folder("argument-before-from", "build.variables_reach_their_step", edit={"Dockerfile": [("FROM python", "ARG WORDS_VERSION=1\nFROM python"), ("WORKDIR /app", "WORKDIR /app\nRUN echo $WORDS_VERSION")]}),
    folder("variable-with-argument", edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", BUILDS.replace("COPY web", "ARG VITE_API_URL\nCOPY web"))]}, files=READS_A_VARIABLE),
    folder("argument-again-below-from", edit={"Dockerfile": [("FROM python", "ARG WORDS_VERSION=1\nFROM python"), ("WORKDIR /app", "WORKDIR /app\nARG WORDS_VERSION\nRUN echo $WORDS_VERSION")]}),
    folder("modules-of-this-machine", "build.takes_no_installed_folder", edit={"Dockerfile": [("COPY --chown=1000:1000 app.py pages.py ./", "RUN npm ci\nCOPY . .")]}, files={"node_modules/left-pad/index.js": "", "package-lock.json": "{}"}),
    folder("modules-kept-out", edit={"Dockerfile": [("COPY --chown=1000:1000 app.py pages.py ./", "RUN npm ci\nCOPY . .")]}, files={".dockerignore": "node_modules\n.git\n", "node_modules/left-pad/index.js": "", "package-lock.json": "{}"}),
    folder("base-has-ended", "build.base_is_maintained", severity=Severity.RISK, edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", "FROM python:3.11-slim-buster\nRUN apt-get update\n")]}),
    folder("package-of-an-older-debian", "build.packages_are_in_the_release", edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", "FROM python:3.11-slim\nRUN apt-get update && apt-get install -y --no-install-recommends libgl1-mesa-glx\n")]}),
    folder("package-of-this-debian", edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", "FROM python:3.11-slim-bookworm\nRUN apt-get update && apt-get install -y --no-install-recommends libgl1-mesa-glx\n")]}),
    folder("package-of-a-stage-that-is-not-built", edit={"Dockerfile": [("FROM python:3.11-slim-bookworm\n", "FROM debian:trixie AS unused\nRUN apt-get update && apt-get install -y libgl1-mesa-glx\nFROM python:3.11-slim-bookworm\n")]}),
    folder("requirements-without-versions", "build.requirements_have_versions", edit={"Dockerfile": [("WORKDIR /app\n", "WORKDIR /app\nCOPY requirements.txt .\nRUN pip install --no-cache-dir -r requirements.txt\n")]}, files={"requirements.txt": "flask\n"}),
    folder("requirements-with-a-lock", edit={"Dockerfile": [("WORKDIR /app\n", "WORKDIR /app\nCOPY requirements.txt .\nRUN pip install --no-cache-dir -r requirements.txt\n")]}, files={"requirements.txt": "flask==3.1.3\n"}),
    folder("workers-for-each-core", "hour.workers_fit_the_cpus", files={"gunicorn.conf.py": "import multiprocessing\n\nworkers = multiprocessing.cpu_count() * 2 + 1\n"}),
    folder("workers-by-number", files={"gunicorn.conf.py": 'import os\n\nworkers = int(os.environ.get("CPU_CORES", 2))\n'}),
)  # fmt: skip
