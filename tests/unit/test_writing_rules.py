"""The paths that an app writes and the files that a build leaves behind, by sources and paths."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from preflight.model.problems import Severity
from preflight.rules.build_inputs import ended_problems, support_of
from preflight.rules.dockerfile import Dockerfile
from preflight.rules.hour import loose_origins, worker_problems
from preflight.rules.left_behind import left_behind
from preflight.rules.sources import Sources
from preflight.rules.writing import database_problem, written_paths

NONE = Sources({}, frozenset())
USER = "user (uid 1000)"


def sources(**files: str) -> Sources:
    return Sources({name.replace("_", "."): text for name, text in files.items()}, frozenset())


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        ('connect("rides.db").execute("INSERT INTO rides VALUES (1)")', Severity.BREAKS),
        ('db = "rides.db"\ndb.session.add(ride)', Severity.BREAKS),
        ('connect("file:rides.db?mode=ro").execute("SELECT 1 FROM rides")', None),
        ('connect("rides.db").execute("SELECT 1 FROM rides")', Severity.ADVICE),
        (
            'connect("rides.db"), connect("/tmp/other.db").execute("INSERT INTO x VALUES (1)")',
            Severity.RISK,
        ),
    ],
)
def test_a_database_counts_by_what_the_app_does_with_it(
    text: str, severity: Severity | None
) -> None:
    """A database that is only read must be sound; of two databases, the written one is unknown."""
    problem = database_problem("/app/rides.db", "root", USER, sources(app_py=text), "")
    assert (problem and problem.severity) == severity


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ('open("uploads/x", "w")', ["/app/uploads/x"]),
        ('open(os.path.join("uploads", name), "wb")', ["/app/uploads/file"]),
        ('(Path(__file__).parent / "cache" / name).write_text("")', ["/app/cache/file"]),
        ('os.makedirs(os.environ.get("DATA", "/srv/data"))', ["/srv/data/"]),
        ('Path.home().joinpath("x")', []),
        ('(Path.home() / ".cache").mkdir()', ["/home/user/.cache/"]),
        ('open("page.html")', []),
        ('upload.save(os.path.join(app.root_path, "uploads", name))', ["/app/uploads/file"]),
        ('image.save(f"out/{name}.png")', ["/app/out/file"]),
        ('user.save(), form.save("draft"), model.save(commit)', []),
        ('open(path, "w")', []),
        ('try:\n    open("x", "w")\nexcept OSError:\n    pass', []),
        ('if __name__ == "__main__":\n    open("x", "w")', []),
    ],
)
def test_a_path_is_read_where_it_is_fixed(line: str, paths: list[str]) -> None:
    """A path that the source gives must be found; a computed, caught or read path must not."""
    found = written_paths(
        sources(app_py=f"import os\nfrom pathlib import Path\n{line}\n"), "/app", "/home/user"
    )
    assert [written.path for written in found] == paths


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ('fs.writeFileSync("notes.json", text)', ["/app/notes.json"]),
        (
            'const FILE = path.join(__dirname, "data", "notes.json"); fs.promises.writeFile(FILE, text)',
            ["/app/data/notes.json"],
        ),
        ('const store = new Database("notes.db")', ["/app/notes.db"]),
        ('const store = new Database("words.db", { readonly: true })', []),
        ('app.use(multer({ dest: "uploads/" }).single("file"))', ["/app/uploads/"]),
        ("fs.mkdirSync(path.join(process.cwd(), 'cache'))", ["/app/cache/"]),
        ("fs.writeFileSync(`out/${name}.png`, image)", ["/app/out/file"]),
        ("fs.writeFileSync(path.join(os.tmpdir(), name), text)", ["/tmp/file"]),
        ('try { fs.writeFileSync("x", y) } catch { skip() }', []),
        ("fs.writeFileSync(target, text)", []),
        ('fs.readFileSync("page.html")', []),
    ],
)
def test_a_path_of_node_is_read_where_it_is_fixed(line: str, paths: list[str]) -> None:
    """Fixed paths in JavaScript must be found: joined paths, databases, folders of uploads."""
    found = written_paths(sources(server_js=line), "/app", "/home/node")
    assert [written.path for written in found] == paths


@pytest.mark.parametrize(
    ("paths", "severities"),
    [
        (["/root/nltk_data/tokenizers/punkt"], [Severity.BREAKS]),
        (["/root/.cache/ms-playwright/chromium-1/chrome"], [Severity.BREAKS]),
        (["/root/.cache/huggingface/hub/x"], [Severity.RISK]),
        (["/root/.cache/pip/x", "/root/.npm/_logs/y", "/root/.bashrc"], []),
        (["/root/.words/en"], [Severity.ADVICE]),
        (["/root/copied/x"], []),
    ],
)
def test_what_root_leaves_counts_by_what_it_is(
    paths: list[str], severities: list[Severity]
) -> None:
    """Files that a library downloads again must be a risk; a build cache or a copy in the home, no finding."""
    found = left_behind(paths, "/home/user", USER, {}, False, NONE, ["/home/user/copied/x", *paths])
    assert [problem.severity for problem in found] == severities


def test_what_the_app_names_breaks() -> None:
    """An unknown folder must break the Space if the running source names it."""
    naming = sources(app_py='(Path.home() / ".words" / "en").read_text()')
    found = left_behind(["/root/.words/en"], "/home/user", USER, {}, False, naming, [])
    assert [problem.severity for problem in found] == [Severity.BREAKS]


def test_a_step_of_the_build_is_distinguished_from_the_app(tmp_path: Path) -> None:
    """A script that only RUN names must count for the build; an imported script must count for the app."""
    for name, text in {"seed.py": "import words", "words.py": "", "app.py": ""}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "Dockerfile").write_text(
        'FROM x\nRUN python seed.py && python words.py\nCMD ["python", "app.py"]\n'
    )
    assert Sources.of_folder(tmp_path, Dockerfile.of_folder(tmp_path)).build_only == {"seed.py"}


@pytest.mark.parametrize(
    ("pattern", "origin"),
    [
        ('allow_origin_regex=r"https://.*\\.example.com"', "https://evil.examplexcom"),
        ("cors({ origin: /^https:\\/\\/www.example\\.com$/ })", "https://wwwxexample.com"),
        ('allow_origin_regex=r"https://([a-z]+\\.)?example\\.com"', None),
        ('origins = ["https://example.com"]', "https://examplexcom"),
    ],
)
def test_an_open_dot_gives_an_origin_to_try(pattern: str, origin: str | None) -> None:
    """An open dot must give an origin to try: only its answer shows whether the text is a pattern."""
    found = [match[0] for match in loose_origins({"app.py": pattern})]
    assert found == ([origin] if origin else [])


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('CMD ["sh", "-c", "uvicorn app:app --workers $(nproc)"]', True),
        ('CMD ["gunicorn", "-w", "-1", "app:app"]', True),
        ('CMD ["gunicorn", "--workers", "2", "app:app"]', False),
        ('CMD ["sh", "-c", "gunicorn --workers ${CPU_CORES:-2} app:app"]', False),
    ],
)
def test_workers_are_not_counted_by_the_hosts_cores(tmp_path: Path, line: str, found: bool) -> None:
    """nproc and os.cpu_count() must be found, because they count the host's cores; CPU_CORES must pass."""
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.11-slim\n{line}\n")
    assert bool(list(worker_problems(Dockerfile.of_folder(tmp_path), {}))) is found


def test_a_base_has_ended_by_its_own_date(tmp_path: Path) -> None:
    """A base image must count as maintained on its last day, and not on the next day."""
    (tmp_path / "Dockerfile").write_text("FROM python:3.9-slim-bookworm\n")
    last = support_of("python:3.9-slim")[0].until
    file = Dockerfile.of_folder(tmp_path)
    assert list(ended_problems(file, last)) == []
    assert len(list(ended_problems(file, last + datetime.timedelta(days=1)))) == 1
    assert support_of("ghcr.io/acme/app:3.9") == []
