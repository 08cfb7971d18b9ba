"""A line of a failed build or start must lead to its cause and a fix that removes it."""

from __future__ import annotations

import pytest

from preflight.engine.causes import Stage, cause_in, with_cause

BUILD, START = Stage.BUILD, Stage.START
# Lines as the tools print them, and words of the fix.
LINES = (
    (BUILD, "unable to find user user: no matching entries in passwd file", "useradd"),
    (START, "docker: Error response from daemon: unable to find user app: no matching entries in passwd file", "useradd"),
    (BUILD, "E: Unable to locate package software-properties-common", "packages.debian.org"),
    (BUILD, "E: Package 'libgl1-mesa-glx' has no installation candidate", "libgl1"),
    (BUILD, "E: Failed to fetch http://mirror.example/curl_7.deb  404  Not Found [IP: 1.2.3.4 80]", "apt-get update"),
    (BUILD, "E: The repository 'http://mirror.example buster Release' does not have a Release file.", "maintained release"),
    (BUILD, "ERROR: unable to select packages:\n  python2 (no such package):", "pkgs.alpinelinux.org"),
    (BUILD, "ERROR: Could not open requirements file: [Errno 2] No such file or directory: 'requirements.txt'", "COPY that file"),
    (BUILD, "npm error Could not read package.json: Error: ENOENT: no such file or directory, open '/app/package.json'", "COPY that file"),
    (BUILD, "ERROR: Package 'demo' requires a different Python: 3.9.25 not in '>=3.10'", "base image with a Python"),
    (BUILD, "error: externally-managed-environment", "python3 -m venv"),
    (BUILD, "Error: pg_config executable not found.", "build-essential"),
    (BUILD, "error: command 'gcc' failed: No such file or directory", "build-essential"),
    (BUILD, "/bin/sh: 1: make: not found", "build-essential"),
    (BUILD, "npm error gyp ERR! find Python Python is not set from command line", "build-essential"),
    (BUILD, "ERROR: Failed building wheel for tokenizers", "build-essential"),
    (BUILD, "sh: 1: vite: not found", "--omit=dev"),
    (BUILD, "Error: error:0308010C:digital envelope routines::unsupported", "webpack 5"),
    (BUILD, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "--max-old-space-size"),
    (BUILD, "npm error code EBADENGINE", "newer base image"),
    (BUILD, "You are using Node.js 18.20.4. For Next.js, Node.js version >= v20.9.0 is required.", "newer base image"),
    (BUILD, 'npm error Missing script: "build"', "add the script"),
    (BUILD, "src/app.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.", "here"),
    (BUILD, " ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with \"frozen-lockfile\"", "lock again"),
    (BUILD, "The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.", "lock again"),
    (BUILD, "huggingface_hub.errors.GatedRepoError: 401 Client Error.", "--mount=type=secret"),
    (START, "OSError: You are trying to access a gated repo. Cannot access gated repo for url", "HF_TOKEN"),
    (START, 'ERROR:    Error loading ASGI app. Could not import module "main".', "app.main:app"),
    (START, 'ERROR:    Error loading ASGI app. Attribute "app" not found in module "main".', "app.main:app"),
    (START, "Failed to find attribute 'app' in 'main'.", "app.main:app"),
    (START, "python: can't open file '/app/main.py': [Errno 2] No such file or directory", "COPY that file"),
    (START, "Error: Cannot find module '/app/server.js'", "COPY that file"),
    (START, "Error: Cannot find module '/app/dist/index.js'", "npm run build"),
    (START, "Error: Could not find a production build in the '.next' directory.", "npm run build"),
    (START, "/usr/local/bin/python: No module named uvicorn", "requirements"),
    (START, 'RuntimeError: Form data requires "python-multipart" to be installed.', "requirements"),
    (START, "Error: Cannot find module 'express'", "install the module"),
    (START, "SyntaxError: Cannot use import statement outside a module", '"type"'),
    (START, "ReferenceError: require is not defined in ES module scope, you can use import instead", '"type"'),
    (START, "ImportError: cannot import name 'url_quote' from 'werkzeug.urls'", "versions"),
    (START, "ValueError: numpy.dtype size changed, may indicate binary incompatibility.", "versions"),
    (START, "TypeError: Client.__init__() got an unexpected keyword argument 'proxies'", "versions"),
    (START, "Error: /app/node_modules/bcrypt/lib/bcrypt_lib.node: invalid ELF header", ".dockerignore"),
    (START, "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by ./server)", "same base image"),
    (START, "PrismaClientInitializationError: Prisma Client could not locate the Query Engine for runtime", "prisma generate"),
    (START, "sqlite3.OperationalError: unable to open database file", "install -d"),
    (START, "/usr/bin/python3: can't open file '/root/.local/bin/uvicorn': [Errno 13] Permission denied", "/opt/venv"),
    (START, "nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", "app_port"),
    (START, "Error: ENOSPC: System limit for number of file watchers reached, watch '/app'", "production server"),
)  # fmt: skip


@pytest.mark.parametrize(("stage", "line", "fix"), LINES, ids=[line[:40] for _, line, _ in LINES])
def test_the_line_must_lead_to_its_fix(stage: Stage, line: str, fix: str) -> None:
    found = cause_in(line, stage)
    assert found, "the cause is not recognised"
    assert fix in str(found.fix(stage))


# What a similar line must not be taken for.
LOOK_ALIKES = (
    (START, "PermissionError: [Errno 13] Permission denied: '/root/.cache/huggingface'", "only root may enter /root"),
    (START, "Error: listen EADDRINUSE: address already in use 0.0.0.0:7860", "ports below 1024 need root"),
    (START, "OSError: [Errno 28] No space left on device", "a program watches files"),
    (BUILD, "ERROR: No matching distribution found for no-such-package==1.0", "a package does not support the base image's Python"),
    (BUILD, "npm warn EBADENGINE Unsupported engine {", "the base image's Node is too old for a package"),
    (START, "ModuleNotFoundError: No module named 'flask'", "the start command names a file or an app that is not there"),
)  # fmt: skip


@pytest.mark.parametrize(("stage", "line", "cause"), LOOK_ALIKES)
def test_a_similar_line_must_not_get_another_cause(stage: Stage, line: str, cause: str) -> None:
    found = cause_in(line, stage)
    assert found is None or found.what != cause


def test_the_line_with_the_cause_must_be_shown() -> None:
    """A server prints on after its fault; the line that tells it must come first."""
    fault = "Failed to find attribute 'app' in 'main'."
    log = [fault, *(f"line {number}" for number in range(20))]
    cause = cause_in(fault, START)
    assert with_cause(log[-3:], log, 3, cause) == [fault, "line 18", "line 19"]
    assert with_cause([fault, "the end"], [fault, "the end"], 3, cause) == [fault, "the end"]
    assert with_cause(log[-3:], log, 3, None) == ["line 17", "line 18", "line 19"]
