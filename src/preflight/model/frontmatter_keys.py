"""The keys of a Space's front matter, with the type and the values that the Hub takes.

Sources: hub-docs spaces-config-reference.md (the keys), huggingface.js
packages/hub/src/types/api/api-space.ts (value lists).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """The Hub's reference of a key."""

    kind: str
    """One of KINDS."""
    allowed: tuple[str, ...] | None = None
    """In the Hub's order, which its messages keep."""
    unused: str | None = None
    """Why a Docker Space gains nothing from it."""


def _values(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


COLOURS = _values("red yellow green blue indigo purple pink gray")
SDKS = _values("docker gradio static streamlit")
HARDWARE = _values("""
    cpu-basic cpu-upgrade cpu-xl zero-a10g t4-small t4-medium l4x1 l4x4 l40sx1 l40sx4 l40sx8
    a10g-small a10g-large a10g-largex2 a10g-largex4 a100-large a100x4 a100x8
    rtx-pro-6000 rtx-pro-6000x2 rtx-pro-6000x4 rtx-pro-6000x8
""")
"""Source: hub-docs spaces-config-reference.md, huggingface_hub _space_api.py (SpaceHardware)."""
UNDOCUMENTED_HARDWARE = ("cpu-xl",)
"""huggingface.js api-space.ts has it, spaces-config-reference.md does not."""
OAUTH_SCOPES = _values("""
    openid profile email read-billing read-memberships read-repos gated-repos contribute-repos
    write-repos manage-repos read-collections write-collections inference-api read-endpoints
    write-endpoints jobs webhooks write-discussions
""")
"""Source: hub-docs spaces-oauth.md."""
CUSTOM_HEADERS = {
    "cross-origin-embedder-policy": _values("unsafe-none require-corp credentialless"),
    "cross-origin-opener-policy": _values("same-origin same-origin-allow-popups unsafe-none"),
    "cross-origin-resource-policy": _values("same-site same-origin cross-origin"),
}
LICENSES = _values("""
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0
    cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1
    eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0
    openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr
    deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2
    llama3.3 llama4 grok2-community gemma unknown other
""")
"""Source: hub-docs repositories-licenses.md, from which the Hub derives its own list."""

_OTHER_SDK = "the Hub uses it for Gradio and static Spaces only"

KEYS: dict[str, Key] = {
    "title": Key("string"),
    "emoji": Key("string"),
    "colorFrom": Key("string", COLOURS),
    "colorTo": Key("string", COLOURS),
    "sdk": Key("string", SDKS),
    "app_port": Key("integer"),
    "short_description": Key("string"),
    "license": Key("string or list of strings", LICENSES),
    "license_name": Key("string"),
    "license_link": Key("string"),
    "pinned": Key("boolean"),
    "header": Key("string", _values("mini default")),
    "fullWidth": Key("boolean"),
    "base_path": Key("string"),
    "models": Key("list of strings"),
    "datasets": Key("list of strings"),
    "tags": Key("list of strings"),
    "language": Key("string or list of strings"),
    "thumbnail": Key("string"),
    "startup_duration_timeout": Key("string"),
    "suggested_hardware": Key("string", HARDWARE),
    "suggested_storage": Key(
        "string",
        _values("small medium large"),
        unused="persistent storage is no longer available; mount a Storage Bucket instead",
    ),
    "preload_from_hub": Key("list of strings"),
    "custom_headers": Key("mapping"),
    "disable_embedding": Key("boolean"),
    "hf_oauth": Key("boolean"),
    "hf_oauth_scopes": Key("list of strings", OAUTH_SCOPES),
    "hf_oauth_expiration_minutes": Key("integer"),
    "hf_oauth_authorized_org": Key("string or list of strings"),
    "duplicated_from": Key("string"),
    "metaTitle": Key("string"),
    "description": Key("string"),
    "app_file": Key("anything", unused=_OTHER_SDK),
    "app_build_command": Key("anything", unused=_OTHER_SDK),
    "python_version": Key(
        "anything", unused=_OTHER_SDK + "; a Docker Space takes its base image's"
    ),
    "sdk_version": Key("anything", unused=_OTHER_SDK),
    "dockerfile": Key(
        "anything", unused="it is not a key of the Hub, which builds /Dockerfile and no other"
    ),
}

KINDS: dict[str, Callable[[Any], bool]] = {
    "anything": lambda value: True,
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "boolean": lambda value: isinstance(value, bool),
    "mapping": lambda value: isinstance(value, dict),
    "list of strings": lambda value: (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ),
    "string or list of strings": lambda value: (
        isinstance(value, str) or KINDS["list of strings"](value)
    ),
}
