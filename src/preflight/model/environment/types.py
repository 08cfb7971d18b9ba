"""The types of `@type=…`: the form of a value, and values to test a Space with.

Source of names and options: varlock's @env-spec page on data types. The convention has more
options, which a Space's declaration has not needed.
"""

from __future__ import annotations

import ipaddress
import random
import re
import string
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar
from urllib.parse import urlsplit

Named = Iterator[tuple[str, str]]
"""Values to try, each with the name of its case."""


class Invalid(ValueError):
    """A type or option that cannot be used; the message says why."""


class Type:
    """A type with its options. Text without options accepts any value."""

    name: ClassVar[str] = "string"
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        """given: the options, by name. Raises Invalid for an unknown option."""
        self.given = dict(given or {})
        for key, value in self.given.items():
            if key not in self.options:
                takes = ", ".join(sorted(self.options)) or "no options"
                raise Invalid(f"@type={self.name} takes {takes}; {key!r} is none of them")
            self.check_option(key, value)

    def check_option(self, key: str, value: str) -> None:
        """Raise Invalid for an option's value that cannot be used."""

    def faults(self, value: str) -> Iterator[str]:
        """The faults of a value, in words that never contain it."""
        yield from ()

    def valid(self, chance: random.Random) -> str:
        """A value to start a Space with. `chance` makes text that occurs nowhere else."""
        return _text(chance, 40)

    def malformed(self) -> Named:
        """One value for each way to break the type; some may be valid for its options."""
        yield from ()

    def boundary(self) -> Named:
        """The values at the limits that are still valid: the twins of too short, too low and so on."""
        yield from ()

    def accepts(self, value: str) -> bool:
        """Whether the value has no fault."""
        return next(self.faults(value), None) is None


class String(Type):
    """Text, by default of any kind."""

    options = frozenset({"minLength", "maxLength", "isLength", "startsWith", "endsWith", "matches"})

    def check_option(self, key: str, value: str) -> None:
        if key in ("minLength", "maxLength", "isLength") and not value.isdigit():
            raise Invalid(f"@type={self.name}: {key}={value} is not a whole number")
        if key == "matches":
            try:
                re.compile(_pattern(value))
            except re.error:
                raise Invalid(f"@type={self.name}: matches={value} is not a regular expression") from None  # fmt: skip

    def faults(self, value: str) -> Iterator[str]:
        given = self.given
        if len(value) < self._length("minLength", 0):
            yield f"it is shorter than {given['minLength']}"
        if len(value) > self._length("maxLength", sys.maxsize):
            yield f"it is longer than {given['maxLength']}"
        if len(value) != self._length("isLength", len(value)):
            yield f"it does not have {given['isLength']} characters"
        if not value.startswith(given.get("startsWith", "")):
            yield f"it does not start with {given['startsWith']}"
        if not value.endswith(given.get("endsWith", "")):
            yield f"it does not end with {given['endsWith']}"
        if "matches" in given and not re.search(_pattern(given["matches"]), value):
            yield f"it does not match {_pattern(given['matches'])}"

    def valid(self, chance: random.Random) -> str:
        length = self._length("isLength", max(self._length("minLength", 0), 40))
        return self._of_length(chance, min(length, self._length("maxLength", length)))

    def malformed(self) -> Named:
        text = self.valid(random.Random(1))
        if "minLength" in self.given:
            yield "too-short", text[: max(self._length("minLength", 0) - 1, 0)]
        if "maxLength" in self.given:
            yield "too-long", "x" * (self._length("maxLength", 0) + 1)
        if "isLength" in self.given:
            yield "wrong-length", text + "x"
        if "startsWith" in self.given:
            yield "wrong-start", "!" + text[1:]
        if "endsWith" in self.given:
            yield "wrong-end", text[:-1] + "!"
        if "matches" in self.given:
            yield "no-match", "\N{BULLET}"

    def boundary(self) -> Named:
        if "minLength" in self.given:
            yield "shortest", self._of_length(random.Random(2), self._length("minLength", 0))
        if "maxLength" in self.given:
            yield "longest", self._of_length(random.Random(2), self._length("maxLength", 0))

    def _length(self, key: str, default: int) -> int:
        return int(self.given.get(key, default))

    def _of_length(self, chance: random.Random, length: int) -> str:
        start, end = self.given.get("startsWith", ""), self.given.get("endsWith", "")
        return start + _text(chance, max(length - len(start) - len(end), 0)) + end


class Number(Type):
    """A number, whole with `isInt=true`."""

    name = "number"
    options = frozenset({"min", "max", "isInt"})

    def check_option(self, key: str, value: str) -> None:
        if key in ("min", "max") and not re.fullmatch(r"-?\d+(\.\d+)?", value):
            raise Invalid(f"@type={self.name}: {key}={value} is not a number")

    @property
    def whole(self) -> bool:
        return self.given.get("isInt") == "true"

    @property
    def lowest(self) -> float | None:
        return float(self.given["min"]) if "min" in self.given else None

    @property
    def highest(self) -> float | None:
        return float(self.given["max"]) if "max" in self.given else None

    def faults(self, value: str) -> Iterator[str]:
        if not re.fullmatch(r"-?\d+" if self.whole else r"-?\d+(\.\d+)?", value):
            yield "it is not a whole number" if self.whole else "it is not a number"
        elif self.lowest is not None and float(value) < self.lowest:
            yield f"it is below {self.lowest:g}"
        elif self.highest is not None and float(value) > self.highest:
            yield f"it is above {self.highest:g}"

    def valid(self, chance: random.Random) -> str:
        return f"{min(self.highest or 1, 1) if self.lowest is None else self.lowest:g}"

    def malformed(self) -> Named:
        yield "not-a-number", "many"
        if self.lowest is not None:
            yield "too-low", f"{self.lowest - 1:g}"
        if self.highest is not None:
            yield "too-high", f"{self.highest + 1:g}"
        if self.whole:
            yield "not-whole", "80.5"

    def boundary(self) -> Named:
        if self.lowest is not None:
            yield "lowest", f"{self.lowest:g}"
        if self.highest is not None:
            yield "highest", f"{self.highest:g}"


