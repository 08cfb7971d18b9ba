"""`preflight new`: a Space folder that passes, and its services in the compose files beside it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from preflight.cli.hub import Refused
from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.model.program import typed
from preflight.rules.repository import name_problems

TEMPLATES = Path(__file__).resolve().parents[1] / "templates"
COMPOSE, TEST, EDGE = (Path(f"compose{part}.yaml") for part in ("", ".test", ".edge"))
FIRST_PORT = 7861
# The service `edge` of compose.edge.yaml is in the network of each Space.
EDGE_NETWORKS = re.compile(r"(?m)(^  edge:\n(?:    .*\n)*?    networks: \[)(.*)\]$")


def main(name: str, node: bool, remove: bool) -> int:
    """Add the Space `name`, or remove it; returns the exit code."""
    try:
        lines = take_out(name) if remove else add(name, "node" if node else "python")
    except Refused as refusal:
        print(f"new: {refusal}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def add(name: str, template: str) -> list[str]:
    """Write folder and services; returns the lines to print. Raises Refused before it writes anything."""
    folder, source = Path(name), TEMPLATES / template
    for problem in name_problems(name):
        raise Refused(f"NAME {name}: expected {problem.expected}")
    if name != name.lower():
        raise Refused(f"NAME {name}: write it in lower case, as images and host names are")
    compose = COMPOSE.read_text("utf-8") if COMPOSE.is_file() else ""
    if folder.exists() or re.search(rf"^  {re.escape(name)}:", compose, re.M):
        raise Refused(
            f"NAME {name}: a folder or a service of that name exists; choose another name"
        )
    port = max([FIRST_PORT - 1, *map(int, re.findall(r":-(\d+)\}:7860", compose))]) + 1
    declaration = EnvironmentDeclaration.of_file(source / ".env.example")
    blocks = {
        COMPOSE: _service(name, port, declaration, template),
        TEST: _test_service(name),
        EDGE: _edge_services(name),
    }
    written = [path for path in blocks if path.is_file()]
    for path in written:
        path.write_text(_with_service(path.read_text("utf-8"), name, blocks[path]), "utf-8")
    shutil.copytree(source, folder)
    readme = folder / "README.md"
    title = re.sub(r"[-_.]+", " ", name).strip().capitalize()
    text = re.sub(
        r"^title: .*$", f'title: "{title}"', readme.read_text("utf-8"), count=1, flags=re.M
    )
    readme.write_text(re.sub(r"^# .*$", f"# {name}", text, count=1, flags=re.M), "utf-8")
    lines = [f"{name}/ is a Space that passes; replace its server by your own."]
    if written:
        lines += [
            f"It has a service in {', '.join(map(str, written))}.",
            f"  start:  {typed('up')}    then http://localhost:{port}",
        ]
    return [
        *lines,
        f"  check:  {typed(f'check {name}')}",
        f"  push:   git add, git commit, then {typed(f'push {name} --space OWNER/{name}')}",
        f"  remove: {typed(f'new {name} --remove')}",
    ]


def take_out(name: str) -> list[str]:
    """Remove the Space's services, and its folder as far as git can bring it back."""
    files = [path for path in (COMPOSE, TEST, EDGE) if path.is_file()]
    changed = []
    for path in files:
        text = path.read_text("utf-8")
        without = _without_service(text, name)
        if without != text:
            path.write_text(without, "utf-8")
            changed.append(str(path))
    if not changed:
        raise Refused(f"NAME {name}: no compose file here has a service of that name")
    kept = (
        f"Its folder {name}/ stays; delete it when you no longer need it."
        if Path(name).is_dir()
        else ""
    )
    return [line for line in (f"{name}: removed from {', '.join(changed)}.", kept) if line]


def _with_service(compose: str, name: str, block: str) -> str:
    """The compose file with one more service at the end of its `services:`."""
    services, networks, rest = compose.rstrip("\n").partition("\nnetworks:\n")
    added = f"{services.rstrip()}\n\n{block}\n"
    added = EDGE_NETWORKS.sub(rf"\1\2, {name}]", added)
    return f"{added}{networks}  {name}:\n{rest}\n" if networks else added


def _without_service(compose: str, name: str) -> str:
    """The compose file without the service, its egress and its network."""
    for service in (name, f"egress-{name}"):
        block = rf"^  {re.escape(service)}:\n(?:(?:    .*)?\n)*?(?=^  \S|^\S|\Z)"
        compose = re.sub(block, "", compose, flags=re.M)
    compose = re.sub(rf"^  {re.escape(name)}:\n", "", compose, flags=re.M)
    compose = EDGE_NETWORKS.sub(
        lambda found: found[1] + ", ".join(n for n in found[2].split(", ") if n != name) + "]",
        compose,
    )
    return compose.rstrip("\n") + "\n"


def _service(name: str, port: int, declaration: EnvironmentDeclaration, template: str) -> str:
    settings = "\n".join(f"      {_setting(variable)}" for variable in declaration.variables)
    variable = re.sub("[-.]", "_", name.upper())
    file = "server.js" if template == "node" else "app.py"
    return f"""  {name}:
    <<: *space
    build: ./{name}
    ports: ["${{HOST_ADDRESS:-127.0.0.1}}:${{{variable}_PORT:-{port}}}:7860"]
    environment:
{settings}
    networks: [{name}]
    develop:
      watch:
        - {{ action: sync+restart, path: ./{name}/{file}, target: /app/{file} }}"""


def _setting(variable: Variable) -> str:
    """A value for this machine: the sample, which the Space refuses on the Hub, or the example."""
    value = variable.sample or variable.default
    if value is None and variable.required:
        value = variable.example
    # Without a value here it is unset unless the shell sets it.
    given = f' "${{{variable.name}:-{value}}}"' if value else ""
    return f"{variable.name}:{given}"


def _test_service(name: str) -> str:
    return f"""  {name}:
    <<: *space
    ports: !override ["${{HOST_ADDRESS:-127.0.0.1}}::7860"]
    tmpfs: [/tmp]"""


def _edge_services(name: str) -> str:
    return f"""  {name}:
    ports: !reset []
    networks: !reset []
    network_mode: "service:egress-{name}"
    depends_on:
      egress-{name}: {{ condition: service_healthy }}

  egress-{name}:
    <<: *egress
    networks: !override {{ {name}: {{ aliases: [{name}] }} }}"""
