"""The table of causes: patterns in the log of a failed build or start, the cause and the fix.

Standard library only: `preflight up` uses it before anything is installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    BUILD = "build"
    START = "start"


@dataclass(frozen=True)
class Cause:
    """A pattern in a log, the cause, and the fix at each stage where it occurs."""

    pattern: str
    what: str
    at_build: str | None = None
    at_start: str | None = None

    def fix(self, stage: Stage) -> str | None:
        return self.at_build if stage is Stage.BUILD else self.at_start

    def found_in(self, text: str) -> bool:
        return re.search(self.pattern, text, re.I | re.M) is not None


def cause_in(text: str, stage: Stage) -> Cause | None:
    """The most specific cause of a failure at `stage`; None when no pattern matches."""
    return next((cause for cause in CAUSES if cause.fix(stage) and cause.found_in(text)), None)


# Colours and other control sequences of a terminal. Source: ECMA-48, 5.4.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(text: str) -> str:
    """The text of a log without terminal escapes."""
    return _ESCAPES.sub("", text)


def last_lines(text: str, count: int) -> list[str]:
    """The last lines that are not blank."""
    return [line for line in text.splitlines() if line.strip()][-count:]


def with_cause(
    last: Sequence[str], log: Sequence[str], count: int, cause: Cause | None
) -> list[str]:
    """At most `count` of the last lines; the line of `log` with the cause comes first if none of them has it.

    Standard and error output are interleaved, and a server prints on after its fault.
    """
    telling = [line for line in log if cause and cause.found_in(line)]
    if not telling or any(line in telling for line in last):
        return list(last)
    return [telling[-1], *last[1 - count :]]


def indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line[:300]}" for line in lines)


NO_NETWORK = Cause(
    r"Temporary failure in name resolution|EAI_AGAIN|Could not resolve host|Network is unreachable"
    r"|ENETUNREACH|ETIMEDOUT|Temporary failure resolving",
    "the build has no network, or the host name does not exist",
    "check the network of this machine and proxy settings of the engine",
)
NO_NETWORK_AT_START = Cause(
    rf"{NO_NETWORK.pattern}|Name or service not known|\bENOTFOUND\b|Failed to resolve"
    r"|No address associated with hostname|LocalEntryNotFoundError|check your (internet )?connection",
    "a host name has no address, or there is no network",
    None,
    "check the host name, and connect in the background: the server then answers meanwhile",
)

# Most specific first.
CAUSES = (
    Cause(
        r"System limit for number of file watchers|inotify watch limit",
        "a program watches files",
        "build once, without a watcher",
        "start the production server: it watches no files",
    ),
    Cause(
        r"no space left on device|Errno 28\b|ENOSPC",
        "the disk is full",
        "free some space, for example: docker system prune",
        "write less to the disk: the Hub's is 50 GB and is lost at each restart",
    ),
    Cause(
        r"dockerfile parse error|unknown instruction|Dockerfile cannot be empty",
        "the Dockerfile has a syntax error",
        "correct the line named above",
    ),
    Cause(
        r"failed to read dockerfile|Cannot locate Dockerfile",
        "there is no Dockerfile at the root of the folder",
        "the Hub builds /Dockerfile of the Space and no other; put it there",
    ),
    Cause(
        r"UID 1000 is not unique|uid 1000 already exists",
        "the base image already has a user with uid 1000 (node:*, ubuntu:24.04)",
        "use that user instead of adding one",
    ),
    Cause(
        r"unable to find (user|group) \S+: no matching entries",
        "a step or the start names a user or group that the image does not have",
        "create it in a step before USER: RUN useradd --create-home --uid 1000 user; node images have `node`",
        "create it in the image: RUN useradd --create-home --uid 1000 user; node images have `node`",
    ),
    Cause(
        r"Unable to locate package|has no installation candidate|Couldn't find any package by",
        "apt does not have a package in the base image's release",
        "run `apt-get update` in the same RUN, and take the package's name in that release from "
        "packages.debian.org, such as libgl1 for libgl1-mesa-glx",
    ),
    Cause(
        r"unable to select packages|\(no such package\)",
        "apk does not have a package in the base image's release",
        "take the package's name in that release from pkgs.alpinelinux.org",
    ),
    Cause(
        r"does not have a Release file|does not have a stable release|no longer has a Release file",
        "the base image's Debian or Ubuntu release has left the mirrors",
        "use a base image of a maintained release",
    ),
    Cause(
        r"404 +Not Found \[IP",
        "apt's lists are older than the mirror",
        "run `apt-get update` in the same RUN as `apt-get install`",
    ),
    Cause(
        r"Could not open requirements file|Could not read package\.json|No pyproject\.toml found"
        r"|neither 'setup\.py' nor 'pyproject\.toml' found|Couldn't find a package\.json"
        r"|No package\.json (was )?found|could not find a pyproject\.toml",
        "the step runs before the file that it reads is in the image",
        "COPY that file before the step, into the step's WORKDIR",
    ),
    Cause(
        r"failed to compute cache key.*not found|failed to calculate checksum.*not found|COPY failed",
        "a file that COPY or ADD names is not in the build context",
        "check its path, .dockerignore and .gitignore; the Hub has only what is committed",
    ),
    Cause(
        r"no match for platform|exec format error|no matching manifest",
        "the image or a program in it is for another platform",
        "the Hub runs linux/amd64: build for that platform",
        "build for linux/amd64",
    ),
    Cause(
        r"requires a different Python|Requires-Python|require a different python version"
        r"|requires Python [<>=~!]|requires-python",
        "a package does not support the base image's Python",
        "use a base image with a Python that the package supports, or another release of the package",
    ),
    NO_NETWORK,
    NO_NETWORK_AT_START,
    Cause(
        r"failed to resolve source metadata|pull access denied|manifest unknown|no such host",
        "a base image can't be pulled",
        "check its name and tag, and that its registry answers: docker pull NAME",
    ),
    Cause(
        r"GatedRepoError|Access to model .* is restricted|Cannot access gated repo|RepositoryNotFoundError",
        "a model or dataset of the Hub is private, gated or misspelt",
        "check its name, accept its terms, and mount a token in that step: RUN --mount=type=secret,id=HF_TOKEN,mode=0444",
        "check its name, accept its terms, and enter HF_TOKEN as a Secret of the Space",
    ),
    Cause(
        r"ResolutionImpossible|ERESOLVE|conflicting dependencies|No matching distribution found|ETARGET",
        "the dependencies can't be resolved together",
        "correct the versions, lock again and commit the lock file",
    ),
    Cause(
        r"DO NOT MATCH THE HASHES|EINTEGRITY",
        "a downloaded package differs from the locked hash",
        "lock again; if it persists, do not trust that package",
    ),
    Cause(
        r"npm ci.*can only install|`npm ci` can only install",
        "package.json and package-lock.json disagree, or there is no package-lock.json",
        "run `npm install` and commit package-lock.json",
    ),
    Cause(
        r"ERR_PNPM_OUTDATED_LOCKFILE|ERR_PNPM_NO_LOCKFILE|YN0028|Your lockfile needs to be updated"
        r"|lockfile at `uv\.lock` needs to be updated|pyproject\.toml changed significantly"
        r"|lockfile had changes, but lockfile is frozen",
        "the lock file is missing or older than the list of dependencies",
        "lock again with the package manager of the step and commit the lock file",
    ),
    Cause(
        r"externally-managed-environment",
        "pip may not install into the system's Python of this base image",
        "install into a virtual environment: RUN python3 -m venv /opt/venv, and ENV PATH=/opt/venv/bin:$PATH",
    ),
    Cause(
        r"pg_config executable not found|pg_config is required|mysql_config not found"
        r"|command '[\w/-]*(gcc|g\+\+|cc|c\+\+|clang)[\w.-]*' failed|unable to execute '?(gcc|g\+\+|cc)\b"
        r"|\b(gcc|g\+\+|cc|make|cmake|cargo|rustc): (command )?not found|No CMAKE_C(XX)?_COMPILER|Rust not found"
        r"|Cargo, the Rust package manager, is not installed|can't find Rust compiler"
        r"|gyp ERR! find Python|not found: make$|fatal error: \S+\.h: No such file|Failed building wheel"
        r"|Failed to build installable wheels",
        "a package has no ready build for this base image, and compiling it fails",
        "choose a version of the language for which the package has one; or install what it compiles with: "
        "RUN apt-get update && apt-get install -y build-essential, and the -dev package of a missing library",
    ),
    Cause(
        r"digital envelope routines::unsupported|ERR_OSSL_EVP_UNSUPPORTED",
        "the bundler is too old for the base image's Node",
        "upgrade the bundler (webpack 5, react-scripts 5); until then NODE_OPTIONS=--openssl-legacy-provider in that step",
        "upgrade the bundler (webpack 5, react-scripts 5), and build in the image instead of at the start",
    ),
    Cause(
        r"JavaScript heap out of memory|Reached heap limit",
        "Node reached the limit of its heap",
        "raise it in that step: RUN NODE_OPTIONS=--max-old-space-size=4096 npm run build",
        "raise it: ENV NODE_OPTIONS=--max-old-space-size=4096, or keep less in memory",
    ),
    Cause(
        r"npm (error|ERR!) code EBADENGINE|npm (error|ERR!) notsup|ERR_PNPM_UNSUPPORTED_ENGINE|engine \"node\" is incompatible"
        r"|Node\.js version .{1,20} is required",
        "the base image's Node is too old for a package",
        "use a newer base image, such as node:24-bookworm-slim",
        "use a newer base image, such as node:24-bookworm-slim",
    ),
    Cause(
        r"Missing script: ",
        "package.json has no script of that name",
        "add the script to package.json, or correct its name in the step",
        "add the script to package.json, or correct its name in CMD",
    ),
    Cause(
        r"\berror TS\d+:|^Type error: ",
        "TypeScript finds errors",
        "run the same build here, and correct the lines that it names",
        "build in the image, and correct the lines that TypeScript names",
    ),
    Cause(
        r"exec \S+: no such file or directory|bad interpreter|env: .*\\r",
        "the command's interpreter is not in the image",
        None,
        "check the script's first line: CRLF line ends, or an interpreter that the image lacks",
    ),
    Cause(
        r"executable file not found|: command not found|: not found$",
        "a program is not in the image",
        "install the program in a step before; a tool of devDependencies is left out by --omit=dev and "
        "NODE_ENV=production",
        "install the program in the image, or correct its name in CMD or ENTRYPOINT",
    ),
    Cause(
        r"Errno 30\b|EROFS|Read-only file system",
        "the disk is read-only there",
        None,
        "write below the home folder or /tmp only",
    ),
    Cause(
        r"listen EACCES|error while attempting to bind on address.*permission denied"
        r"|bind\(?\)? .*\(13: Permission denied\)|Can't connect to \('[\d.]*', \d{1,3}\)"
        r"|listen tcp \S*:\d{1,3}: bind: permission denied",
        "ports below 1024 need root",
        None,
        "listen on 7860, and write `app_port: 7860` in the front matter of README.md",
    ),
    Cause(
        r"/root/\S*(bin|lib|site-packages|node_modules)\S* .*Permission denied",
        "only root may enter /root",
        "install into a folder that each user may read, such as /opt/venv, or the user's home folder",
        "install into a folder that each user may read, such as /opt/venv, or the user's home folder",
    ),
    Cause(
        r"unable to open database file|attempt to write a readonly database|SQLITE_CANTOPEN|SQLITE_READONLY",
        "SQLite may not create or write the database's file",
        "create its folder for the image's user: RUN install -d -o 1000 -g 1000 FOLDER",
        "create its folder for the image's user: RUN install -d -o 1000 -g 1000 FOLDER",
    ),
    Cause(
        r"Errno 13\b|EACCES|Permission denied",
        "a step writes where its user may not",
        "do it before USER, or COPY with --chown",
        "give the file to the image's user (COPY --chown=1000:1000), or write below the home folder or /tmp",
    ),
    Cause(
        r"error while loading shared libraries|\.so[.\d]*: cannot open shared object file",
        "a system library is not in the image",
        "install the Debian package that has the library: RUN apt-get update && apt-get install -y NAME",
        "install the Debian package that has the library, such as libgl1 for libGL.so.1 or libxcb1 for "
        "libxcb.so.1: RUN apt-get update && apt-get install -y NAME",
    ),
    Cause(
        r"GLIBC(XX)?_[\d.]+' not found|invalid ELF header|NODE_MODULE_VERSION \d+",
        "a compiled module was built for another system or another version of the language",
        "build it in the image, from the same base image in each stage, and keep node_modules and .venv out by .dockerignore",
        "build it in the image, from the same base image in each stage, and keep node_modules and .venv out by .dockerignore",
    ),
    Cause(
        r"Prisma Client could not locate the Query Engine|@prisma/client did not initialize yet"
        r"|Prisma failed to detect the libssl",
        "Prisma's engine for this image is missing",
        "install openssl before `npx prisma generate`, and run that in the image",
        "install openssl before `npx prisma generate`, and run that in the image",
    ),
    Cause(
        r"compiled using NumPy 1\.x cannot be run|numpy\.dtype size changed|cannot import name "
        r"|has no attribute '_ARRAY_API'|does not provide an export named"
        r"|got an unexpected keyword argument 'proxies'",
        "the installed release of a package does not fit the code that uses it",
        "write the versions that work on your machine into the requirements (`pip freeze`, package-lock.json)",
        "write the versions that work on your machine into the requirements (`pip freeze`, package-lock.json)",
    ),
    Cause(
        r"Could not find a production build|Cannot find module '\S*/(dist|build|\.next)/",
        "the app is not built in the image",
        None,
        "build it in the image: RUN npm run build before CMD",
    ),
    Cause(
        r"Error loading ASGI app|Could not import module \"|Failed to find attribute '\w+' in|Failed to parse '\S+' as"
        r"|Could not locate a Flask application|can't open file '[^']*': \[Errno 2\]"
        r"|File does not exist: \S+\.py|Cannot find module '\.{0,2}/",
        "the start command names a file or an app that is not there",
        "correct the path in the command, from the step's WORKDIR",
        "correct the path in CMD, from WORKDIR (`app.main:app` is the variable app in app/main.py), and COPY that file",
    ),
    Cause(
        r"Cannot use import statement outside a module|require is not defined in ES module scope"
        r"|ERR_REQUIRE_ESM|Unexpected token 'export'",
        "the file is an ES module and package.json says CommonJS, or the reverse",
        'set "type" in package.json to "module" for `import`, or name the file .cjs for `require`',
        'set "type" in package.json to "module" for `import`, or name the file .cjs for `require`',
    ),
    Cause(
        r"ModuleNotFoundError|ImportError|No module named|requires \"[\w-]+\" to be installed|Cannot find (module|package)|ERR_MODULE_NOT_FOUND",
        "a module is not in the image",
        "add it to the requirements, lock again and commit the lock file",
        "install the module in the image: add it to the requirements, lock again, commit",
    ),
    Cause(
        r"address already in use|EADDRINUSE|Errno 98\b",
        "two servers want one port",
        None,
        "start one server on the port, not two",
    ),
    Cause(
        r"exit code: 137|signal: killed|OOMKilled",
        "the build ran out of memory",
        "make the step smaller; the Hub's build memory is unknown",
    ),
)
