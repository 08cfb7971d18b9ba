"""The rules for a Dockerfile that need no build."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

from preflight.model.environment import EnvironmentDeclaration
from preflight.model.problems import Problem, Severity
from preflight.rules.dockerfile import Dockerfile, at, environment_of, script_of

# Of a shell's commands; not the & of 2>&1.
OPERATOR = re.compile(r"&&|\|\||[;|]|(?<!>)&(?!>)")


def shell_form_problems(file: Dockerfile) -> Iterator[Problem]:
    """CMD or ENTRYPOINT in shell form: the shell is PID 1 and does not pass SIGTERM on."""
    for name in ("ENTRYPOINT", "CMD"):
        command = file.final.last(name)
        if command is None or command.json:
            continue
        text = " ".join(command.value)
        operators = list(OPERATOR.finditer(text))
        last = text[operators[-1].end() :] if operators else text
        if not last.lstrip().startswith("exec "):
            yield Problem(
                f"{name} in exec form, so that the app is PID 1 and gets SIGTERM",
                f"{name} {text}",
                _with_exec(name, text, operators),
                **at(command),
            )


def _with_exec(name: str, text: str, operators: list[re.Match[str]]) -> str:
    """The fix: exec form expands no variable and knows no operator; `exec` replaces the shell."""
    if any(operator[0] in "|&" for operator in operators):
        return f'Start it in a script that ends with `exec` of the server: {name} ["./start.sh"]'
    if operators:
        end = operators[-1].end()
        return f"Write {name} {text[:end]} exec {text[end:].lstrip()}"
    needs_shell = re.search(r"[$<>*?~`]", text)
    return f"Write {name} " + (f"exec {text}" if needs_shell else json.dumps(_words(text)))


DEVELOPMENT_SERVERS: tuple[tuple[str, str], ...] = (
    (r"--reload\b", "`--reload` watches files and runs the app in a child"),
    (r"\bnodemon\b", "nodemon is for development"),
    (r"\bnode\b.*\s--watch\b", "`node --watch` is for development"),
    (r"\b(npm|pnpm|yarn|bun)\s+(run\s+)?dev\b", "the script `dev` starts a development server"),
    (r"\bflask\b.*\brun\b", "`flask run` is Flask's development server"),
    (r"\bmanage\.py\s+runserver\b", "`runserver` is Django's development server"),
    (r"\b(next|nuxt|vite|astro)\s+dev\b", "`dev` is a development server"),
    (r"\bfastapi\s+dev\b", "`fastapi dev` is for development"),
    (r"\b(ts-node-dev|tsx\s+watch)\b", "a watching runner is for development"),
    (r"--debug\b", "`--debug` is for development"),
)
PACKAGE_MANAGER = re.compile(
    r"\b(npm|pnpm|yarn|bun)\s+(run\s+\S+|start|serve)\b|\b(yarn|pnpm)\s+\w+\s*$"
)


def development_server_problems(file: Dockerfile) -> Iterator[Problem]:
    """A start command for development, or a package manager between init and app."""
    words: list[str] = []
    for name in ("ENTRYPOINT", "CMD"):
        command = file.final.last(name)
        words += command.value if command else ()
    text, last = " ".join(words), file.final.last("CMD") or file.final.last("ENTRYPOINT")
    if last is None:
        return
    for pattern, why in DEVELOPMENT_SERVERS:
        if re.search(pattern, text):
            yield Problem("a start command for production", f"{text} ({why})", **at(last))
            return
    if PACKAGE_MANAGER.search(text):
        yield Problem(
            "the app itself as the start command",
            f"{text} (the package manager is PID 1)",
            "Start the app directly, so that it gets SIGTERM: `node server.js`.",
            "a restart may cut requests off: a package manager does not always pass SIGTERM on",
            severity=Severity.ADVICE,
            **at(last),
        )
    for name, value, command in environment_of(file.final.chain):
        if name in ("FLASK_DEBUG", "FLASK_ENV", "NODE_ENV", "DEBUG") and value.lower() in (
            *("1", "true", "development"),
        ):
            yield Problem("no development mode in the image", f"ENV {name}={value}", **at(command))


def base_tag_problems(file: Dockerfile) -> Iterator[Problem]:
    """A base image without a tag, or with `latest`: each build may use another image."""
    for stage in file.stages:
        if stage.parent is not None or stage.base == "scratch" or "$" in stage.base:
            continue
        if "@" in stage.base:
            continue
        tag = stage.base.rpartition("/")[2].partition(":")[2]
        if tag in ("", "latest"):
            yield Problem(
                "a base image with a version tag or a digest",
                f"FROM {stage.base}",
                file="Dockerfile",
                line=stage.line,
            )


def recursive_chown_problems(file: Dockerfile) -> Iterator[Problem]:
    """A RUN that only changes owners or modes recursively: it stores every file a second time."""
    for command in file.final.chain:
        if command.cmd != "RUN":
            continue
        steps = [step for step in re.split(r"&&|;|\n", script_of(command)) if step.strip()]
        if steps and all(re.match(r"\s*ch(own|mod|grp)\s+(-\w*R|--recursive)", s) for s in steps):
            yield Problem(
                "owners set where files arrive: COPY --chown=1000:1000",
                f"RUN {script_of(command).strip()[:80]}",
                **at(command),
            )


def secret_name_problems(
    file: Dockerfile, declaration: EnvironmentDeclaration
) -> Iterator[Problem]:
    """ARG or ENV named like a declared Secret, in any stage."""
    secrets = {variable.name for variable in declaration.secrets}
    for stage in file.stages:
        for name, _, command in environment_of(stage.commands, arguments=True):
            if name in secrets:
                yield Problem(
                    f"no {command.cmd} for the Secret {name}",
                    f"{command.cmd} {name}",
                    f"At build: RUN --mount=type=secret,id={name},mode=0444 … "
                    f"$(cat /run/secrets/{name}). At run time the Hub sets it; delete the line.",
                    **at(command),
                )


def defaulted_problems(file: Dockerfile, declaration: EnvironmentDeclaration) -> Iterator[Problem]:
    """ENV that sets a required Variable: a Space without the Variable would still start."""
    required = {v.name for v in declaration.variables_public if v.required is not False}
    for name, value, command in environment_of(file.final.chain):
        if name in required and value:
            yield Problem(
                f"no default in the image for the required Variable {name}",
                f"ENV {name}={value}",
                f"Delete the line and enter {name} in the Space's settings.",
                **at(command),
            )


def owned_by_1000(base: str) -> str | None:
    """The name of the user that has uid 1000 in a known base image; None when there is none."""
    repository, _, tag = base.partition("@")[0].rpartition("/")[2].partition(":")
    if repository == "node":
        return "node"
    if repository == "ubuntu":
        # Ubuntu's images have the user since 23.04. Source: bugs.launchpad.net 2005129.
        version = re.match(r"(\d+)\.(\d+)", tag)
        newer = version is not None and int(version.group(1)) >= 24
        return (
            "ubuntu" if newer or tag.startswith(("noble", "plucky", "latest")) or not tag else None
        )
    return None


_ADDS_1000 = re.compile(
    r"\b(useradd|adduser)\b(?![^&;|\n]*(?:\s-o\b|--non-unique))"
    r"[^&;|\n]*?(?:\s-[a-zA-Z]*u[ =]?|\s--uid[ =])1000\b"
    # The command after `||` covers a uid that is taken.
    r"(?![^&;\n]*\|\|)"
)
_REMOVES = re.compile(r"\b(userdel|deluser)\b[^&;|\n]*?\b(node|ubuntu)\b|\busermod\b[^&;|\n]*-u")


def uid_taken_problems(file: Dockerfile) -> Iterator[Problem]:
    """`useradd -u 1000` on a base image that already has a user with this uid."""
    for stage in file.stages:
        owner = owned_by_1000(stage.root_base)
        freed = False
        for command in stage.chain if owner else ():
            script = script_of(command) if command.cmd == "RUN" else ""
            freed = freed or bool(_REMOVES.search(script))
            if not freed and command in stage.commands and _ADDS_1000.search(script):
                yield Problem(
                    f"{owner}, which is uid 1000 in {stage.root_base} already",
                    f"RUN {script.strip()[:80]}",
                    f"Delete the step and write USER 1000; home is /home/{owner}.",
                    **at(command),
                )


def health_command_problems(file: Dockerfile) -> Iterator[Problem]:
    """HEALTHCHECK with curl or wget in an image that does not have the program."""
    command = file.final.last("HEALTHCHECK")
    text = " ".join(command.value) if command else ""
    tool = re.search(r"\b(curl|wget)\b", text)
    if command is None or tool is None:
        return
    base = file.final.root_base
    slim = re.search(r"slim|distroless|^scratch$|^debian|^ubuntu", base)
    alpine = "alpine" in base and tool.group() == "curl"  # busybox brings wget
    installed = re.compile(rf"\b(install|add)\b[^&;|]*\b{tool.group()}\b", re.DOTALL)
    copied = any(
        step.cmd == "COPY" and tool.group() in " ".join(step.value) for step in file.final.chain
    )
    if (slim or alpine) and not copied:
        scripts = (script_of(step) for step in file.final.chain if step.cmd == "RUN")
        if not any(installed.search(script) for script in scripts):
            yield Problem(
                "a HEALTHCHECK with the image's own runtime",
                f"HEALTHCHECK uses {tool.group()}, which {base} does not have",
                **at(command),
            )


def port_problems(file: Dockerfile, app_port: int) -> Iterator[Problem]:
    """EXPOSE, or the port in HEALTHCHECK, that is not `app_port`."""
    values = {name: value for name, value, _ in environment_of(file.final.chain, arguments=True)}

    def filled(text: str) -> str:
        return re.sub(r"\$\{?(\w+)(?::-(\w*))?\}?", lambda m: values.get(m[1]) or m[2] or "", text)

    exposed = [step for step in file.final.chain if step.cmd == "EXPOSE"]
    ports = [filled(port).partition("/")[0] for step in exposed for port in step.value]
    if exposed and all(ports) and str(app_port) not in ports:
        yield Problem(
            f"EXPOSE {app_port}, the README's `app_port`",
            f"EXPOSE {' '.join(ports)}",
            **at(exposed[-1]),
        )
    command = file.final.last("HEALTHCHECK")
    text = filled(" ".join(command.value)) if command else ""
    probed = re.search(r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])\D{1,5}(\d{2,5})\b", text)
    if command is not None and probed and probed.group(1) != str(app_port):
        yield Problem(
            f"a HEALTHCHECK of port {app_port}, the README's `app_port`",
            f"it probes port {probed.group(1)}",
            **at(command),
        )


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
