"""The forms of a page, sent as a visitor would send them, and what the log then says of writing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from preflight.engine.answering import Answering
from preflight.engine.visitor import NOT_HARMLESS, Visit, ask
from preflight.model.problems import Problem, Severity

MOST_FORMS = 3
# How runtimes word it that a file can't be written.
_REFUSED = re.compile(
    r"attempt to write a readonly database|unable to open database file|SQLITE_(READONLY|CANTOPEN)"
    r"|\bPermission denied\b|\bPermissionError\b|\bEACCES\b|\bEROFS\b|Read-only file system"
    r"|\bAccessDeniedException\b",
)


def send_forms(subject: Answering, visited: Visit) -> list[str]:
    """Send the page's own POST forms, filled in; returns those that the server fails at, in words."""
    failed = []
    forms = visited.page.forms if visited.page else ()
    own = [
        form
        for form in forms
        if form.method == "POST"
        and urlsplit(form.action).netloc == visited.host
        and not NOT_HARMLESS.search(form.action)
    ]
    for form in own[:MOST_FORMS]:
        path = urlsplit(form.action).path or "/"
        headers = {"Origin": f"https://{visited.host}", "Referer": f"https://{visited.host}/"}
        files = {name: ("probe.txt", b"probe\n", "text/plain") for name in form.files}
        answer = ask(subject, path, headers, "POST", data=form.fields, files=files)
        if answer.status >= 500:
            failed.append(f"POST {path} answers {answer.status}")
    failed += [
        f"GET {path} answers {answer.status}"
        for path, answer in visited.paths.items()
        if answer.status >= 500
    ]
    return failed


def refused_writes(
    log: str, failed: Sequence[str], already: Sequence[Problem]
) -> Iterator[Problem]:
    """A line of the log that tells of a file which can't be written; with a failed request it breaks."""
    line = next((one.strip()[:300] for one in log.splitlines() if _REFUSED.search(one)), None)
    if line is None or any(one.severity is Severity.BREAKS for one in already):
        return
    yield Problem(
        "no refusal to write a file in the run log",
        f"{line}" + (f" ({failed[0]})" if failed else ""),
        severity=Severity.BREAKS if failed else Severity.RISK,
    )
