"""The one declaration of a Space's environment: `.env.example` with @env-spec decorators.

    # Session signing key; at least 32 characters.
    # @required @sensitive @type=string(minLength=32)
    BETTER_AUTH_SECRET=

python-dotenv reads the bindings; this module reads the decorators in the comment lines directly
above one (a blank line or a divider such as `# ---` detaches them). What follows from them:
`@sensitive` makes a Secret, everything else is a Variable; nothing is required unless it says so.
Source: varlock's @env-spec reference and its pages on item decorators and data types.
`@sample=VALUE` is ours: a value for this machine that the Space has to refuse on the Hub.
`@dependency=VALUE` is ours: the variable names a service that the Space dials; VALUE is of the
form that it takes and points to 127.0.0.1:9, where nothing answers.

    python -m preflight.model.environment DIR     prints what to enter in the Space's settings
"""

from __future__ import annotations

import difflib
import io
import ipaddress
import random
import re
import string
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dotenv.parser import Binding, parse_stream


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a declaration. `duplicate` is told apart: the Hub refuses it itself."""

    line: int
    message: str
    duplicate: bool = False


class EnvironmentDeclarationError(Exception):
    """A declaration that cannot be used; its text has one line per fault, `file:line: message`."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        self.source = source
        self.faults = sorted(faults, key=lambda fault: fault.line)
        super().__init__("\n".join(f"{source}:{one.line}: {one.message}" for one in self.faults))


@dataclass(frozen=True)
class Condition:
    """`@required=forEq($OTHER, value)`: required while another variable has that value.

    A value of None is `@required=not(isEmpty($OTHER))`: required while the other is set at all.
    """

    variable: str
    value: str | None = None

    def __str__(self) -> str:
        return f"{self.variable} is {self.value or 'set'}"


@dataclass(frozen=True)
class Type:
    """`@type=name(option=value)`, or `enum(a, b)`."""

    name: str = "string"
    options: tuple[tuple[str, str], ...] = ()
    members: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        return dict(self.options).get(name)

    def number(self, name: str) -> float | None:
        value = self.option(name)
        return None if value is None else float(value)

    def length(self, name: str, default: int = 0) -> int:
        value = self.option(name)
        return default if value is None else int(value)


@dataclass(frozen=True)
class Variable:
    """One declared variable of the environment: a Secret when `sensitive`, else a Variable."""

    name: str
    description: str
    required: bool | Condition
    sensitive: bool
    type: Type
    example: str | None
    sample: str | None
    dependency: str | None
    default: str | None
    line: int

    @property
    def kind(self) -> str:
        return "Secret" if self.sensitive else "Variable"

    def accepts(self, value: str) -> bool:
        """Whether `value` is well-formed by the declared type and its options."""
        return next(_type_faults(self.type, value), None) is None


@dataclass(frozen=True)
class Case:
    """One way to start the Space: an environment, and whether it has to refuse it.

    `names_expected` are the variables that the refusal has to name, all of them at once; empty
    when the Space has to start.
    """

    id: str
    environment: dict[str, str]
    names_expected: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return bool(self.names_expected)


