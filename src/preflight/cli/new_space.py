"""Make a new Space folder that passes the contract, and its services in the compose files.

    preflight new NAME

The folder is the sound Space on which the contract itself is tested, under another name: a server
in one file with a Secret, a Variable and every promise kept, to be replaced by your own.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from preflight.cli.on_the_hub import Refused
from preflight.engine import base_images
from preflight.model.environment import EnvironmentDeclaration, Variable
from preflight.rules.repository import name_problems

SOUND = Path(__file__).resolve().parents[1] / "templates" / "space"
FIRST_PORT = 7861


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0]:
        print("space: write make space NAME=my-space", file=sys.stderr)
        return 2
    try:
        create(arguments[0])
    except Refused as refusal:
        print(f"space: {refusal}", file=sys.stderr)
        return 1
    print(
        f"{arguments[0]}/ is a Space that passes the contract; replace app.py by your own.\n"
        "It has a service in compose.yaml, compose.test.yaml and compose.offline.yaml.\n"
        f"  try:   .venv/bin/pytest --space {arguments[0]}\n"
        f"  start: make up\n"
        f"  push:  git add, git commit, then make push DIR={arguments[0]} SPACE=owner/{arguments[0]}"
    )
    return 0


def create(name: str) -> None:
    """Write folder and services. Raises Refused, with nothing written, when the name will not do."""
    folder = Path(name)
    for problem in name_problems(name):
        raise Refused(f"NAME={name}: expected {problem.expected}")
    if name != name.lower():
        raise Refused(f"NAME={name}: write it in lower case; images and host names know no other")
    files = {one: Path(one) for one in ("compose.yaml", "compose.test.yaml", "compose.offline.yaml")}  # fmt: skip
    texts = {one: path.read_text("utf-8") for one, path in files.items()}
    if folder.exists() or re.search(rf"^  {re.escape(name)}:", texts["compose.yaml"], re.M):
        raise Refused(f"NAME={name}: there is a folder or a service of that name; choose another")
    declaration = EnvironmentDeclaration.of_file(SOUND / ".env.example")
    images = base_images.named_in((SOUND / "Dockerfile").read_text("utf-8"))
    compose = with_service(texts["compose.yaml"], service(name, declaration, texts["compose.yaml"]))
    compose = re.sub(r"^networks:\n", f"networks:\n  {name}:\n", compose, flags=re.M)
    files["compose.yaml"].write_text(compose, "utf-8")
    files["compose.test.yaml"].write_text(
        with_service(texts["compose.test.yaml"], test_service(name)), "utf-8"
    )
    files["compose.offline.yaml"].write_text(
        with_service(texts["compose.offline.yaml"], offline_service(name, images)), "utf-8"
    )
    shutil.copytree(SOUND, folder)
    readme = folder / "README.md"
    title = re.sub(r"[-_.]+", " ", name).strip().capitalize()
    text = readme.read_text("utf-8")
    text = text.replace("title: Signer", f'title: "{title}"').replace("# Signer", f"# {name}")
    readme.write_text(text, "utf-8")


def with_service(compose: str, block: str) -> str:
    """The compose file with one more service at the end of its `services:`."""
    services, networks, rest = compose.rstrip("\n").partition("\nnetworks:\n")
    return f"{services.rstrip()}\n\n{block}\n" + (f"{networks}{rest}\n" if networks else "")


def service(name: str, declaration: EnvironmentDeclaration, compose: str) -> str:
    ports = [int(port) for port in re.findall(r":-(\d+)\}:7860", compose)]
    port = max([FIRST_PORT - 1, *ports]) + 1
    settings = "\n".join(f"      {setting(one)}" for one in declaration.variables)
    return f"""  {name}:
    <<: *space
    build: ./{name}
    ports: ["${{HOST_ADDRESS:-127.0.0.1}}:${{{re.sub("[-.]", "_", name.upper())}_PORT:-{port}}}:7860"]
    environment:
{settings}
    networks: [{name}]"""


def setting(variable: Variable) -> str:
    """A value for this machine: the sample, which the Space refuses on the Hub, or the example."""
    value = variable.sample or variable.default
    if value is None and variable.required:
        value = variable.example
    # Without a value here it is unset unless the shell sets it.
    given = f' "${{{variable.name}:-{value}}}"' if value else ""
    return f"{variable.name}:{given}"


def test_service(name: str) -> str:
    return f"""  {name}:
    <<: *space
    ports: !override ["${{HOST_ADDRESS:-127.0.0.1}}::7860"]
    tmpfs: [/tmp, "/home/user:uid=1000,gid=1000"]"""


def offline_service(name: str, images: list[str]) -> str:
    lines = [f'        "{one}": "docker-image://{base_images.PREFIX}{one}"' for one in images]
    return "\n".join([f"  {name}:", "    build:", "      additional_contexts:", *lines])
