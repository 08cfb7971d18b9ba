"""What a Space accepts by POST: by its OpenAPI document, and by its page's scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tree_sitter import Node

from preflight.rules.scripts import CALLS, LARGEST_SCRIPT, UNKNOWN, Script

_FETCH = {"fetch", "window.fetch", "fetchEventSource", "$fetch"}
_POST = re.compile(r"(axios|http|api|client|ky|\$|jQuery)\.post")
# `data.append("file", input.files[0])`
_ADDED = re.compile(r"""\.append\(\s*["'](\w+)["']\s*,\s*([^\n;]{0,80})""")
_FILE = re.compile(r"file|image|photo|picture|upload|document|audio|video|pdf|blob", re.I)
_DEEPEST = 6
TEXT = "Hello"


@dataclass(frozen=True)
class Post:
    """A POST that a visitor can send. address: a URL or a path; its computed parts are UNKNOWN.

    body: its JSON; None where it sends a form. files: the form's names for files. fields: its other values.
    """

    address: str
    body: Any = None
    files: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The JSON, or the form's names."""
        if self.body is not None:
            return json.dumps(self.body)
        return ", ".join([*self.fields, *(f"{name} (a file)" for name in self.files)]) or "a form"


def posts(script: str) -> list[Post]:
    """The JSON and the forms that a script posts, with a sample in the place of each computed value."""
    posting = ("stringify", ".post(", "FormData")
    if len(script) > LARGEST_SCRIPT or not any(word in script for word in posting):
        return []
    return list(_Poster(script.encode()).posts())


class _Poster(Script):
    def posts(self) -> Iterator[Post]:
        for call in self.captured(CALLS, "call"):
            function, arguments = (
                call.child_by_field_name("function"),
                call.child_by_field_name("arguments"),
            )
            given = arguments.named_children if arguments else []
            if function is None or len(given) < 2:
                continue
            name = self.text(function)
            sent = None
            if name in _FETCH:
                options = self._fields(given[1])
                if self._literal(options.get("method")).upper() == "POST":
                    sent = options.get("body")
            elif _POST.fullmatch(name):
                sent = given[1]
            if sent is None:
                continue
            body = self._stringified(sent) if name in _FETCH else self._object(sent)
            for address in self.values(given[0]):
                if not address.strip(UNKNOWN):
                    continue
                if body is not None:
                    yield Post(address, self._sample(body, "", 0))
                elif self._is_form(sent):
                    added = dict(_ADDED.findall(self.source.decode("utf-8", "replace")))
                    files = [key for key, value in added.items() if _FILE.search(key + value)]
                    fields = {key: TEXT for key in added if key not in files}
                    yield Post(address, None, tuple(files), fields)

    def _is_form(self, node: Node) -> bool:
        """Whether an expression is `new FormData(…)`, or a name that holds one."""
        if node.type == "identifier":
            given = self.names.get(self.text(node), [])
            return any("new FormData" in self.text(value) for _, value in given)
        return self.text(node).startswith("new FormData")

    def _fields(self, node: Node | None) -> dict[str, Node]:
        """The values of an object by key; of `{a}`, the identifier itself."""
        found = {}
        for child in node.named_children if node is not None else ():
            key, value = child.child_by_field_name("key"), child.child_by_field_name("value")
            if child.type == "pair" and key is not None and value is not None:
                found[self._last(key)] = value
            elif child.type == "shorthand_property_identifier":
                found[self.text(child)] = child
        return found

    def _literal(self, node: Node | None) -> str:
        return self.text(node).strip("\"'`") if node is not None else ""

    def _stringified(self, node: Node | None) -> Node | None:
        """The object that `JSON.stringify(…)` gets."""
        if node is None or node.type != "call_expression":
            return None
        function, arguments = (
            node.child_by_field_name("function"),
            node.child_by_field_name("arguments"),
        )
        if function is None or self.text(function) != "JSON.stringify" or arguments is None:
            return None
        return self._object(next(iter(arguments.named_children), None))

    def _object(self, node: Node | None) -> Node | None:
        """An object literal, or the one that a name holds."""
        if node is not None and node.type == "identifier":
            given = self.names.get(self.text(node), [])
            node = given[0][1] if len(given) == 1 else None
        return node if node is not None and node.type == "object" else None

    def _sample(self, node: Node, key: str, depth: int) -> Any:
        text = self.text(node)
        if depth > _DEEPEST:
            return TEXT
        if node.type == "object":
            fields = self._fields(node)
            return {name: self._sample(field, name, depth + 1) for name, field in fields.items()}
        if node.type == "array":
            return [self._sample(child, key, depth + 1) for child in node.named_children]
        if node.type in ("true", "false"):
            return node.type == "true"
        if node.type == "number":
            return float(text) if "." in text else int(text, 0) if text.isdecimal() else 1
        if node.type == "string":
            return text[1:-1]
        return [] if re.search(r"history|messages$", key, re.I) else TEXT


def sample_of(schema: Any, document: dict[str, Any], depth: int = 0) -> Any:
    """A value that fits a JSON Schema of `document`, an OpenAPI document; required properties only."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return TEXT
    if isinstance(reference := schema.get("$ref"), str):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        return sample_of(found, document, depth + 1)
    examples = schema.get("examples")
    for given in (schema.get("example"), *(examples if isinstance(examples, list) else ())):
        if given is not None:
            return given
    for choice in ("default", "const"):
        if schema.get(choice) is not None:
            return schema[choice]
    if schema.get("enum"):
        return schema["enum"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return sample_of(schema[several][0], document, depth + 1)
    return _of_type(schema, document, depth)


def _of_type(schema: dict[str, Any], document: dict[str, Any], depth: int) -> Any:
    match schema.get("type"):
        case "object" | None if schema.get("properties"):
            needed = schema.get("required", [])
            return {
                name: sample_of(field, document, depth + 1)
                for name, field in schema["properties"].items()
                if name in needed
            }
        case "object":
            return {}
        case "array":
            least = int(schema.get("minItems") or 0)
            return [sample_of(schema.get("items"), document, depth + 1)] * min(least, 3)
        case "integer" | "number":
            return max(int(schema.get("minimum", 1)), int(schema.get("exclusiveMinimum", 0)) + 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            kinds = {
                "email": "reader@example.com",
                "uri": "https://example.com/",
                "date": "2026-01-31",
            }
            text = kinds.get(schema.get("format", ""), TEXT)
            return text.ljust(int(schema.get("minLength") or 0), "o")
