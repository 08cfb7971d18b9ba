"""The values of variables for a run: from options, files and examples."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values


class GivenError(Exception):
    """A value can't be read; the message names the option or the file, and the fix."""


@dataclass(frozen=True)
class Given:
    """Values by name, and the origin of each value."""

    values: dict[str, str]
    origins: dict[str, str]

    def __str__(self) -> str:
        """The origins with the names, never a value; empty when there are no values."""
        by_origin: dict[str, list[str]] = {}
        for name, origin in self.origins.items():
            by_origin.setdefault(origin, []).append(name)
        return "; ".join(f"{origin}: {', '.join(names)}" for origin, names in by_origin.items())


def given_values(
    folder: Path, pairs: Iterable[str], files: Iterable[Path], examples: dict[str, str] | None
) -> Given:
    """The values for the Space in `folder`; an earlier origin wins over a later one.

    pairs: NAME=VALUE of `--env`. files: those of `--env-file`.
    examples: the values of a plain `.env.example`. None: it has decorators; valid values are made
    from it, and the folder's `.env` is not read, because it holds the developer's keys.
    Raises GivenError.
    """
    origins: list[tuple[str, dict[str, str]]] = [("--env", dict(map(_pair, pairs)))]
    origins += [(f"--env-file {path}", _of_file(path)) for path in files]
    if examples is not None:
        own = folder / ".env"
        origins.append((".env", _of_file(own) if own.is_file() else {}))
        origins.append(
            (".env.example", {name: example for name, example in examples.items() if example})
        )
    values: dict[str, str] = {}
    where: dict[str, str] = {}
    for origin, found in origins:
        for name, value in found.items():
            if name not in values:
                values[name], where[name] = value, origin
    return Given(values, where)


def looks_sensitive(name: str) -> bool:
    """Whether a variable's name suggests a Secret."""
    return bool(_SENSITIVE.search(name)) and not _PUBLIC.search(name)


# `TOKENS` counts tokens, `KEY_ID` names a key, `PUBLISHABLE_KEY` is sent to browsers.
_SENSITIVE = re.compile(
    r"(^|_)(KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PWD|CREDENTIALS?|SALT|DSN|AUTH)(_|$)"
    r"|(SECRET|PASSWORD|APIKEY|TOKEN)$|(DATABASE|POSTGRES\w*|MONGO\w*|REDIS|MYSQL|AMQP|DB)_(URL|URI)$"
    r"|CONNECTION_STRING",
    re.IGNORECASE,
)
_PUBLIC = re.compile(
    r"(^|_)(PUBLIC|PUBLISHABLE)(_|$)|(^|_)(KEY|TOKEN)_(ID|NAME|COUNT|LIMIT|TTL|PATH|FILE)$"
    r"|(^|_)AUTH_(URL|HOST|TYPE|MODE|ENABLED)$|^VITE_|^NEXT_PUBLIC_",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        # The value may be a Secret: print the name only.
        raise GivenError(f"--env {name}: write --env NAME=VALUE, with a name of letters, digits, _")
    return name, value


def _of_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise GivenError(f"--env-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise GivenError(f"{path} is not UTF-8; save it as UTF-8") from None
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in found.items() if value is not None}