@dataclass(frozen=True)
class EnvironmentDeclaration:
    """Everything one `.env.example` declares. `decorated` tells a declaration from a plain list.

    A plain list of names (no known decorator anywhere) promises nothing: all of it is optional.
    """

    source: str
    variables: tuple[Variable, ...]
    decorated: bool

    @property
    def secrets(self) -> list[Variable]:
        """To enter as Secrets: never a build argument, never public."""
        return [variable for variable in self.variables if variable.sensitive]

    @property
    def variables_public(self) -> list[Variable]:
        """To enter as Variables: public, passed to the build, copied on duplication."""
        return [variable for variable in self.variables if not variable.sensitive]

    def __getitem__(self, name: str) -> Variable:
        return next(variable for variable in self.variables if variable.name == name)

    @classmethod
    def of_file(cls, path: Path) -> EnvironmentDeclaration:
        """Read a declaration.

        Raises:
            EnvironmentDeclarationError: naming file, line, fault and remedy; all faults at once.
        """
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            fault = Fault(1, f"it is not UTF-8 (byte {error.start}); save it as UTF-8")
            raise EnvironmentDeclarationError(path.name, [fault]) from error
        return cls.of_text(text, source=path.name)

    @classmethod
    def of_text(cls, text: str, *, source: str = ".env.example") -> EnvironmentDeclaration:
        """Read a declaration from its text. Raises like `of_file`."""
        items = list(_items(text))
        decorated = any(_is_meant(name) for name in re.findall(r"(?m)^#\s*@(\w+)", text))
        faults: list[Fault] = []
        variables: list[Variable] = []
        for item in items:
            if item.name is None:
                # Prose may speak of decorators; a line of nothing else has lost its variable.
                faults += [
                    Fault(one.line, f"{one} stands above no variable; put the variable below it")
                    for one in item.decorators
                    if not item.faults
                ]
                continue
            faults += item.faults
            if not item.name:
                continue
            earlier = next((one for one in variables if one.name == item.name), None)
            if earlier is not None:
                again = f"{item.name} is declared again (first in line {earlier.line}); keep one"
                faults.append(Fault(item.line, again, duplicate=True))
                continue
            variables.append(_variable(item, faults if decorated else []))
        declaration = cls(source, tuple(variables), decorated)
        if decorated:
            faults += _reference_faults(declaration)
        if decorated and faults:
            raise EnvironmentDeclarationError(source, faults)
        return declaration

    def is_required(self, variable: Variable, environment: dict[str, str]) -> bool:
        """Whether `variable` has to be set in this environment (resolves its condition)."""
        if not isinstance(variable.required, Condition):
            return variable.required
        other = self[variable.required.variable]
        value = environment.get(other.name, "").strip() or other.default or ""
        return bool(value) if variable.required.value is None else value == variable.required.value

    def valid_environment(self, seed: int = 0, **overrides: str) -> dict[str, str]:
        """A full environment with which the Space has to start.

        Holds every variable that is required (given `overrides`, such as RAG_MODE="cloud") and
        every optional one that has an `@example`; of a plain list, whatever has a value. A value
        is the `@example`, else the default, else made from type and options: text is random then,
        the same for the same seed, so that a Secret seen in an image, a log or an answer is a leak
        and nothing else.
        """
        return self._environment(seed, overrides)

    def _environment(
        self, seed: int, overrides: dict[str, str], absent: str | None = None
    ) -> dict[str, str]:
        environment = dict(overrides)
        # A variable that a condition names comes first: it decides what else is required.
        deciding = {
            v.required.variable for v in self.variables if isinstance(v.required, Condition)
        }
        for variable in sorted(self.variables, key=lambda one: one.name not in deciding):
            if variable.name in environment or variable.name == absent:
                continue
            given = variable.example if self.decorated else variable.default
            wanted = given is not None and not isinstance(variable.required, Condition)
            if self.is_required(variable, environment) or wanted:
                environment[variable.name] = _valid_value(variable, seed)
        return environment

    def environment_for(
        self, variable: Variable, seed: int = 0, value: str | None = None
    ) -> dict[str, str]:
        """A valid environment that sets `variable` (to `value`): its condition, if any, holds."""
        if value is None:
            value = _valid_value(variable, seed)
        return self._environment(seed, {**self._holding(variable, seed), variable.name: value})

    def _holding(self, variable: Variable, seed: int) -> dict[str, str]:
        """What has to be set for the variable's condition to hold."""
        condition = variable.required
        if not isinstance(condition, Condition):
            return {}
        value = condition.value or _valid_value(self[condition.variable], seed)
        return {condition.variable: value}

    def environment_without_dependencies(self) -> dict[str, str] | None:
        """A valid environment in which every dependency is out of reach; None when none is declared."""
        dialling = [variable for variable in self.variables if variable.dependency is not None]
        overrides: dict[str, str] = {}
        for variable in dialling:
            overrides |= self._holding(variable, 0)
            overrides[variable.name] = variable.dependency or ""
        return self.valid_environment(0, **overrides) if dialling else None

    def everything_missing(self) -> Case:
        """Nothing set at all: every unconditionally required variable has to be named at once."""
        names = tuple(v.name for v in self.variables if self.is_required(v, {}))
        return Case("nothing-set", {}, names)

    def faulty_cases(self, variable: Variable, seed: int = 0) -> list[Case]:
        """The matrix for one variable: each fault, and its twin that the Space has to accept.

        unset, empty, blank: refused when required, accepted when optional. Each way to break the
        type: refused. A sample value: accepted here, refused on the Hub (`SYSTEM=spaces`).
        """
        valid = self.environment_for(variable, seed)
        named = (variable.name,)
        missing = named if variable.required is not False else ()
        # What only matters beside this variable goes with it.
        without = self._environment(seed, self._holding(variable, seed), absent=variable.name)
        cases = [
            Case("valid", valid),
            Case("unset", without, missing),
            Case("empty", {**without, variable.name: ""}, missing),
            Case("blank", {**without, variable.name: "   "}, missing),
        ]
        for fault, value in _malformed_values(variable):
            cases.append(Case(fault, {**valid, variable.name: value}, named))
        for limit, value in _boundary_values(variable):
            cases.append(Case(limit, self.environment_for(variable, seed, value)))
        if variable.sample is not None:
            here = {**valid, variable.name: variable.sample}
            cases.append(Case("sample-here", here))
            cases.append(Case("sample-on-the-hub", {**here, "SYSTEM": "spaces"}, named))
        if isinstance(variable.required, Condition):
            elsewhere = self._environment_without(variable.required, seed)
            if elsewhere is not None:
                cases.append(Case("unset-where-not-required", elsewhere))
        return cases

    def _environment_without(self, condition: Condition, seed: int) -> dict[str, str] | None:
        other = self[condition.variable]
        if condition.value is None:
            return self._environment(seed, {}, absent=other.name)
        for value in (other.example, other.default, *other.type.members):
            if value is not None and value != condition.value:
                return self.valid_environment(seed, **{other.name: value})
        return None

    def settings_table(self) -> str:
        """What to enter in the Space's settings, as Markdown."""
        rows = [("Name", "Enter as", "Needed", "What it is", "Example")]
        for variable in self.variables:
            rows.append(
                (
                    f"`{variable.name}`",
                    variable.kind,
                    _needed(variable),
                    variable.description,
                    f"`{variable.example}`" if variable.example else "",
                )
            )
        cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(rows[0]))]
        lines = [
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
            for row in cells
        ]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join(lines)


