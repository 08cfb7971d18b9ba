"""The digest of a failed build must name its cause, for failures of real builds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from preflight.engine.build_log import digest as digest_of_output
from preflight.engine.causes import Stage, cause_in
from preflight.engine.image import BuildError, build
from preflight.engine.run import Run

PYTHON = "FROM python:3.11-slim-bookworm\n"
NODE = "FROM node:24-bookworm-slim\nWORKDIR /app\n"
# Local wheels, so that pip needs no network: a requires c 1, b requires c 2.
WHEELS = """RUN <<EOF
python - <<'END'
import zipfile
for name, version, needs in (("a", "1", "c==1"), ("b", "1", "c==2"), ("c", "1", ""), ("c", "2", "")):
    with zipfile.ZipFile(f"/tmp/{name}-{version}-py3-none-any.whl", "w") as wheel:
        requires = f"Requires-Dist: {needs}\\n" if needs else ""
        folder = f"{name}-{version}.dist-info"
        wheel.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n{requires}")
        wheel.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{folder}/RECORD", "")
END
EOF
"""
# The same for npm, from a registry in the build step: b requires c 2, the app c 1.
NPM_REGISTRY = """RUN <<EOF
cat >registry.js <<'END'
const version = (name, version, rest) => ({ name, version, dist: { tarball: "http://127.0.0.1:4873/" }, ...rest });
const packages = {
  b: { "1.0.0": version("b", "1.0.0", { peerDependencies: { c: "2" } }) },
  c: { "1.0.0": version("c", "1.0.0"), "2.0.0": version("c", "2.0.0") },
};
require("http").createServer((request, answer) => {
  const name = request.url.slice(1), versions = packages[name] ?? {};
  answer.end(JSON.stringify({ name, versions, "dist-tags": { latest: Object.keys(versions).at(-1) } }));
}).listen(4873);
END
EOF
"""
OFFLINE_PIP = "pip install --no-index --find-links /tmp"
# The header of an ELF file for aarch64 (machine 0xb7).
OTHER_PLATFORM = (
    r"printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000\267\000'"
    " >/program && chmod +x /program"
)


@dataclass(frozen=True)
class Case:
    """A Dockerfile whose build fails; the step, a line and the cause that the digest must name."""

    dockerfile: str | None
    step: str
    line: str
    cause: str


CASES = {
    "no Dockerfile": Case(
        None, "reading the Dockerfile", "failed to read dockerfile", "no Dockerfile at the root"
    ),
    "empty Dockerfile": Case("", "reading the Dockerfile", "cannot be empty", "syntax error"),
    "missing file": Case(
        PYTHON + "COPY requirements.txt .\n",
        "COPY requirements.txt .",
        "/requirements.txt",
        "a file that COPY or ADD names is not in the build context",
    ),
    "no such base image": Case(
        "FROM 127.0.0.1:1/absent/image:this\n",
        "load metadata for 127.0.0.1:1/absent/image:this",
        "connection refused",
        "a base image can't be pulled",
    ),
    "uid taken": Case(
        NODE + "RUN useradd --uid 1000 user\n",
        "RUN useradd --uid 1000 user",
        "useradd: UID 1000 is not unique",
        "already has a user with uid 1000",
    ),
    "other platform": Case(
        PYTHON + f"RUN {OTHER_PLATFORM} && /program\n",
        "&& /program",
        "Exec format error",
        "for another platform",
    ),
    "not allowed": Case(
        PYTHON + "USER 1000\nRUN mkdir /opt/cache\n",
        "RUN mkdir /opt/cache",
        "Permission denied",
        "a step writes where its user may not",
    ),
    "killed": Case(
        PYTHON + "RUN sh -c 'kill -9 $$'\n", "kill -9", "exit code: 137", "ran out of memory"
    ),
    "pip conflict": Case(
        PYTHON + WHEELS + f"RUN {OFFLINE_PIP} a b\n",
        "RUN pip install",
        "ResolutionImpossible",
        "the dependencies can't be resolved together",
    ),
    "pip hash": Case(
        PYTHON
        + WHEELS
        + f"RUN echo 'c==1 --hash=sha256:{'0' * 64}' >/tmp/requirements.txt"
        + f" && {OFFLINE_PIP} -r /tmp/requirements.txt\n",
        "/tmp/requirements.txt",
        "DO NOT MATCH THE HASHES",
        "differs from the locked hash",
    ),
    "pip without network": Case(
        PYTHON + "RUN --network=none pip install --retries=1 anything\n",
        "RUN --network=none pip install",
        "No matching distribution found",
        "the build has no network",
    ),
    "npm conflict": Case(
        NODE
        + NPM_REGISTRY
        + "RUN node registry.js & npm install --fetch-retries=0 --registry=http://127.0.0.1:4873 b c@1\n",
        "npm install --fetch-retries=0",
        "Fix the upstream dependency conflict",
        "the dependencies can't be resolved together",
    ),
    "npm lock": Case(
        NODE
        + """RUN <<EOF
