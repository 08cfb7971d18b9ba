"""Sends what the page lets a visitor send, and finds refused writes in the log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from preflight.engine.answering import Answering
from preflight.engine.visitor import MOST_POSTS, NOT_HARMLESS, Answer, Visit, ask
from preflight.model.problems import Problem, Severity
from preflight.rules.pages import Form
from preflight.rules.posts import TEXT, Post

MOST_FORMS = 3
PROBE = ("probe.txt", b"probe\n", "text/plain")
"""A file that a visitor uploads: name, content, media type."""
# Messages of runtimes about a file that can't be written.
_REFUSED = re.compile(
    r"attempt to write a readonly database|unable to open database file|SQLITE_(READONLY|CANTOPEN)"
    r"|\bPermission denied\b|\bPermissionError\b|\bEACCES\b|\bEROFS\b|Read-only file system"
    r"|\bAccessDeniedException\b",
)


def send_posts(subject: Answering, visited: Visit) -> dict[str, Answer]:
    """Send what the Space's scripts and documentation let a visitor post; the answers by path.

    A live Space is sent nothing.
    """
    if subject.safe_only:
        return {}
    headers = {"Origin": f"https://{visited.host}", "Referer": f"https://{visited.host}/"}
    public = f"https://{visited.host}/"
    # A script that sends a form takes it from the page.
    forms = visited.page.forms if visited.page else ()
    with ThreadPoolExecutor(MOST_POSTS) as pool:
        sent = {
            path: pool.submit(_send, subject, path, headers, public, one, forms)
            for path, one in visited.posts.items()
        }
        return {path: answer.result() for path, answer in sent.items()}


def _send(
    subject: Answering,
    path: str,
    headers: Mapping[str, str],
    public: str,
    post: Post,
    forms: Sequence[Form],
) -> Answer:
    if post.body is not None:
        return ask(subject, path, headers, "POST", public, body=post.body)
    fields = {name: TEXT for form in forms for name in form.fields} | dict.fromkeys(
        post.fields, TEXT
    )
    names = [name for form in forms for name in form.files] + list(post.files)
    files = {name: PROBE for name in names}
    return ask(subject, path, headers, "POST", public, fields, files)


def send_forms(subject: Answering, visited: Visit, posted: Mapping[str, Answer]) -> list[str]:
    """Send the page's own POST forms, filled in.

    Returns the requests that the server fails at, in words, with those of `posted` and of the visit.
    """
    failed = [
        f"POST {path} answers {answer.status}"
        for path, answer in posted.items()
        if answer.status >= 500
    ]
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
        files = {name: PROBE for name in form.files}
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
    """A line of the log about a file that can't be written: `breaks` if a request failed, else `risk`."""
    line = next((one.strip()[:300] for one in log.splitlines() if _REFUSED.search(one)), None)
    if line is None or any(one.severity is Severity.BREAKS for one in already):
        return
    yield Problem(
        "no refusal to write a file in the run log",
        f"{line}" + (f" ({failed[0]})" if failed else ""),
        severity=Severity.BREAKS if failed else Severity.RISK,
    )