def _needed(variable: Variable) -> str:
    if isinstance(variable.required, Condition):
        return f"when {variable.required}"
    return "yes" if variable.required else "no"


# --- decorators ---------------------------------------------------------------------------------

_MEANT = {"required", "optional", "sensitive", "public", "type", "example", "sample", "dependency"}
# Of the convention, without a meaning for a Space.
_WITHOUT_MEANING = {
    *("docs", "docsUrl", "icon", "tag", "deprecated", "internal", "dynamic", "static"),
}
_KNOWN = _MEANT | _WITHOUT_MEANING
# Options each type takes here; the convention has more, which a Space's declaration has not needed.
_TYPES: dict[str, set[str]] = {
    "string": {"minLength", "maxLength", "isLength", "startsWith", "endsWith", "matches"},
    "number": {"min", "max", "isInt"},
    "boolean": set(),
    "url": {"allowedProtocols", "noTrailingSlash"},
    "port": {"min", "max"},
    "enum": set(),
    "email": set(),
    "ip": {"version"},
    "uuid": set(),
}


@dataclass(frozen=True)
class _Call:
    """`name(a, b, key=value)` in a decorator's value."""

    name: str
    arguments: tuple[tuple[str | None, str], ...]

    def __str__(self) -> str:
        parts = (f"{key}={value}" if key else value for key, value in self.arguments)
        return f"{self.name}({', '.join(parts)})"


@dataclass(frozen=True)
class _Decorator:
    name: str
    value: str | _Call | None
    line: int

    def __str__(self) -> str:
        return f"@{self.name}"


