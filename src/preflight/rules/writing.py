"""The paths that an app writes, by its sources, and whether its user may write there."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from preflight.model.problems import Problem, Severity
from preflight.rules.node_writes import written_by_node
from preflight.rules.sources import Sources

_WRITES_ROWS = re.compile(
    r"\bINSERT\s+(OR\s+\w+\s+)?INTO\b|\bUPDATE\s+[\w\"`\[\].]+\s+SET\b|\bDELETE\s+FROM\b|\bREPLACE\s+INTO\b"
    r"|\bCREATE\s+(TABLE|INDEX)\b|\.commit\(\)|session\.(add|merge|delete)\(|\.save\(\)"
    r"|\.(create|insert|update|upsert|delete)(Many|One)?\(\{|\.(bulk_create|executemany)\(",
    re.I,
)
_READS_ONLY = re.compile(
    r"mode=ro\b|immutable=1|readonly['\"]?\s*[:=]\s*(true|1)|OPEN_READONLY|query_only|read_only\s*=\s*True"
)
_DATABASE_NAME = re.compile(r"[\w./-]+\.(?:db|sqlite3?)\b")
FIX = (
    "Create {what} as the app's user: USER before the RUN that makes it, or COPY --chown and "
    "RUN install -d -o USER; better still, put it below the home folder."
)

MayWrite = Callable[[str], bool]
"""Whether the app's user may write to a path of the image."""


def database_problem(
    path: str, owner: str, user: str, sources: Sources, settings: str
) -> Problem | None:
    """A SQLite file that its app may not write; None if the sources show that the app only reads it.

    path: the file in the image. owner: of the file and its folder. user: the user of the app.
    settings: the image's ENV, which may name the file.
    """
    name = posixpath.basename(path)
    running = sources.running
    naming = {source: text for source, text in running.items() if name in text}
    if any(_READS_ONLY.search(text) for text in naming.values()):
        return None
    writing = [source for source, text in running.items() if _WRITES_ROWS.search(text)]
    elsewhere = {
        posixpath.basename(found)
        for text in running.values()
        for found in _DATABASE_NAME.findall(text)
    } - {name}
    if writing and (naming or name in settings) and not elsewhere:
        severity, reason = Severity.BREAKS, f"{writing[0]} writes to it"
    elif writing:
        severity, reason = Severity.RISK, f"{writing[0]} writes to a database"
    else:
        severity, reason = Severity.ADVICE, "SQLite in WAL mode writes to the folder even to read"
    return Problem(
        f"{path} and its folder writable by {user}",
        f"{path} belongs to {owner}, the app runs as {user}, and {reason}: attempt to write a readonly database",
        FIX.format(what=f"{name} and its folder"),
        severity=severity,
        file=writing[0] if writing else None,
    )


@dataclass(frozen=True)
class Written:
    """A path that a source file writes to, with the file and line of the write."""

    path: str
    file: str
    line: int


def path_problems(
    sources: Sources, workdir: str, home: str, may_write: MayWrite, user: str, known: list[str]
) -> Iterator[Problem]:
    """Files and folders that the app writes by a known path and that its user may not write.

    known: databases that have a finding already.
    """
    seen = {posixpath.dirname(path) for path in known}
    for written in written_paths(sources, workdir, home):
        folder = written.path if written.path.endswith("/") else posixpath.dirname(written.path)
        if folder.rstrip("/") in seen or may_write(written.path):
            continue
        seen.add(folder.rstrip("/"))
        yield Problem(
            f"{written.path} writable by {user}",
            f"{written.file}:{written.line} writes to {written.path}, which {user} may not: Permission denied",
            FIX.format(what=folder.rstrip("/") or "the folder"),
            severity=Severity.RISK,
            file=written.file,
            line=written.line,
        )


def written_paths(sources: Sources, workdir: str, home: str) -> list[Written]:
    """The paths that the running sources write to, absolute in the image. A folder ends with /."""
    found: list[Written] = []
    for name, text in sources.running.items():
        if name.endswith(".py"):
            found += _in_python(name, text, workdir, home)
        elif name.endswith((".js", ".mjs", ".cjs", ".ts", ".mts")):
            folder = posixpath.dirname(posixpath.join(workdir, name))
            found += [
                Written(path, name, line)
                for path, line in written_by_node(text, folder, workdir, home)
            ]
    return found


def _in_python(name: str, text: str, workdir: str, home: str) -> Iterator[Written]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    reader = _Python(tree, posixpath.join(workdir, name), workdir, home)
    for call, path in reader.writes():
        yield Written(_absolute(path, workdir), name, call.lineno)


def _absolute(path: str, workdir: str) -> str:
    joined = posixpath.normpath(posixpath.join(workdir or "/", path))
    return joined + "/" if path.endswith("/") else joined


_SAVES = {"save", "savefig", "to_csv", "to_json", "to_parquet", "to_excel"}


