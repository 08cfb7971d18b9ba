"""`preflight.toml`: how the owner of a Space wants findings judged.

fail-on = "risk"        findings from this severity on end a run with exit code 1; "breaks" by default
conventions = true      also check the conventions of docs/rehearsal.md

[waive]
"cors.varies_by_origin" = "a single front end calls, without a cache in between"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preflight.model.problems import Severity

FILE = "preflight.toml"


class PolicyError(Exception):
    """An invalid `preflight.toml`; the message names the key and the fix."""


@dataclass(frozen=True)
class Policy:
    """The choices of one Space's owner. `waivers`: the reason for each rule id that is waived."""

    fail_on: Severity = Severity.BREAKS
    conventions: bool = False
    waivers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_folder(cls, folder: Path | None) -> Policy:
        """Read the folder's `preflight.toml`; the defaults where there is none.

        Raises:
            PolicyError: naming the key, the fault and the fix.
        """
        path = folder / FILE if folder else None
        if path is None or not path.is_file():
            return cls()
        try:
            return cls._of_table(tomllib.loads(path.read_text(encoding="utf-8")))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PolicyError(f"{path}: not TOML: {error}") from None
        except PolicyError as error:
            raise PolicyError(f"{path}: {error}") from None

    @classmethod
    def _of_table(cls, table: dict[str, Any]) -> Policy:
        known = {"fail-on", "conventions", "waive"}
        for key in table.keys() - known:
            raise PolicyError(f"no setting is called {key!r}; known: {', '.join(sorted(known))}")
        fail_on, conventions = table.get("fail-on", "breaks"), table.get("conventions", False)
        if fail_on not in list(Severity):
            raise PolicyError(f"fail-on = {fail_on!r}: write one of {', '.join(Severity)}")
        if not isinstance(conventions, bool):
            raise PolicyError(f"conventions = {conventions!r}: write true or false")
        waivers = table.get("waive", {})
        if not isinstance(waivers, dict):
            raise PolicyError('waive: write a table, [waive], with "rule.id" = "reason"')
        for rule, reason in waivers.items():
            if not isinstance(reason, str) or not reason.strip():
                raise PolicyError(
                    f'waive: {rule} needs a reason: "{rule}" = "why it does not matter here"'
                )
        return cls(Severity(fail_on), conventions, waivers)