@dataclass(frozen=True)
class _Item:
    """A binding with the comment lines above it. A name of None is a block above nothing, an empty
    one a line that is no binding."""

    name: str | None
    value: str
    line: int
    description: str
    decorators: tuple[_Decorator, ...]
    faults: tuple[Fault, ...]


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DIVIDER = re.compile(r"\s?(---|===)")


def _items(text: str) -> Iterator[_Item]:
    words: list[str] = []
    shared = ""
    decorators: list[_Decorator] = []
    faults: list[Fault] = []

    def finish(name: str | None, value: str, line: int) -> _Item:
        nonlocal shared
        # Variables that follow each other without a blank line share the words above the first.
        shared = " ".join(words) or shared
        item = _Item(name, value, line, shared, tuple(decorators), tuple(faults))
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
            yield _Item("", "", line, "", (), (Fault(line, _malformed(content)),))
        elif binding.key is None:
            comment = content.rstrip().lstrip("#")
            if _DIVIDER.match(comment):
                yield finish(None, "", line)
                shared = ""
            elif comment.strip().startswith("@"):
                for one in _decorators(comment.strip(), line):
                    if isinstance(one, Fault):
                        faults.append(one)
                    else:
                        decorators.append(one)
            elif comment.strip():
                words.append(comment.strip())
        else:
            faults += _binding_faults(binding, line, content)
            yield finish(binding.key, binding.value or "", line)
    yield finish(None, "", line)


def _malformed(content: str) -> str:
    return f"{content.strip()[:40]!r} is no `NAME=value`; write one, or begin the line with #"


def _binding_faults(binding: Binding, line: int, content: str) -> Iterator[Fault]:
    if binding.value is None:
        yield Fault(line, _malformed(content))
    elif not _NAME.fullmatch(binding.key or ""):
        yield Fault(line, f"{binding.key!r} is no name; use letters, digits and _")


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

    def value(self, bare: str) -> str | _Call:
        quoted = self.quoted()
        if quoted is not None:
            return quoted
        name = self.take(r"[A-Za-z][A-Za-z0-9_]*(?=\()")
        if name is not None:
            return _Call(name, self.arguments())
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


def _decorators(comment: str, line: int) -> Iterator[_Decorator | Fault]:
    scanner = _Scanner(comment)
    while (found := scanner.take(r"\s*@[A-Za-z][A-Za-z0-9_]*")) is not None:
        name = found.strip()[1:]
        try:
            value: str | _Call | None = None
            if scanner.take("=") is not None:
                value = scanner.value(r"[^\s#]+")
            elif scanner.text[scanner.at : scanner.at + 1] == "(":
                value = _Call("", scanner.arguments())
        except _Unreadable as error:
            yield Fault(line, f"@{name} cannot be read: {error}")
            return
        if name not in _KNOWN:
            close = difflib.get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean @{close[0]}?" if close else f"known: {_listed(_KNOWN)}"
            yield Fault(line, f"@{name} is not a known decorator; {hint}")
        else:
            yield _Decorator(name, value, line)
        scanner.take(r"[^\S\n]*")
        if scanner.text[scanner.at : scanner.at + 1] not in ("@", "#", ""):
            rest = scanner.text[scanner.at :][:30]
            yield Fault(
                line, f"{rest!r} follows @{name}; quote a value with spaces, or begin with #"
            )
            return


def _is_meant(name: str) -> bool:
    """Whether a comment that starts with `@name` is a decorator, or one misspelt."""
    return bool(difflib.get_close_matches(name, _MEANT, n=1, cutoff=0.8))


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


# --- meaning ------------------------------------------------------------------------------------


