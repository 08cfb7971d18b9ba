"""A line of a failed build or start must lead to its cause and a fix that removes it."""

from __future__ import annotations

import pytest

from preflight.engine.causes import CAUSES, Stage, cause_in, with_cause

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
    (BUILD, "write /layer: no space left on device", "docker system prune"),
    (BUILD, "ERROR: failed to solve: dockerfile parse error on line 3: unknown flag: link", "correct the line"),
    (BUILD, "ERROR: failed to read dockerfile: open Dockerfile: no such file or directory", "/Dockerfile"),
    (BUILD, "useradd: UID 1000 is not unique", "use that user"),
    (BUILD, "groupadd: GID '1000' already exists", "USER 1000"),
    (BUILD, "useradd: user 'node' already exists", "USER 1000"),
    (BUILD, "addgroup: gid '1000' in use", "USER 1000"),
    (BUILD, "adduser: unrecognized option: disabled-password", "adduser -D"),
    (BUILD, "/bin/sh: useradd: not found", "adduser -D"),
    (START, "KeyError: 'getpwuid(): uid not found: 1000'", "useradd"),
    (BUILD, "Please select the geographic area in which you live.", "noninteractive"),
    (BUILD, "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?", "install -y git"),
    (BUILD, "fatal: could not read Username for 'https://github.com': No such device or address", "--mount=type=secret"),
    (BUILD, "error: pathspec 'v2' did not match any file(s) known to git", "correct the name"),
    (BUILD, "curl: (22) The requested URL returned error: 404", "check the address"),
    (BUILD, "curl: (60) SSL certificate problem: unable to get local issuer certificate", "ca-certificates"),
    (START, "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "ca-certificates"),
    (BUILD, "tar: This does not look like a tar archive", "curl --fail"),
    (BUILD, "ERROR: Invalid requirement: '<<<<<<< HEAD': Expected package name at the start", "correct that line"),
    (BUILD, "go: go.mod requires go >= 1.25 (running go 1.21.0; GOTOOLCHAIN=local)", "version that the code asks for"),
    (BUILD, "error: package `clap v4.5.0` cannot be built because it requires rustc 1.74 or newer", "version that the code asks for"),
    (START, "java.lang.UnsupportedClassVersionError: App has been compiled by a more recent version", "version that the code asks for"),
    (START, "ModuleNotFoundError: No module named 'distutils'", "setuptools"),
    (START, "AttributeError: module 'collections' has no attribute 'Mapping'", "the Python of your machine"),
    (START, "TypeError: unsupported operand type(s) for |: 'type' and 'NoneType'", "the Python of your machine"),
    (BUILD, "fatal: unable to access 'https://git.example/': Could not resolve host: git.example", "network of this machine"),
    (START, "socket.gaierror: [Errno -5] No address associated with hostname", "in the background"),
    (START, 'connection to server at "db.x.example" (2a05:d014:1c06::1), port 5432 failed: Network is unreachable', "IPv4"),
    (START, 'could not translate host name "db" to address: Name or service not known', "one container"),
    (START, "Error: getaddrinfo ENOTFOUND postgres", "one container"),
    (START, "tcp: lookup redis on 127.0.0.11:53: no such host", "one container"),
    (BUILD, 'ERROR: failed to solve: target stage "production" could not be found', "AS name"),
    (BUILD, "ERROR: failed to solve: builder: pull access denied, repository does not exist", "COPY --from"),
    (BUILD, "ERROR: failed to solve: failed to compute cache key: \"/a\": not found", ".dockerignore"),
    (BUILD, "ERROR: no match for platform in manifest: not found", "linux/amd64"),
    (START, "exec /app/server: exec format error", "linux/amd64"),
    (START, "exec ./start.sh: exec format error", "first line: #!/bin/sh"),
    (START, 'exec: "cd": executable file not found in $PATH', "WORKDIR"),
    (START, 'exec: "python app.py": executable file not found in $PATH', "WORKDIR"),
    (START, "PermissionError: [Errno 13] Permission denied: '/data/uploads'", "Storage Bucket"),
    (START, "mkdir: cannot create directory '/data': Permission denied", "Storage Bucket"),
    (BUILD, "ERROR: Could not find a version that satisfies the requirement torch==1.7.1 (from versions: 2.1)", "of the list"),
    (BUILD, "npm error 404 Not Found - GET /@acme%2fui", ".npmrc"),
    (BUILD, "npm error code ERESOLVE", "lock again"),
    (BUILD, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "lock again"),
    (BUILD, "npm error `npm ci` can only install with an existing package-lock.json", "package-lock.json"),
    (BUILD, "Error: Cannot find module @rollup/rollup-linux-x64-gnu.", "package-lock.json"),
    (START, 'Error: Could not load the "sharp" module using the linux-x64 runtime', "package-lock.json"),
    (BUILD, 'This project\'s package.json defines "packageManager": "yarn@4.0.2".', "corepack enable"),
    (BUILD, "Module not found: Error: Can't resolve './components/Header' in '/app/src'", "case"),
    (BUILD, "Treating warnings as errors because process.env.CI = true.", "CI=false"),
    (BUILD, 'Error occurred prerendering page "/dashboard".', "force-dynamic"),
    (BUILD, "main.go:4:2: no required module provides package example.com/gin", "go mod tidy"),
    (BUILD, "./main.go:12:2: undefined: handler", "lines that it names"),
    (BUILD, "error: could not compile `app` (bin \"app\") due to 2 previous errors", "lines that it names"),
    (BUILD, "without having set the STATIC_ROOT setting to a filesystem path.", "STATIC_ROOT ="),
    (BUILD, "KeyError: 'DATABASE_URL'", "ARG NAME"),
    (START, "Error: Invalid value for '--port': '$PORT' is not a valid integer.", "shell form"),
    (START, "Error: '$PORT' is not a valid port number.", "shell form"),
    (START, "Error: Option '--port' requires an argument.", "a default"),
    (START, "Error: '' is not a valid port number.", "a default"),
    (START, "exec: /start.sh: permission denied", "chmod"),
    (BUILD, "/bin/sh: 1: ./mvnw: Permission denied", "chmod"),
    (BUILD, "/bin/sh: ./gradlew: not found", "eol=lf"),
    (START, 'TypeError [ERR_UNKNOWN_FILE_EXTENSION]: Unknown file extension ".ts" for /app/server.ts', "Node 24"),
    (START, "SyntaxError [ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX]: TypeScript enum is not supported in strip-only mode", "compile it"),
    (START, "RuntimeError: Directory 'static' does not exist", "COPY it"),
    (START, "jinja2.exceptions.TemplateNotFound: index.html", "COPY it"),
    (START, "no main manifest attribute, in /app/app.jar", "bootJar"),
    (START, "PHP Fatal error:  Uncaught Error: Failed opening required '/app/vendor/autoload.php'", "composer install"),
    (START, "Process terminated. Couldn't find a valid ICU package installed on the system.", "INVARIANT"),
    (START, "exec /app/server: no such file or directory", "CRLF"),
    (START, "/app/start.sh: line 3: gunicorn: command not found", "in the image"),
    (START, "OSError: [Errno 30] Read-only file system: '/app/x'", "/tmp"),
    (START, "AH00072: make_sock: could not bind to address 0.0.0.0:80", "app_port"),
    (START, "chown: changing ownership of '/data': Operation not permitted", "before USER"),
    (START, '"root" execution of the PostgreSQL server is not permitted.', "USER 1000"),
    (START, "PermissionError: [Errno 13] Permission denied: '/.cache'", "HOME="),
    (START, "npm ERR! Error: EACCES: permission denied, mkdir '/.npm'", "HOME="),
    (START, 'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (13: Permission denied)', "nginx.conf"),
    (START, "RuntimeError: cannot cache function '__shear': no locator available for file '/a.py'", "NUMBA_CACHE_DIR"),
    (START, "fatal: detected dubious ownership in repository at '/app'", "safe.directory"),
    (START, "PermissionError: [Errno 13] Permission denied: 'uploads'", "--chown"),
    (START, "RuntimeError: Found no NVIDIA driver on your system.", "map_location"),
    (START, "Error: Could not find Chrome (ver. 121.0.6167.85).", "PUPPETEER_CACHE_DIR"),
    (START, "ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
    (START, "pytesseract.pytesseract.TesseractNotFoundError: tesseract is not installed or it's not in your PATH.", "tesseract-ocr"),
    (START, "FileNotFoundError: [Errno 2] No such file or directory: 'ffmpeg'", "ffmpeg"),
    (START, "OSError: [E050] Can't find model 'en_core_web_sm'.", "spacy download"),
    (START, "_pickle.UnpicklingError: invalid load key, 'v'.", "git lfs"),
    (START, "RuntimeError: Your system has an unsupported version of sqlite3.", "newer base image"),
    (START, "Illegal instruction (core dumped)", "x86-64"),
    (START, "streamlit.errors.StreamlitSecretNotFoundError: No secrets found.", "os.environ"),
    (START, "ServerSelectionTimeoutError: SSL handshake failed: [SSL: TLSV1_ALERT_INTERNAL_ERROR]", "Network Access"),
    (START, "django.db.utils.OperationalError: no such table: auth_user", "migrate"),
    (START, "SyntaxError: invalid syntax", "Python of your machine"),
    (START, "Error: connect ECONNREFUSED 127.0.0.1:5432", "one container"),
    (START, "FileNotFoundError: [Errno 2] No such file or directory: 'models/model.pkl'", "COPY it"),
    (START, "OSError: [Errno 98] Address already in use", "one server"),
    (BUILD, 'process "/bin/sh -c npm run build" did not complete successfully: exit code: 137', "smaller"),
)  # fmt: skip


@pytest.mark.parametrize(("stage", "line", "fix"), LINES, ids=[line[:40] for _, line, _ in LINES])
def test_the_line_must_lead_to_its_fix(stage: Stage, line: str, fix: str) -> None:
    found = cause_in(line, stage)
    assert found, "the cause is not recognised"
    assert fix in str(found.fix(stage))


def test_each_cause_must_have_a_line_that_leads_to_it() -> None:
    led = {cause_in(line, stage) for stage, line, _ in LINES}
    assert not [cause.what for cause in CAUSES if cause not in led]


# What a similar line must not be taken for.
LOOK_ALIKES = (
    (START, "PermissionError: [Errno 13] Permission denied: '/root/.cache/huggingface'", "only root may enter /root"),
    (START, "Error: listen EADDRINUSE: address already in use 0.0.0.0:7860", "ports below 1024 need root"),
    (START, "OSError: [Errno 28] No space left on device", "a program watches files"),
    (BUILD, "ERROR: No matching distribution found for no-such-package==1.0", "a package does not support the base image's Python"),
    (BUILD, "npm warn EBADENGINE Unsupported engine {", "the base image's Node is too old for a package"),
    (START, "PermissionError: [Errno 13] Permission denied: '/home/user/.cache'", "the user has no home folder, so programs write below /"),
    (START, "PermissionError: [Errno 13] Permission denied: '/app/data'", "/data is not there, or belongs to root, unless storage is mounted"),
    (START, 'exec: "gunicorn": executable file not found in $PATH', "CMD or ENTRYPOINT in exec form (with brackets) runs no shell, and each word needs its own quotes"),
    (START, "getaddrinfo ENOTFOUND db.example.com", "the app connects to a service of a compose.yaml, which does not exist on the Hub"),
    (START, "ConnectionError: Failed to resolve 'api.example.com'", "the app connects to a service of a compose.yaml, which does not exist on the Hub"),
    (START, "KeyError: 'getpwuid'", "the process runs as a uid that has no user in the image"),
    (START, "OSError: [Errno 101] Network is unreachable", "the database's host has an IPv6 address alone, and there is no IPv6"),
    (BUILD, "sh: 1: tsc: not found", "a script is not in the image, or the interpreter of its first line is not: often because its lines end with CRLF"),
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
