"""Spaces whose front matter or history the Hub refuses: like `cases`, with one change each."""

from __future__ import annotations

from preflight.model.problems import Severity
from tests.selftest.cases import IMAGE, POINTER, TOKEN, Broken, declared, dockerfile, readme

METADATA = (
    Broken(
        "no-front-matter",
        "metadata.front_matter_is_recognised",
        files={"README.md": "# Signer\n\nSIGNING_KEY and SIGNER_NAME are required.\n"},
        sample=True,
    ),
    Broken(
        "front-matter-below-text",
        "metadata.front_matter_is_recognised",
        edit=readme("---\ntitle", "Hello.\n\n---\ntitle"),
    ),
    Broken(
        "front-matter-not-closed",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit\n---", "license: mit\n"),
    ),
    Broken(
        "front-matter-closed-with-text",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit\n---", "license: mit\n--- end"),
    ),
    Broken(
        "front-matter-with-tab",
        "metadata.front_matter_is_recognised",
        edit=readme("license: mit", "tags:\n\t- signing\nlicense: mit"),
    ),
    Broken(
        "front-matter-with-colon",
        "metadata.front_matter_is_recognised",
        edit=readme("title: Signer", "title: Signer: the best"),
    ),
    Broken(
        "byte-order-mark",
        "metadata.block_is_at_the_first_byte",
        edit=readme("---\ntitle", "\ufeff---\ntitle"),
    ),
    Broken(
        "key-twice",
        "metadata.keys_stand_once",
        edit=readme("license: mit", "license: mit\ntitle: Signer"),
        sample=True,
    ),
    Broken("no-sdk", "metadata.sdk_is_docker", edit=readme("sdk: docker\n", ""), sample=True),
    Broken("sdk-gradio", "metadata.sdk_is_docker", edit=readme("sdk: docker", "sdk: gradio")),
    Broken(
        "pinned-as-text",
        "metadata.values_have_their_type",
        edit=readme("license: mit", "license: mit\npinned: yes"),
    ),
    Broken(
        "port-in-quotes",
        "metadata.values_have_their_type",
        edit=readme("app_port: 7860", 'app_port: "7860"'),
    ),
    Broken(
        "tags-as-text",
        "metadata.values_have_their_type",
        edit=readme("license: mit", "license: mit\ntags: signing"),
    ),
    Broken(
        "port-80",
        "metadata.app_port_is_unprivileged",
        edit={
            "README.md": [("app_port: 7860", "app_port: 80")],
            "Dockerfile": [("EXPOSE 7860", "EXPOSE 80"), ("127.0.0.1:7860", "127.0.0.1:80")],
            "app.py": [("PORT = 7860", "PORT = 80")],
        },
        sample=True,
    ),
    Broken(
        "colour-orange",
        "metadata.colours_are_known",
        edit=readme("colorFrom: indigo", "colorFrom: orange"),
    ),
    Broken(
        "colour-hex",
        "metadata.colours_are_known",
        edit=readme("colorTo: gray", 'colorTo: "#808080"'),
    ),
    Broken("emoji-word", "metadata.emoji_is_one", edit=readme("emoji: 🖋️", "emoji: pen")),
    Broken(
        "description-61",
        "metadata.short_description_is_short",
        edit=readme("Signs short texts with a key that stays secret", "x" * 61),
    ),
    Broken(
        "license-unknown", "metadata.license_is_known", edit=readme("license: mit", "license: MIT")
    ),
    Broken(
        "hardware-unknown",
        "metadata.suggested_hardware_exists",
        edit=readme("license: mit", "license: mit\nsuggested_hardware: h100"),
    ),
    Broken(
        "header-big",
        "metadata.header_is_known",
        edit=readme("license: mit", "license: mit\nheader: big"),
    ),
    Broken(
        "custom-header-other",
        "metadata.custom_headers_are_allowed",
        edit=readme("license: mit", "license: mit\ncustom_headers:\n  x-frame-options: DENY"),
    ),
    Broken(
        "custom-header-upper-case",
        "metadata.custom_headers_are_allowed",
        edit=readme(
            "license: mit",
            "license: mit\ncustom_headers:\n  Cross-Origin-Opener-Policy: same-origin",
        ),
    ),
    Broken(
        "startup-soon",
        "metadata.startup_duration_is_one",
        edit=readme("license: mit", "license: mit\nstartup_duration_timeout: soon"),
    ),
    Broken(
        "base-path-relative",
        "metadata.base_path_is_absolute",
        edit=readme("license: mit", "license: mit\nbase_path: docs"),
    ),
    Broken(
        "scope-unknown",
        "metadata.oauth_scopes_exist",
        edit=readme("license: mit", "license: mit\nhf_oauth: true\nhf_oauth_scopes: [write-all]"),
    ),
    Broken(
        "oauth-too-long",
        "metadata.oauth_expiration_is_allowed",
        edit=readme(
            "license: mit", "license: mit\nhf_oauth: true\nhf_oauth_expiration_minutes: 50000"
        ),
    ),
)