def _variable(item: _Item, faults: list[Fault]) -> Variable:
    given: dict[str, _Decorator] = {}
    for one in item.decorators:
        if one.name in given and one.name not in ("docs", "tag"):
            faults.append(Fault(one.line, f"{one} is given twice for {item.name}; keep one"))
        given[one.name] = one
    for first, second in (("required", "optional"), ("sensitive", "public")):
        if first in given and second in given:
            both = f"{item.name} is both @{first} and @{second}; keep one"
            faults.append(Fault(given[second].line, both))
    variable = Variable(
        name=item.name or "",
        description=item.description,
        required=_required(given.get("required"), faults),
        sensitive=_flag(given.get("sensitive"), faults),
        type=_type(given.get("type"), faults),
        example=_plain(given.get("example"), faults),
        sample=_plain(given.get("sample"), faults),
        dependency=_plain(given.get("dependency"), faults),
        default=item.value or None,
        line=item.line,
    )
    for label, value in (
        ("@example", variable.example),
        ("@dependency", variable.dependency),
        ("value", variable.default),
    ):
        if value is not None and (why := next(_type_faults(variable.type, value), None)):
            at = given[label[1:]].line if label[0] == "@" else item.line
            shown = "" if variable.sensitive else f" {value!r}"
            faults.append(Fault(at, f"{item.name}: its {label}{shown} is not valid: {why}"))
    return variable


def _required(decorator: _Decorator | None, faults: list[Fault]) -> bool | Condition:
    if decorator is None:
        return False
    value = decorator.value
    condition = re.fullmatch(
        r"(?:forEq|eq)\(\$\{?(\w+)\}?, (.+)\)|not\(isEmpty\(\$\{?(\w+)\}?\)\)", str(value)
    )
    if isinstance(value, _Call) and condition:
        return Condition(condition[1] or condition[3], condition[2])
    if value in (None, "true", "false"):
        return value != "false"
    known = "@required, @required=forEq($OTHER, value) or @required=not(isEmpty($OTHER))"
    faults.append(Fault(decorator.line, f"@required={value} is not known; write {known}"))
    return True


def _flag(decorator: _Decorator | None, faults: list[Fault]) -> bool:
    if decorator is None:
        return False
    if decorator.value not in (None, "true", "false"):
        faults.append(Fault(decorator.line, f"{decorator} is a flag; write it without a value"))
    return decorator.value != "false"


def _plain(decorator: _Decorator | None, faults: list[Fault]) -> str | None:
    if decorator is None:
        return None
    if isinstance(decorator.value, str) and decorator.value:
        return decorator.value
    # `@example=file:(x)` and the like: what looks like a call is a value here.
    if isinstance(decorator.value, _Call) and decorator.value.name:
        return str(decorator.value)
    faults.append(Fault(decorator.line, f"{decorator} needs a value: {decorator}=VALUE"))
    return None


