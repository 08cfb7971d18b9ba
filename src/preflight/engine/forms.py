"""Sends what the page lets a visitor send, and finds refused writes in the log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from preflight.engine.answering import Answering
from preflight.engine.visitor import MOST_POSTS, Answer, Visit, ask
from preflight.model.problems import Problem, Severity
from preflight.rules.posts import Post

# How frameworks refuse a form for its origin: Django and SvelteKit 403, Rails 422.
REFUSALS = (403, 422)
PROBE = ("probe.txt", b"probe\n", "text/plain")
"""A file that a visitor uploads: name, content, media type."""
# Messages of runtimes about a file that can't be written.
_REFUSED = re.compile(
    r"attempt to write a readonly database|unable to open database file|SQLITE_(READONLY|CANTOPEN)"
    r"|\bPermission denied\b|\bPermissionError\b|\bEACCES\b|\bEROFS\b|Read-only file system"
    r"|\bAccessDeniedException\b",
)


def send_posts(subject: Answering, visited: Visit) -> dict[str, Answer]:
    """Send what the Space lets a visitor post, as a browser would; the answers by path. A live Space is sent nothing."""
    if subject.safe_only:
        return {}
    with ThreadPoolExecutor(MOST_POSTS) as pool:
        sent = {
            path: pool.submit(_send, subject, visited, path, post, f"https://{visited.host}")
            for path, post in visited.posts.items()
        }
        return {path: answer.result() for path, answer in sent.items()}


def _send(subject: Answering, visited: Visit, path: str, post: Post, origin: str) -> Answer:
    headers = {"Origin": origin, "Referer": f"{origin}/"}
    if visited.cookies:
        headers["Cookie"] = visited.cookies
    public = f"https://{visited.host}/"
    if post.body is not None:
        return ask(subject, path, headers, "POST", public, body=post.body)
    files = dict.fromkeys(post.files, PROBE)
    return ask(subject, path, headers, "POST", public, post.fields, files)


def origin_problems(
    subject: Answering, visited: Visit, posted: Mapping[str, Answer]
) -> Iterator[Problem]:
    """Posts that the server refuses for the public https:// origin alone: it compares the origin with the scheme or host
    of its own socket."""
    for path, answer in posted.items():
        if answer.status not in REFUSALS:
            continue
        send = partial(_send, subject, visited, path, visited.posts[path])
        for origin in (f"http://{visited.host}", "http://localhost:7860"):
            other = send(origin)
            if 0 < other.status < 500 and other.status not in REFUSALS:
                again = send(f"https://{visited.host}")
                if again.status == answer.status:
                    yield Problem(
                        f"the same answer to POST {path} for Origin: https://{visited.host}",
                        f"POST {path} answers {answer.status} for Origin: https://{visited.host}, and "
                        f"{other.status} for Origin: {origin}",
                    )
                break


def failed_requests(visited: Visit, posted: Mapping[str, Answer]) -> list[str]:
    """The requests that the server fails at, in words."""
    sent = [(f"POST {path}", answer) for path, answer in posted.items()]
    sent += [(f"GET {path}", answer) for path, answer in visited.paths.items()]
    return [f"{line} answers {answer.status}" for line, answer in sent if answer.status >= 500]


def refused_writes(
    log: str, failed: Sequence[str], already: Sequence[Problem]
) -> Iterator[Problem]:
    """A line of the log about a file that can't be written: `breaks` if a request failed, else `risk`."""
    line = next((text.strip()[:300] for text in log.splitlines() if _REFUSED.search(text)), None)
    if line is None or any(problem.severity is Severity.BREAKS for problem in already):
        return
    yield Problem(
        "no refusal to write a file in the run log",
        f"{line}" + (f" ({failed[0]})" if failed else ""),
        severity=Severity.BREAKS if failed else Severity.RISK,
    )