PUSH = (
    Broken(
        "large-file-in-history",
        "push.files_are_small_enough",
        earlier={"corpus.txt": "one line of a corpus\n" * (11 * 1024 * 1024 // 21)},
        sample=True,
    ),
    Broken("raw-image", "push.binaries_are_in_lfs", files={"logo.png": IMAGE}, sample=True),
    Broken("raw-image-in-history", "push.binaries_are_in_lfs", earlier={"logo.png": IMAGE}),
    Broken(
        "too-much-in-lfs",
        "push.repository_fits",
        earlier={"model.bin": POINTER.format(size=2 * 1024**3)},
    ),
    Broken(
        "dotenv-in-history",
        "push.dotenv_is_not_committed",
        earlier={".env": "SIGNING_KEY=not-so-secret-now\n"},
        sample=True,
    ),
    Broken(
        "token-in-code",
        "push.no_key_is_committed",
        edit={"app.py": [("PORT = 7860", f'PORT = 7860\nTOKEN = "{TOKEN}"')]},
    ),
    Broken(
        "token-in-history",
        "push.no_key_is_committed",
        earlier={"notes.txt": f"for later: {TOKEN}\n"},
    ),
    Broken(
        "lfs-pointer",
        "push.lfs_content_is_there",
        files={
            "model.bin": POINTER.format(size=1000),
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        },
    ),
    Broken(
        "dockerfile-elsewhere",
        "push.dockerfile_is_at_the_root",
        files={"Dockerfile": None, "docker/Dockerfile": "FROM scratch\n"},
        sample=True,
    ),
    Broken(
        "source-missing",
        "push.build_files_are_committed",
        edit=dockerfile(
            "COPY --chown=1000:1000 app.py .", "COPY --chown=1000:1000 app.py missing.py ./"
        ),
    ),
    Broken(
        "source-ignored-by-git",
        "push.build_files_are_committed",
        edit={
            "Dockerfile": [("app.py .\n", "app.py .\nCOPY dist dist\n")],
            ".dockerignore": [("!app.py", "!app.py\n!dist")],
        },
        files={".gitignore": "dist/\n"},
        uncommitted={"dist/page.html": "<p>built here alone</p>\n"},
        sample=True,
    ),
    Broken(
        "source-untracked",
        "push.build_files_are_committed",
        edit={
            "Dockerfile": [("app.py .", "app.py words.txt ./")],
            ".dockerignore": [("!app.py", "!app.py\n!words.txt")],
        },
        uncommitted={"words.txt": "forgotten\n"},
    ),
    Broken(
        "source-left-out-by-dockerignore",
        "push.build_files_are_committed",
        edit=dockerfile("app.py .", "app.py README.md ./"),
    ),
    Broken(
        "variable-and-secret",
        "push.names_do_not_collide",
        edit=declared("# Origins", "# The same again, as a Variable.\nSIGNING_KEY=\n\n# Origins"),
    ),
    Broken(
        "subdomain-64",
        "push.name_fits_the_hub",
        severity=Severity.ADVICE,
        git=(("remote", "add", "hub", f"https://huggingface.co/spaces/acme/{'s' * 59}"),),
    ),
    Broken(
        "name-with-two-hyphens",
        "push.name_fits_the_hub",
        git=(("remote", "add", "hub", "https://huggingface.co/spaces/acme/my--space"),),
    ),
)
