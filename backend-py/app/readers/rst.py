"""Converts reStructuredText to HTML. Extensions of Sphinx lose their markup and keep their text."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from docutils import nodes
from docutils.core import publish_parts
from docutils.parsers.rst import Directive, directives, roles, states

SETTINGS = {
    # A book must not read files of the machine that builds it.
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "doctitle_xform": False,
    "initial_header_level": 1,
    "syntax_highlight": "none",
    "smart_quotes": False,
    "math_output": "LaTeX",
    "embed_stylesheet": False,
    "stylesheet_path": None,
}
CODE = frozenset(
    ["code-block", "sourcecode", "code", "prompt", "doctest", "testcode", "testoutput"]
)
# Directives whose content is not for readers.
SILENT = frozenset(
    [
        "toctree",
        "index",
        "highlight",
        "currentmodule",
        "module",
        "tabularcolumns",
        "meta",
        "include",
    ]
)
# Roles whose text is prose; the text of other roles is code.
PROSE_ROLES = frozenset(
    ["ref", "doc", "term", "abbr", "guilabel", "menuselection", "numref", "any"]
)


def rst_to_html(text: str, name: str) -> str:
    """An HTML page; messages of the parser use `name`."""
    with _sphinx_read_as_text():
        parts = publish_parts(text, source_path=name, writer="html5", settings_overrides=SETTINGS)
    return str(parts["whole"])


class _AnyOption(dict[str, Any]):
    """Accepts every option of a directive."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, _: str) -> Any:
        return directives.unchanged


class _Text(Directive):
    """A directive that docutils does not know."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = _AnyOption()

    def run(self) -> list[nodes.Node]:
        if self.name in SILENT:
            return []
        if self.name in CODE:
            code = "\n".join(self.content)
            language = self.arguments[:1]
            return [nodes.literal_block(code, code, classes=[f"language-{x}" for x in language])]
        out: list[nodes.Node] = []
        if self.arguments:
            inline, _ = self.state.inline_text(self.arguments[0], self.lineno)
            out.append(nodes.paragraph("", "", *inline))
        box = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, box)
        return [*out, *box.children]


def _text_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: states.Inliner, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    shown = nodes.unescape(text).partition("<")[0].strip() or nodes.unescape(text)
    if name in PROSE_ROLES:
        return [nodes.inline(rawtext, shown)], []
    if shown.startswith("~"):
        shown = shown.rpartition(".")[2]
    return [nodes.literal(rawtext, shown.removeprefix("~"))], []


@contextmanager
def _sphinx_read_as_text() -> Iterator[None]:
    """Temporarily replaces the look-up of directives and roles, as Sphinx does.

    Source: sphinx/util/docutils.py, CustomReSTDispatcher.
    """
    directive, role = directives.directive, roles.role

    def any_directive(name: str, language: Any, document: Any) -> Any:
        found, messages = directive(name, language, document)
        if found is None or name in CODE or name in SILENT:
            return _Text, []
        return found, messages

    def any_role(name: str, language: Any, lineno: int, reporter: Any) -> Any:
        found, messages = role(name, language, lineno, reporter)
        return (found, messages) if found else (_text_role, [])

    vars(directives)["directive"], vars(roles)["role"] = any_directive, any_role
    try:
        yield
    finally:
        vars(directives)["directive"], vars(roles)["role"] = directive, role
