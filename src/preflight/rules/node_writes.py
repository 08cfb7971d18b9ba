"""The files and folders that a Node.js source writes, by the paths in its calls."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from tree_sitter import Node

from preflight.rules.scripts import CALLS, UNKNOWN, Script

_WRITES = re.compile(
    r"(^|\.)(writeFile|appendFile|createWriteStream|outputFile|writeJson|mkdir|mkdtemp)(Sync)?$"
)
_DATABASES = {
    "Database",
    "DatabaseSync",
    "sqlite3.Database",
    "Datastore",
    "JSONFile",
    "JSONFileSync",
}
_FOLDERS = {"dest", "destination", "uploadDir"}


def written_by_node(text: str, folder: str, workdir: str, home: str) -> Iterator[tuple[str, int]]:
    """Paths in the image and their lines. folder: the folder of the file; a folder's path ends with /."""
    given = {
        "__dirname": folder,
        "import.meta.dirname": folder,
        "process.cwd()": workdir,
        "os.homedir()": home,
        "homedir()": home,
        "os.tmpdir()": "/tmp",
        "tmpdir()": "/tmp",
    }
    script = Script(text.encode(), given)
    for call in script.captured(CALLS, "call"):
        if _is_caught(call):
            continue
        for node, is_folder in _targets(script, call):
            for path in script.values(node):
                known = path.partition(UNKNOWN)[0]
                # Of `uploads/${name}` the folder is known.
                if known != path:
                    known = posixpath.join(posixpath.dirname(known), "file") if "/" in known else ""
                if known and not known.startswith(("file:", ":memory:", "{", "http")):
                    whole = posixpath.normpath(posixpath.join(workdir, known))
                    yield whole + ("/" if is_folder else ""), call.start_point[0] + 1


def _targets(script: Script, call: Node) -> Iterator[tuple[Node, bool]]:
    """The path expressions of a call that writes, each with whether it names a folder."""
    function = call.child_by_field_name("function") or call.child_by_field_name("constructor")
    arguments = call.child_by_field_name("arguments")
    if function is None or arguments is None or not arguments.named_children:
        return
    name, first = script.text(function), arguments.named_children[0]
    if call.type == "new_expression":
        if name in _DATABASES and "readonly" not in script.text(arguments).lower():
            yield first, False
    elif _WRITES.search(name):
        yield first, "mkdir" in name
    elif name.rpartition(".")[2] in ("multer", "formidable", "diskStorage"):
        for pair in (child for child in first.named_children if child.type == "pair"):
            key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if key is not None and value is not None and script.text(key) in _FOLDERS:
                yield value, True


def _is_caught(node: Node) -> bool:
    """Whether the code around the call catches a refusal."""
    inner, outer = node, node.parent
    while outer is not None:
        if outer.type == "try_statement":
            body = outer.child_by_field_name("body")
            if body is not None and body.id == inner.id:
                return True
        inner, outer = outer, outer.parent
    return False
