"""Reads the text of a declaration: bindings, and the decorators in the comment lines above each.

python-dotenv reads the bindings. A blank line or a divider such as `# ---` detaches comment lines
from the binding below. Source: varlock's @env-spec reference and its page on item decorators.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dotenv.parser import Binding, parse_stream


@dataclass(frozen=True)
class Fault:
    """A fault of a declaration. `duplicate` is a kind of its own: the Hub refuses it itself."""

    line: int
    message: str
    duplicate: bool = False


_MEANT = {"required", "optional", "sensitive", "public", "type", "example", "sample", "dependency"}
# Decorators of the convention that mean nothing for a Space.
_WITHOUT_MEANING = {
    *("docs", "docsUrl", "icon", "tag", "deprecated", "internal", "dynamic", "static"),
}
_KNOWN = _MEANT | _WITHOUT_MEANING


@dataclass(frozen=True)
class Call:
    """`name(a, b, key=value)` in a decorator's value."""

    name: str
    arguments: tuple[tuple[str | None, str], ...]

    def __str__(self) -> str:
        parts = (f"{key}={value}" if key else value for key, value in self.arguments)
        return f"{self.name}({', '.join(parts)})"


@dataclass(frozen=True)
class Decorator:
    """`@name` or `@name=value`."""

    name: str
    value: str | Call | None
    line: int

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True)
class Item:
    """A binding with the comment lines above it. Name None: a comment block without a binding; an
    empty name: a line that is not a binding."""

    name: str | None
    value: str
    line: int
    description: str
    decorators: tuple[Decorator, ...]
    faults: tuple[Fault, ...]


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIVIDER = re.compile(r"\s?(---|===)")


def items_of(text: str) -> Iterator[Item]:
    """The bindings of a declaration's text, each with the comment lines above it."""
    words: list[str] = []
    shared = ""
    decorators: list[Decorator] = []
    faults: list[Fault] = []

    def finish(name: str | None, value: str, line: int) -> Item:
        nonlocal shared
        # Consecutive variables without a blank line share the comment above the first.
        shared = " ".join(words) or shared
        item = Item(name, value, line, shared, tuple(decorators), tuple(faults))
        words.clear()
        decorators.clear()
        faults.clear()
        return item

    line = 0
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        content = original.lstrip("\r\n\t ")
        blank_lines = original[: len(original) - len(content)].count("\n")
        line = binding.original.line + blank_lines
        if blank_lines and (words or decorators):
            yield finish(None, "", line)
        if blank_lines:
            shared = ""
        if binding.error:
            yield Item("", "", line, "", (), (Fault(line, _malformed(content)),))
        elif binding.key is None:
            comment = content.rstrip().lstrip("#")
            if _DIVIDER.match(comment):
                yield finish(None, "", line)
                shared = ""
            elif comment.strip().startswith("@"):
                for decorator in _decorators(comment.strip(), line):
                    if isinstance(decorator, Fault):
                        faults.append(decorator)
                    else:
                        decorators.append(decorator)
            elif comment.strip():
                words.append(comment.strip())
        else:
            faults += _binding_faults(binding, line, content)
            yield finish(binding.key, binding.value or "", line)
    yield finish(None, "", line)


def _malformed(content: str) -> str:
    return (
        f"{content.strip()[:40]!r} is not a `NAME=value` line; write one, or start the line with #"
    )


def _binding_faults(binding: Binding, line: int, content: str) -> Iterator[Fault]:
    if binding.value is None:
        yield Fault(line, _malformed(content))
    elif not _NAME.fullmatch(binding.key or ""):
        yield Fault(line, f"{binding.key!r} is not a valid name; use letters, digits and _")


class _Unreadable(Exception):
    pass


class _Scanner:
    """Reads one decorator comment line: `@name`, `@name=value`, `@name=call(a, key=b)`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: str) -> str | None:
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            return None
        self.at = match.end()
        return match.group()

    def quoted(self) -> str | None:
        found = self.take(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`(?:\\.|[^`\\])*`')
        return None if found is None else re.sub(r"\\(.)", r"\1", found[1:-1])

    def value(self, bare: str) -> str | Call:
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        name = self.take(r"[A-Za-z][A-Za-z0-9_]*(?=\()")
        if name is not None:
            return Call(name, self.arguments())
        return self.take(bare) or ""

    def arguments(self) -> tuple[tuple[str | None, str], ...]:
        self.take(r"\(\s*")
        found: list[tuple[str | None, str]] = []
        while self.take(r"\s*\)") is None:
            key = self.take(r"[A-Za-z][A-Za-z0-9_]*(?==)")
            self.take("=")
            # An array literal stays text: `[postgres, postgresql]`.
            argument = self.take(r"\[[^\]]*\]") or self.value(r"[^),\s][^),]*")
            found.append((key, argument.strip() if isinstance(argument, str) else str(argument)))
            if self.take(r"\s*,\s*") is None and not re.compile(r"\s*\)").match(self.text, self.at):
                raise _Unreadable("it has an opening ( and no closing )")
        return tuple(found)


def _decorators(comment: str, line: int) -> Iterator[Decorator | Fault]:
    scanner = _Scanner(comment)
    while (found := scanner.take(r"\s*@[A-Za-z][A-Za-z0-9_]*")) is not None:
        name = found.strip()[1:]
        try:
            value: str | Call | None = None
            if scanner.take("=") is not None:
                value = scanner.value(r"[^\s#]+")
            elif scanner.text[scanner.at : scanner.at + 1] == "(":
                value = Call("", scanner.arguments())
        except _Unreadable as error:
            yield Fault(line, f"@{name} cannot be read: {error}")
            return
        if name not in _KNOWN:
            close = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean @{close[0]}?" if close else f"known: {listed(_KNOWN)}"
            yield Fault(line, f"@{name} is not a known decorator; {hint}")
        else:
            yield Decorator(name, value, line)
        scanner.take(r"[^\S\n]*")
        if scanner.text[scanner.at : scanner.at + 1] not in ("@", "#", ""):
            rest = scanner.text[scanner.at :][:30]
            yield Fault(
                line,
                f"{rest!r} follows @{name}; quote a value with spaces, or start a comment with #",
            )
            return


def is_meant(name: str) -> bool:
    """Whether a comment that starts with `@name` is a decorator, or one misspelt."""
    return bool(difflib.get_close_matches(name, _MEANT, n=1, cutoff=0.8))


def listed(names: Iterable[str]) -> str:
    """Names for a message, in order."""
    return ", ".join(sorted(names))