class _Python:
    """Evaluates the path expressions of one module."""

    def __init__(self, tree: ast.Module, file: str, workdir: str, home: str) -> None:
        self.tree, self.file, self.workdir, self.home = tree, file, workdir, home
        self.names: dict[str, ast.expr | None] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
                if isinstance(target, ast.Name):
                    # A name with two assignments has no known value.
                    known = target.id in self.names
                    self.names[target.id] = None if known else node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.names[node.target.id] = node.value

    def writes(self) -> Iterator[tuple[ast.Call, str]]:
        for call in self._calls(self.tree, False):
            path = self._written(call)
            if path:
                yield call, path

    def _calls(self, node: ast.AST, caught: bool) -> Iterator[ast.Call]:
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Call) and not caught:
            yield node
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, ast.Try) and child in node.body and _catches(node)
            yield from self._calls(child, caught or inside)

    def _written(self, call: ast.Call) -> str | None:
        """The path that a call writes to; folders end with /."""
        name = ast.unparse(call.func)
        first = call.args[0] if call.args else None
        if name in ("open", "io.open") and first is not None:
            mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), None)
            mode = call.args[1] if len(call.args) > 1 else mode
            text = mode.value if isinstance(mode, ast.Constant) else "r"
            return self.value(first) if set(str(text)) & set("wax+") else None
        if name in ("os.makedirs", "os.mkdir") and first is not None:
            return self._folder(first)
        if name.endswith(("FileHandler", "sqlite3.connect")) and first is not None:
            path = self.value(first)
            return None if path is None or path.startswith(("file:", ":memory:")) else path
        if isinstance(call.func, ast.Attribute):
            owner = call.func.value
            if call.func.attr == "mkdir":
                return self._folder(owner)
            # An upload, an image, a figure or a table. A name without a folder may be no path at all.
            if (
                call.func.attr in _SAVES
                and first is not None
                and not isinstance(first, ast.Constant)
            ):
                path = self.value(first)
                return path if path and "/" in path else None
            if call.func.attr in ("write_text", "write_bytes", "touch"):
                return self.value(owner)
        return None

    def _folder(self, node: ast.expr) -> str | None:
        path = self.value(node)
        return f"{path.rstrip('/')}/" if path else None

    def value(self, node: ast.expr, depth: int = 0) -> str | None:
        """The path that an expression yields; None if it is not fixed."""
        if depth > 8:
            return None
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            if node.id == "__file__":
                return self.file
            given = self.names.get(node.id)
            return self.value(given, depth + 1) if given is not None else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            return self._joined([node.left, node.right], depth)
        if isinstance(node, ast.JoinedStr):
            return self._beginning(node)
        # Of a Flask application: the folder of its module.
        if isinstance(node, ast.Attribute) and node.attr == "root_path":
            return posixpath.dirname(self.file)
        if isinstance(node, ast.Attribute) and node.attr == "parent":
            inner = self.value(node.value, depth + 1)
            return posixpath.dirname(inner) if inner else None
        if isinstance(node, ast.Call):
            return self._called(node, depth)
        return None

    def _called(self, node: ast.Call, depth: int) -> str | None:
        name = ast.unparse(node.func)
        if name in ("Path.home", "pathlib.Path.home"):
            return self.home
        if name in ("Path.cwd", "os.getcwd", "pathlib.Path.cwd"):
            return self.workdir
        if name in ("Path", "pathlib.Path", "os.path.join", "str", "os.path.abspath", "os.fspath"):
            return self._joined(node.args, depth)
        if name == "os.path.dirname" and node.args:
            inner = self.value(node.args[0], depth + 1)
            return posixpath.dirname(inner) if inner else None
        if name in ("os.getenv", "os.environ.get") and len(node.args) > 1:
            return self.value(node.args[1], depth + 1)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("resolve", "absolute"):
            return self.value(node.func.value, depth + 1)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "with_name" and node.args:
            inner, last = (
                self.value(node.func.value, depth + 1),
                self.value(node.args[0], depth + 1),
            )
            return posixpath.join(posixpath.dirname(inner), last) if inner and last else None
        return None

    def _joined(self, parts: list[ast.expr], depth: int) -> str | None:
        texts: list[str] = []
        for part in parts:
            text = self.value(part, depth + 1)
            if text is None:
                # Of UPLOADS / name only the folder is known, and the folder has to be writable.
                return posixpath.join(*texts, "file") if texts else None
            texts.append(text)
        return posixpath.join(*texts) if texts else None

    def _beginning(self, node: ast.JoinedStr) -> str | None:
        first = node.values[0] if node.values else None
        if not isinstance(first, ast.Constant) or "/" not in str(first.value):
            return None
        return posixpath.join(posixpath.dirname(str(first.value)), "file")


def _catches(node: ast.Try) -> bool:
    """Whether the code catches a refused write."""
    kinds = {
        "OSError",
        "PermissionError",
        "IOError",
        "EnvironmentError",
        "Exception",
        "BaseException",
    }
    names = {
        ast.unparse(handler.type).rpartition(".")[2] if handler.type else "Exception"
        for handler in node.handlers
    }
    listed = {part.strip(" ()") for name in names for part in name.split(",")}
    return bool(kinds & listed)
