"""The shapes of keys that must not be pushed."""

from __future__ import annotations

import re
from collections.abc import Iterator

# The shapes that providers document. A self-made key has no shape. TruffleHog, which the Hub runs on
# every push, verifies keys with the provider.
KEY_SHAPES: dict[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*\n[A-Za-z0-9+/=]{40}"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "an OpenAI or Anthropic key": re.compile(rb"\bsk-(?:proj-|ant-|svcacct-)?[A-Za-z0-9_-]{32,}\b"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,})\b"),
    "a Google API key": re.compile(rb"\bAIza[A-Za-z0-9_-]{35}\b"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{20,}\b"),
    "a Stripe live key": re.compile(rb"\b[rs]k_live_[A-Za-z0-9]{20,}\b"),
    "a password in a URL": re.compile(
        rb"\b(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|rediss?|amqps?)://"
        rb"[^\s:/@'\"<>${}]+:(?P<key>[^\s@'\"<>${}]{12,})@"
    ),
}
PLACEHOLDER = re.compile(
    rb"(?i)example|placeholder|changeme|change-me|your|xxxx|sample|dummy|fake|0000"
)


def keys_in(content: bytes) -> Iterator[tuple[int, str]]:
    """Line number and kind of each key in a file. Never the key."""
    for kind, shape in KEY_SHAPES.items():
        for match in shape.finditer(content):
            key = match.groupdict().get("key") or match.group()
            # A key is random: a placeholder repeats itself or says that it is one.
            if not PLACEHOLDER.search(key) and len(set(key)) >= min(12, len(key) // 2):
                yield content.count(b"\n", 0, match.start()) + 1, kind