echo '{"name": "a", "version": "1.0.0", "dependencies": {"b": "1"}}' >package.json
echo '{"name": "a", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "a"}}}' >package-lock.json
EOF
RUN npm ci --fetch-retries=0
""",
        "RUN npm ci",
        "npm error",
        "package.json and package-lock.json disagree",
    ),
    "npm without network": Case(
        NODE + "RUN --network=none npm install --fetch-retries=0 anything\n",
        "RUN --network=none npm install",
        "npm error",
        "the build has no network",
    ),
}


@pytest.fixture(scope="module")
def digest_of(
    run: Run, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], str]:
    """The digest of a case's build."""
    folder = tmp_path_factory.mktemp("build-log")
    selected = {
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and "digest_of" in item.fixturenames
    }
    pool = ThreadPoolExecutor(max_workers=4)
    started: dict[str, Future[str]] = {}

    def provoke(name: str) -> str:
        context = folder / name.replace(" ", "-")
        context.mkdir()
        dockerfile = CASES[name].dockerfile
        if dockerfile is not None:
            (context / "Dockerfile").write_text(dockerfile)
        try:
            build(run, context.name, context)
        except BuildError as error:
            return str(error)
        raise AssertionError(f"{name}: the build did not fail")

    def digest(name: str) -> str:
        for chosen in started.keys() ^ (selected | {name}):
            started[chosen] = pool.submit(provoke, chosen)
        return started[name].result()

    return digest


@pytest.mark.parametrize("name", CASES)
def test_the_digest_must_name_step_line_and_cause(
    name: str, digest_of: Callable[[str], str]
) -> None:
    case = CASES[name]
    head, step, *lines, cause, fix, log = digest_of(name).splitlines()
    assert head == "the build failed"
    assert step.startswith("step:  ") and case.step in step
    assert any(case.line in line for line in lines), lines
    assert cause.startswith("cause: ") and case.cause in cause, lines
    assert fix.startswith("fix:   ")
    assert Path(log.removeprefix("full log: ")).is_file()


def test_the_digest_holds_the_line_with_the_cause() -> None:
    """The digest must keep the line with the cause, even if the step prints much after it."""
    after = "\n".join(f"#6 0.2 INFO: line {number}" for number in range(30))
    said = f"#6 [2/3] RUN pip install\n#6 0.1 ERROR: ResolutionImpossible\n{after}\n#6 ERROR: exit code: 1\n"
    found = digest_of_output(said)
    assert "resolved together" in found.cause
    assert found.last_lines[0] == "ERROR: ResolutionImpossible"
    assert found.last_lines[-2:] == ["INFO: line 29", "exit code: 1"]


def test_a_missing_system_library_is_no_missing_module() -> None:
    """An ImportError for a shared library must lead to a Debian package, and another one to the requirements."""
    library = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    found = cause_in(library, Stage.START)
    assert found and "apt-get install" in str(found.at_start)
    module = cause_in("ModuleNotFoundError: No module named 'cv2'", Stage.START)
    assert module and "requirements" in str(module.at_start)
