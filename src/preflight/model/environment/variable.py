"""A declared variable: the meaning of its decorators, and values to test a Space with."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from preflight.model.environment.parser import Call, Decorator, Fault, Item, listed
from preflight.model.environment.types import TYPES, Enum, Invalid, String, Type


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
        return self.type.accepts(value)

    def value(self, seed: int) -> str:
        """A valid value: the `@example`, else the default, else one made from type and options."""
        given = self.example or self.default
        # Seeded by the name too: two Secrets never share a value, and none depends on its neighbours.
        return given if given is not None else self.type.valid(random.Random(f"{seed} {self.name}"))

    def malformed(self) -> Iterator[tuple[str, str]]:
        """One value for each way to break the type; none that the type accepts."""
        for fault, value in self.type.malformed():
            if value.strip() and not self.accepts(value):
                yield fault, value

    def boundary(self) -> Iterator[tuple[str, str]]:
        """The last values that are still valid."""
        for limit, value in self.type.boundary():
            if self.accepts(value):
                yield limit, value


def variable_of(item: Item, faults: list[Fault]) -> Variable:
    """The variable that an item declares; adds its faults to `faults`."""
    given: dict[str, Decorator] = {}
    for decorator in item.decorators:
        if decorator.name in given and decorator.name not in ("docs", "tag"):
            faults.append(
                Fault(decorator.line, f"{decorator} is given twice for {item.name}; keep one")
            )
        given[decorator.name] = decorator
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
        if value is not None and (why := next(variable.type.faults(value), None)):
            at = given[label[1:]].line if label[0] == "@" else item.line
            shown = "" if variable.sensitive else f" {value!r}"
            faults.append(Fault(at, f"{item.name}: its {label}{shown} is not valid: {why}"))
    return variable


def _required(decorator: Decorator | None, faults: list[Fault]) -> bool | Condition:
    if decorator is None:
        return False
    value = decorator.value
    condition = re.fullmatch(
        r"(?:forEq|eq)\(\$\{?(\w+)\}?, (.+)\)|not\(isEmpty\(\$\{?(\w+)\}?\)\)", str(value)
    )
    if isinstance(value, Call) and condition:
        return Condition(condition[1] or condition[3], condition[2])
    if value in (None, "true", "false"):
        return value != "false"
    known = "@required, @required=forEq($OTHER, value) or @required=not(isEmpty($OTHER))"
    faults.append(Fault(decorator.line, f"@required={value} is not known; write {known}"))
    return True


def _flag(decorator: Decorator | None, faults: list[Fault]) -> bool:
    if decorator is None:
        return False
    if decorator.value not in (None, "true", "false"):
        faults.append(Fault(decorator.line, f"{decorator} is a flag; write it without a value"))
    return decorator.value != "false"


def _plain(decorator: Decorator | None, faults: list[Fault]) -> str | None:
    if decorator is None:
        return None
    if isinstance(decorator.value, str) and decorator.value:
        return decorator.value
    # `@example=file:(x)` and similar: text that looks like a call is a value here.
    if isinstance(decorator.value, Call) and decorator.value.name:
        return str(decorator.value)
    faults.append(Fault(decorator.line, f"{decorator} needs a value: {decorator}=VALUE"))
    return None


def _type(decorator: Decorator | None, faults: list[Fault]) -> Type:
    if decorator is None:
        return String()
    value = decorator.value
    name = value.name if isinstance(value, Call) else value or ""
    arguments = value.arguments if isinstance(value, Call) else ()
    if name not in TYPES:
        close = difflib.get_close_matches(name, TYPES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {listed(TYPES)}"
        faults.append(Fault(decorator.line, f"@type={name} is not a known type; {hint}"))
        return String()
    try:
        if name == "enum":
            return Enum([text for key, text in arguments if key is None and text])
        return TYPES[name]({key or text: text for key, text in arguments})
    except Invalid as error:
        faults.append(Fault(decorator.line, str(error)))
        return String()