def _type(decorator: _Decorator | None, faults: list[Fault]) -> Type:
    if decorator is None:
        return Type()
    line, value = decorator.line, decorator.value

    def refuse(why: str) -> Type:
        faults.append(Fault(line, why))
        return Type()

    name = value.name if isinstance(value, _Call) else value or ""
    arguments = value.arguments if isinstance(value, _Call) else ()
    if name not in _TYPES:
        close = difflib.get_close_matches(name, _TYPES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {_listed(set(_TYPES))}"
        return refuse(f"@type={name} is not a known type; {hint}")
    if name == "enum":
        members = tuple(argument for key, argument in arguments if key is None and argument)
        return Type(name, members=members) if members else refuse("@type=enum needs its members")
    for key, argument in arguments:
        if key is None or key not in _TYPES[name]:
            takes = _listed(_TYPES[name]) or "no options"
            return refuse(f"@type={name} takes {takes}; {key or argument!r} is none of them")
        if key in ("minLength", "maxLength", "isLength") and not argument.isdigit():
            return refuse(f"@type={name}: {key}={argument} is no whole number")
        if key in ("min", "max") and not re.fullmatch(r"-?\d+(\.\d+)?", argument):
            return refuse(f"@type={name}: {key}={argument} is no number")
        if key == "matches" and not _compiles(argument):
            return refuse(f"@type={name}: matches={argument} is no regular expression")
    return Type(name, tuple((key or "", argument) for key, argument in arguments))


def _pattern(argument: str) -> str:
    call = re.fullmatch(r"regex\((.*)\)", argument)
    return call.group(1) if call else argument


def _compiles(argument: str) -> bool:
    try:
        re.compile(_pattern(argument))
    except re.error:
        return False
    return True


def _reference_faults(declaration: EnvironmentDeclaration) -> Iterator[Fault]:
    by_name = {variable.name: variable for variable in declaration.variables}
    for variable in declaration.variables:
        condition = variable.required
        if not isinstance(condition, Condition):
            continue
        other = by_name.get(condition.variable)
        if other is None:
            yield Fault(
                variable.line,
                f"{variable.name} is required when {condition}, and {condition.variable} "
                "is not declared",
            )
        elif condition.value is not None and not other.accepts(condition.value):
            yield Fault(
                variable.line,
                f"{variable.name} is required when {condition}, which it never is",
            )


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_BOOLEANS = {"t", "true", "yes", "on", "1", "f", "false", "no", "off", "0"}


def _type_faults(declared: Type, value: str) -> Iterator[str]:
    name = declared.name
    if name == "string":
        yield from _string_faults(declared, value)
    elif name in ("number", "port"):
        yield from _number_faults(declared, value)
    elif name == "boolean" and value.lower() not in _BOOLEANS:
        yield "it is no boolean"
    elif name == "enum" and value not in declared.members:
        yield f"it is none of {', '.join(declared.members)}"
    elif name == "url":
        yield from _url_faults(declared, value)
    elif name == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        yield "it is no e-mail address"
    elif name == "uuid" and not re.fullmatch(
        r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value
    ):
        yield "it is no UUID"
    elif name == "ip":
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            yield "it is no IP address"
        else:
            if declared.option("version") not in (None, str(address.version)):
                yield f"it is IPv{address.version}"


def _string_faults(declared: Type, value: str) -> Iterator[str]:
    if len(value) < declared.length("minLength"):
        yield f"it is shorter than {declared.length('minLength')}"
    if len(value) > declared.length("maxLength", sys.maxsize):
        yield f"it is longer than {declared.length('maxLength')}"
    if len(value) != declared.length("isLength", len(value)):
        yield f"it has not {declared.length('isLength')} characters"
    if not value.startswith(declared.option("startsWith") or ""):
        yield f"it does not start with {declared.option('startsWith')}"
    if not value.endswith(declared.option("endsWith") or ""):
        yield f"it does not end with {declared.option('endsWith')}"
    if (argument := declared.option("matches")) and not re.search(_pattern(argument), value):
        yield f"it does not match {_pattern(argument)}"


def _number_faults(declared: Type, value: str) -> Iterator[str]:
    whole = declared.name == "port" or declared.option("isInt") == "true"
    if not re.fullmatch(r"-?\d+" if whole else r"-?\d+(\.\d+)?", value):
        yield "it is no whole number" if whole else "it is no number"
        return
    lowest, highest = _limits(declared)
    if lowest is not None and float(value) < lowest:
        yield f"it is below {lowest:g}"
    if highest is not None and float(value) > highest:
        yield f"it is above {highest:g}"


def _limits(declared: Type) -> tuple[float | None, float | None]:
    lowest, highest = declared.number("min"), declared.number("max")
    if declared.name == "port":
        return lowest or 0, 65535 if highest is None else highest
    return lowest, highest


def _url_faults(declared: Type, value: str) -> Iterator[str]:
    if not _URL.fullmatch(value):
        yield "it is no URL"
        return
    protocols = _protocols(declared)
    if protocols and urlsplit(value).scheme not in protocols:
        yield f"its protocol is none of {', '.join(protocols)}"
    if declared.option("noTrailingSlash") == "true" and value.endswith("/"):
        yield "it ends with a slash"


def _protocols(declared: Type) -> list[str]:
    listed = (declared.option("allowedProtocols") or "").strip("[]")
    return [one.strip().strip(":\"'") for one in listed.split(",") if one.strip()]


# --- values for the matrix ----------------------------------------------------------------------


def _valid_value(variable: Variable, seed: int) -> str:
    declared = variable.type
    # Of the name too: two Secrets never share a value, and none depends on its neighbours.
    chance = random.Random(f"{seed} {variable.name}")
    given = variable.example or variable.default
    if given is not None:
        return given
    lowest, highest = _limits(declared)
    match declared.name:
        case "number":
            return f"{lowest if lowest is not None else min(highest or 1, 1):g}"
        case "port":
            return f"{max(lowest or 0, min(8080, highest or 8080)):g}"
        case "boolean":
            return "true"
        case "enum":
            return declared.members[0]
        case "url":
            return f"{(_protocols(declared) or ['https'])[0]}://service.example.com"
        case "email":
            return "somebody@example.com"
        case "ip":
            return "2001:db8::1" if declared.option("version") == "6" else "192.0.2.1"
        case "uuid":
            return str(uuid.UUID(int=chance.getrandbits(128), version=4))
        case _:
            return _text_of(declared, chance)


def _text_of(declared: Type, chance: random.Random) -> str:
    start, end = declared.option("startsWith") or "", declared.option("endsWith") or ""
    length = declared.length("isLength") or max(declared.length("minLength"), 40)
    length = min(length, declared.length("maxLength", length))
    middle = max(length - len(start) - len(end), 0)
    letters = string.ascii_letters + string.digits
    return start + "".join(chance.choice(letters) for _ in range(middle)) + end


def _malformed_values(variable: Variable) -> Iterator[tuple[str, str]]:
    """One value per way to break the declared type; none that the type would accept."""
    declared = variable.type
    lowest, highest = _limits(declared)
    text = _text_of(declared, random.Random(1))
    candidates: list[tuple[str, str]] = []
    if declared.name == "string":
        if declared.option("minLength"):
            candidates.append(("too-short", text[: declared.length("minLength") - 1]))
        if declared.option("maxLength"):
            candidates.append(("too-long", "x" * (declared.length("maxLength") + 1)))
        if declared.option("isLength"):
            candidates.append(("wrong-length", text + "x"))
        if declared.option("startsWith"):
            candidates.append(("wrong-start", "!" + text[1:]))
        if declared.option("endsWith"):
            candidates.append(("wrong-end", text[:-1] + "!"))
        if declared.option("matches"):
            candidates.append(("no-match", "\N{BULLET}"))
    elif declared.name in ("number", "port"):
        candidates.append(("not-a-number", "many"))
        if lowest is not None:
            candidates.append(("too-low", f"{lowest - 1:g}"))
        if highest is not None:
            candidates.append(("too-high", f"{highest + 1:g}"))
        if declared.name == "port" or declared.option("isInt") == "true":
            candidates.append(("not-whole", "80.5"))
    elif declared.name == "url":
        candidates.append(("not-a-url", "not a url"))
        if _protocols(declared):
            candidates.append(("wrong-protocol", "gopher://service.example.com"))
        if declared.option("noTrailingSlash") == "true":
            candidates.append(("trailing-slash", _valid_value(variable, 1) + "/"))
    elif declared.name == "enum":
        candidates.append(("not-a-member", f"not-{declared.members[0]}"))
    else:
        candidates.append((f"not-a-{declared.name}", "not one at all"))
    for fault, value in candidates:
        if value.strip() and not variable.accepts(value):
            yield fault, value


def _boundary_values(variable: Variable) -> Iterator[tuple[str, str]]:
    """The last values that are still right: the twins of too short, too low and so on."""
    declared = variable.type
    lowest, highest = _limits(declared)
    candidates: list[tuple[str, str]] = []
    if declared.name == "string" and declared.option("minLength"):
        text = _text_of(declared, random.Random(2))
        candidates.append(("shortest", text[: declared.length("minLength")]))
    if declared.name == "string" and declared.option("maxLength"):
        longest = _text_of(
            Type("string", (("isLength", declared.option("maxLength") or ""),)), random.Random(2)
        )
        candidates.append(("longest", longest))
    if declared.name == "number":
        candidates += [("lowest", f"{lowest:g}")] if lowest is not None else []
        candidates += [("highest", f"{highest:g}")] if highest is not None else []
    if declared.name == "enum":
        candidates += [(f"member-{member}", member) for member in declared.members]
    for limit, value in candidates:
        if variable.accepts(value):
            yield limit, value
