"""What a page's scripts request: the addresses that reach fetch, WebSocket and their like.

A script is parsed, never run. An address counts where it flows into a request and the browser of a
visitor would take that branch: `location.hostname === "localhost" ? "http://localhost:8000" : ""`
does not request localhost on the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser, Query, QueryCursor

UNKNOWN = "\0"
"""The part of an address that the script computes."""
LOCATION = {"host": "{host}", "hostname": "{host}", "origin": "{origin}", "protocol": "https:"}
"""The value of `location.X` on the Hub; the host is the public name."""

LANGUAGE = Language(tree_sitter_javascript.language())
CALLS = Query(LANGUAGE, "[(call_expression) (new_expression)] @call")
_NAMES = Query(
    LANGUAGE, "[(variable_declarator) (assignment_expression) (pair) (function_declaration)] @name"
)
_CONSTRUCTORS = {
    "WebSocket",
    "EventSource",
    "Request",
    "Worker",
    "SharedWorker",
    "ReconnectingWebSocket",
}
_FUNCTIONS = {"fetch", "axios", "io", "$fetch", "ky", "fetchEventSource", "importScripts"}
_METHODS = re.compile(
    r"(axios|\$|jQuery|ky|superagent|http|api|client)\.(get|post|put|patch|delete|request|ajax|getJSON)"
    r"|(window|globalThis|self)\.fetch|navigator\.sendBeacon|io\.connect"
)
_VERBS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}
_BASES = {"baseURL", "baseUrl"}
_NAMED = re.compile(
    r"(^|[_.])(api|backend|server|socket|graphql|ws|base)[_]?(url|uri|host|base|root|address|origin|endpoint)$"
    r"|(^|[_.])(api|backend|endpoint)$",
    re.I,
)
# A condition on the page's own address, or on the build mode.
_KNOWS_WHERE = re.compile(
    r"localhost|127\.0\.0\.1|\blocation\b|\bhost(name)?\b|hf\.space|\bNODE_ENV\b|\bDEV\b|\bPROD\b"
    r"|\b(is)?_?(local|dev|development|prod|production)\b|import\.meta\.env|process\.env",
    re.I,
)
_DEEPEST = 12
_MOST_VALUES = 6
# A bundle of some megabytes is mostly libraries; the code of an application is far smaller.
LARGEST_SCRIPT = 4_000_000


@dataclass(frozen=True)
class Target:
    """An address that a script passes to `call`; UNKNOWN replaces its computed parts.

    call: "fetch", "WebSocket", "EventSource", …; "name" where a name such as API_URL holds it.
    """

    address: str
    call: str
    line: int


def targets(script: str) -> list[Target]:
    """The addresses that a script requests, each once, in the order of their lines."""
    if len(script) > LARGEST_SCRIPT:
        return []
    return list(dict.fromkeys(Script(script.encode()).targets()))


@dataclass
class Script:
    """A parsed script, and the values that its expressions may have."""

    source: bytes
    # Names with the same value in every script of a kind, such as __dirname on a server.
    given: Mapping[str, str] = field(default_factory=dict)
    # Expressions under evaluation: in a loop, a name may refer to itself.
    _open: set[int] = field(default_factory=set)

    @cached_property
    def root(self) -> Node:
        return Parser(LANGUAGE).parse(self.source).root_node

    @cached_property
    def names(self) -> dict[str, list[tuple[Node, Node]]]:
        """The assignments of each name: the place and the expression. A member counts by its last part."""
        found: dict[str, list[tuple[Node, Node]]] = {}
        fields = {"pair": ("key", "value"), "variable_declarator": ("name", "value")}
        for place in self.captured(_NAMES, "name"):
            key, given = fields.get(place.type, ("left", "right"))
            if place.type == "function_declaration":
                name, value = place.child_by_field_name("name"), place
            else:
                name = place.child_by_field_name(key)
                value = place.child_by_field_name(given) or place
            empty = value.id == place.id and place.type != "function_declaration"
            if name is not None and not empty:
                found.setdefault(self._last(name), []).append((place, value))
        return found

    def targets(self) -> Iterator[Target]:
        for call in self.captured(CALLS, "call"):
            kind, given = self._request(call)
            if given is not None and self._reached(call):
                for address in self.values(given):
                    if address.strip(UNKNOWN):
                        yield Target(address, kind, call.start_point[0] + 1)
        for name, given_to in self.names.items():
            kind = "request" if name in _BASES else "name" if _NAMED.search(name) else ""
            for place, value in given_to if kind else ():
                if self._reached(place) and not self._chosen(name):
                    for address in self.values(value):
                        if re.match(r"(https?|wss?)://", address):
                            yield Target(address, kind, place.start_point[0] + 1)

    def _request(self, call: Node) -> tuple[str, Node | None]:
        """The kind of request that a call makes, and the argument with its address."""
        function = call.child_by_field_name("function") or call.child_by_field_name("constructor")
        arguments = call.child_by_field_name("arguments")
        children = arguments.named_children if arguments else []
        given = [child for child in children if child.type != "comment"]
        if function is None or not given:
            return "", None
        name = self.text(function)
        last = name.rpartition(".")[2]
        if call.type == "new_expression":
            return (last, given[0]) if last in _CONSTRUCTORS else ("", None)
        if name in _FUNCTIONS or _METHODS.fullmatch(name):
            return ("fetch" if last != "fetchEventSource" else "EventSource"), given[0]
        verb = self.text(given[0]).strip("\"'`").upper()
        if last == "open" and len(given) > 1 and verb in _VERBS:
            return "fetch", given[1]
        return "", None

    def values(self, node: Node | None, depth: int = 0) -> list[str]:
        """The texts that an expression may yield on the Hub, a few at most."""
        if node is None or depth > _DEEPEST or node.id in self._open:
            return [UNKNOWN]
        self._open.add(node.id)
        try:
            return list(islice(dict.fromkeys(self._evaluated(node, depth + 1)), _MOST_VALUES))
        finally:
            self._open.discard(node.id)

    def _evaluated(self, node: Node, depth: int) -> Iterator[str]:
        kind, text = node.type, self.text(node)
        if kind == "string":
            yield text[1:-1]
        elif kind == "template_string":
            yield from self._template(node, depth)
        elif kind in ("parenthesized_expression", "await_expression") and node.named_children:
            yield from self.values(node.named_children[0], depth)
        elif kind == "binary_expression":
            yield from self._binary(node, depth)
        elif kind == "ternary_expression":
            yield from self._ternary(node, depth)
        elif text in self.given:
            yield self.given[text]
        elif kind == "identifier":
            yield from self._named(text, depth)
        elif kind == "member_expression":
            yield from self._member(node, depth)
        elif kind == "new_expression":
            yield from self._joined(node, depth)
        elif kind == "call_expression":
            yield from self._returned(node, depth)
        elif kind == "object":
            # axios({url: …}) and $.ajax({url: …}).
            for pair in (child for child in node.named_children if child.type == "pair"):
                key = pair.child_by_field_name("key")
                if key is not None and self._last(key) in ("url", "uri"):
                    yield from self.values(pair.child_by_field_name("value"), depth)
        else:
            yield UNKNOWN

    def _template(self, node: Node, depth: int) -> Iterator[str]:
        texts = [""]
        for part in node.named_children:
            if part.type == "string_fragment":
                texts = [text + self.text(part) for text in texts]
            elif part.type == "template_substitution":
                inner = part.named_children[0] if part.named_children else None
                texts = [text + ending for text in texts for ending in self.values(inner, depth)]
        yield from texts

    def _binary(self, node: Node, depth: int) -> Iterator[str]:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        sign = self.text(operator) if operator else ""
        lefts = self.values(left, depth)
        if sign == "+":
            yield from (a + b for a in lefts for b in self.values(right, depth))
        elif sign in ("||", "??"):
            # A value that only a setting at run time could give is absent, so the fallback applies.
            yield from (option for option in lefts if option not in ("", UNKNOWN))
            known = any(option and UNKNOWN not in option for option in lefts)
            text = self.text(left) if left is not None else ""
            # The build decides `import.meta.env.X || …`; the page's address decides `isLocal() || …`.
            if not known and ("env" in text or not _KNOWS_WHERE.search(text)):
                yield from self.values(right, depth)
        elif sign == "&&":
            if left is None or self._truth(left) is not False:
                yield from self.values(right, depth)
        else:
            yield UNKNOWN

    def _ternary(self, node: Node, depth: int) -> Iterator[str]:
        condition = node.child_by_field_name("condition")
        truth = self._truth(condition) if condition else None
        if truth is None and condition and self._knows_where(condition):
            yield UNKNOWN
            return
        if truth is not False:
            yield from self.values(node.child_by_field_name("consequence"), depth)
        if truth is not True:
            yield from self.values(node.child_by_field_name("alternative"), depth)

    def _named(self, name: str, depth: int) -> Iterator[str]:
        if name == "origin":
            yield "{origin}"
            return
        given_to = self.names.get(name, [])
        # A name with many assignments in a bundle has no value that could be determined.
        if not given_to or len(given_to) > 3 or self._chosen(name):
            yield UNKNOWN
            return
        for place, value in given_to:
            if self._reached(place):
                yield from self.values(value, depth)

    def _member(self, node: Node, depth: int) -> Iterator[str]:
        text = re.sub(r"^(window|document|globalThis|self|top)\.", "", self.text(node))
        owner, _, last = text.rpartition(".")
        if owner == "location":
            yield LOCATION.get(last, UNKNOWN)
        elif len(last) > 2:
            yield from self._named(last, depth)
        else:
            yield UNKNOWN

    def _joined(self, node: Node, depth: int) -> Iterator[str]:
        """`new URL(path, base)`."""
        constructor, arguments = (
            node.child_by_field_name("constructor"),
            node.child_by_field_name("arguments"),
        )
        given = arguments.named_children if arguments else []
        if constructor is None or self.text(constructor) != "URL" or not given:
            yield UNKNOWN
            return
        for path in self.values(given[0], depth):
            bases = self.values(given[1], depth) if len(given) > 1 else [""]
            for base in bases:
                yield (
                    path if "://" in path or not base else base.rstrip("/") + "/" + path.lstrip("/")
                )

    def _returned(self, node: Node, depth: int) -> Iterator[str]:
        """The texts that a function of the script may return."""
        function = node.child_by_field_name("function")
        name = self.text(function) if function else ""
        arguments = node.child_by_field_name("arguments")
        if name in ("path.join", "path.resolve", "join", "resolve") and arguments and self.given:
            yield "/".join(self.values(child, depth)[0] for child in arguments.named_children)
            return
        if function is not None and function.type == "member_expression":
            # `url.toString()`, `base.replace(…)`, `base.trim()`
            owner = function.child_by_field_name("object")
            if name.rpartition(".")[2] in ("toString", "replace", "trim", "concat"):
                yield from self.values(owner, depth)
                return
        for _, value in self.names.get(name, [])[:2]:
            body = value.child_by_field_name("body")
            if body is None:
                continue
            if body.type != "statement_block":
                yield from self.values(body, depth)
                continue
            tests = (
                branch.child_by_field_name("condition")
                for branch in _descendants(body, "if_statement")
            )
            if any(self._knows_where(test) for test in tests if test is not None):
                continue
            for statement in _descendants(body, "return_statement"):
                if statement.named_children:
                    yield from self.values(statement.named_children[0], depth)
        yield UNKNOWN

    def _chosen(self, name: str) -> bool:
        """Whether the value of a name depends on the page's address: an `if` assigns it as well."""
        given_to = self.names.get(name, [])
        return len(given_to) > 1 and any(
            self._knows_where(condition)
            for place, _ in given_to
            for condition, _ in self._conditions(place)
        )

    def _reached(self, node: Node) -> bool:
        """Whether a browser on the Hub may reach this place in the code."""
        return not any(
            truth is not wanted and (truth is not None or self._knows_where(condition))
            for condition, wanted in self._conditions(node)
            for truth in (self._truth(condition),)
        )

    def _conditions(self, node: Node) -> Iterator[tuple[Node, bool]]:
        """The conditions around a place, each with the value that leads to it."""
        inner, outer = node, node.parent
        while outer is not None:
            if outer.type in ("if_statement", "ternary_expression"):
                condition = outer.child_by_field_name("condition")
                if condition is not None and condition.id != inner.id:
                    otherwise = outer.child_by_field_name("alternative")
                    yield condition, otherwise is None or otherwise.id != inner.id
            inner, outer = outer, outer.parent

    def _knows_where(self, condition: Node) -> bool:
        text = self.text(condition)
        if _KNOWS_WHERE.search(text):
            return True
        names = re.findall(r"[A-Za-z_$][\w$]*", text)[:8] if len(text) < 200 else []
        return any(
            _KNOWS_WHERE.search(self.text(value)[:300])
            for name in names
            for _, value in self.names.get(name, [])[:2]
        )

    def _truth(self, node: Node) -> bool | None:
        """The value of a condition on the page's own address on the Hub; None if it is unclear."""
        kind = node.type
        if kind == "parenthesized_expression" and node.named_children:
            return self._truth(node.named_children[0])
        if kind == "unary_expression":
            inner = node.child_by_field_name("argument")
            truth = self._truth(inner) if inner else None
            return None if truth is None or not self.text(node).startswith("!") else not truth
        if kind == "identifier":
            given_to = self.names.get(self.text(node), [])
            return self._truth(given_to[0][1]) if len(given_to) == 1 else None
        if kind == "binary_expression":
            return self._compared(node)
        text = self.text(node)
        if kind == "call_expression" and "location." in text and "hf.space" not in text:
            # `location.hostname.includes("localhost")`, `["localhost"].includes(location.hostname)`
            return False if re.search(r"localhost|127\\?\.0", text) else None
        return None

    def _compared(self, node: Node) -> bool | None:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        operator = node.child_by_field_name("operator")
        sign = self.text(operator) if operator else ""
        if left is None or right is None:
            return None
        if sign in ("&&", "||"):
            both = [self._truth(left), self._truth(right)]
            decisive = sign == "||"
            return decisive if decisive in both else None if None in both else not decisive
        if sign not in ("==", "===", "!=", "!=="):
            return None
        sides = [self._where(left), self._where(right)]
        if None in sides or not any("{" in str(side) or side == "https:" for side in sides):
            return None
        return (sides[0] == sides[1]) == (sign[0] == "=")

    def _where(self, node: Node) -> str | None:
        """A side of a comparison: a text, or the value of a `location` property."""
        text = re.sub(r"^(window|document|globalThis|self|top)\.", "", self.text(node))
        if node.type == "string":
            return None if "hf.space" in text else text[1:-1]
        owner, _, last = text.rpartition(".")
        return LOCATION.get(last) if owner == "location" else None

    def captured(self, query: Query, name: str) -> list[Node]:
        found = QueryCursor(query).captures(self.root).get(name, [])
        return sorted(found, key=lambda node: node.start_byte)

    def text(self, node: Node) -> str:
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "replace")

    def _last(self, node: Node) -> str:
        return self.text(node).rpartition(".")[2].strip("\"'`")


def _descendants(node: Node, kind: str) -> Iterator[Node]:
    for child in node.named_children:
        if child.type == kind:
            yield child
        if child.type not in ("function_declaration", "arrow_function", "function_expression"):
            yield from _descendants(child, kind)
