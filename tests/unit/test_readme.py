"""What README.md says of versions, targets and files must agree with the files themselves."""

from __future__ import annotations

import json
import re

from tests.spaces import ROOT

README = " ".join((ROOT / "README.md").read_text().split())


def test_must_name_the_node_version_of_package_json() -> None:
    """Outside a container the reader's own Node runs backend-node."""
    engines = json.loads((ROOT / "backend-node" / "package.json").read_text())["engines"]
    (named,) = re.findall(r"Node ([\d.]+) or newer", README)
    assert engines["node"] == f">={named}"


def test_must_name_the_command_that_only_makes_the_environment() -> None:
    """A reader who wants the tools must not run a thousand tests; the seconds say what to expect."""
    (target,) = re.findall(r"`make (\S+)` only installs the tools \(\w+ seconds\)", README)
    makefile = (ROOT / "Makefile").read_text()
    made = makefile.replace("$(VENV)", re.findall(r"(?m)^VENV := (\S+)", makefile)[0])
    rule = re.search(rf"(?m)^{re.escape(target)}:.*\n((?:\t.*\n)+)", made)
    assert rule and "dependencies" in rule[1] and "pytest" not in rule[1]