class Port(Number):
    """A port of TCP or UDP."""

    name = "port"
    options = frozenset({"min", "max"})
    whole = True

    @property
    def lowest(self) -> float:
        return float(self.given.get("min", 0))

    @property
    def highest(self) -> float:
        return float(self.given.get("max", 65535))

    def valid(self, chance: random.Random) -> str:
        return f"{max(self.lowest, min(8080, self.highest)):g}"

    def boundary(self) -> Named:
        # A Space that uses its lowest or highest port proves nothing about the variable.
        yield from ()


class Boolean(Type):
    """On or off, in the words of the convention."""

    name = "boolean"
    words: ClassVar = {"t", "true", "yes", "on", "1", "f", "false", "no", "off", "0"}

    def faults(self, value: str) -> Iterator[str]:
        if value.lower() not in self.words:
            yield "it is not a boolean"

    def valid(self, chance: random.Random) -> str:
        return "true"

    def malformed(self) -> Named:
        yield "not-a-boolean", "not one at all"


class Url(Type):
    """An address with a scheme."""

    name = "url"
    options = frozenset({"allowedProtocols", "noTrailingSlash"})

    @property
    def protocols(self) -> Sequence[str]:
        """The schemes that are allowed; empty when all are."""
        listed = self.given.get("allowedProtocols", "").strip("[]").split(",")
        return [scheme for part in listed if (scheme := part.strip().strip(":\"'"))]

    def faults(self, value: str) -> Iterator[str]:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", value):
            yield "it is not a URL"
            return
        if self.protocols and urlsplit(value).scheme not in self.protocols:
            yield f"its protocol is none of {', '.join(self.protocols)}"
        if self.given.get("noTrailingSlash") == "true" and value.endswith("/"):
            yield "it ends with a slash"

    def valid(self, chance: random.Random) -> str:
        return f"{next(iter(self.protocols), 'https')}://service.example.com"

    def malformed(self) -> Named:
        yield "not-a-url", "not a url"
        if self.protocols:
            yield "wrong-protocol", "gopher://service.example.com"
        if self.given.get("noTrailingSlash") == "true":
            yield "trailing-slash", self.valid(random.Random(1)) + "/"


class Enum(Type):
    """One of a list of words: `enum(a, b)`."""

    name = "enum"

    def __init__(self, members: Sequence[str]) -> None:
        """Raises Invalid without members."""
        super().__init__()
        self.members = tuple(members)
        if not self.members:
            raise Invalid("@type=enum needs its members")

    def faults(self, value: str) -> Iterator[str]:
        if value not in self.members:
            yield f"it is none of {', '.join(self.members)}"

    def valid(self, chance: random.Random) -> str:
        return self.members[0]

    def malformed(self) -> Named:
        yield "not-a-member", f"not-{self.members[0]}"

    def boundary(self) -> Named:
        for member in self.members:
            yield f"member-{member}", member


class Email(Type):
    """A mail address."""

    name = "email"

    def faults(self, value: str) -> Iterator[str]:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            yield "it is not an e-mail address"

    def valid(self, chance: random.Random) -> str:
        return "user@example.com"

    def malformed(self) -> Named:
        yield "not-an-email", "not one at all"


class Ip(Type):
    """An IP address, of one version with `version=4` or `version=6`."""

    name = "ip"
    options = frozenset({"version"})

    def faults(self, value: str) -> Iterator[str]:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            yield "it is not an IP address"
        else:
            if self.given.get("version", str(address.version)) != str(address.version):
                yield f"it is IPv{address.version}"

    def valid(self, chance: random.Random) -> str:
        return "2001:db8::1" if self.given.get("version") == "6" else "192.0.2.1"

    def malformed(self) -> Named:
        yield "not-an-ip", "not one at all"


class Uuid(Type):
    """A UUID."""

    name = "uuid"

    def faults(self, value: str) -> Iterator[str]:
        if not re.fullmatch(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
            yield "it is not a UUID"

    def valid(self, chance: random.Random) -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    def malformed(self) -> Named:
        yield "not-a-uuid", "not one at all"


TYPES: dict[str, type[Type]] = {
    kind.name: kind for kind in (String, Number, Port, Boolean, Url, Enum, Email, Ip, Uuid)
}


def _pattern(argument: str) -> str:
    call = re.fullmatch(r"regex\((.*)\)", argument)
    return call.group(1) if call else argument


def _text(chance: random.Random, length: int) -> str:
    letters = string.ascii_letters + string.digits
    return "".join(chance.choice(letters) for _ in range(length))
