"""The pre-receive hook: the contract's rules, in the Hub's words.

git runs it in the repository before any ref moves: `old new ref` lines on stdin, an exit code other
than 0 refuses the push. What it prints, git shows with `remote: ` before each line.
Sources of the texts: huggingface_hub issues 34 of huu4ontocord/MDEL, 1404 of huggingface_hub (YAML,
binary files); codango.com, "why my model wouldn't deploy" (10 MiB); forum reports (1 GB).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from preflight.local_hub import BRANCH
from preflight.model.frontmatter import HUB_PATTERN, FrontMatter, FrontMatterError
from preflight.model.git import GitError, Repository
from preflight.model.problems import Problem
from preflight.rules import metadata
from preflight.rules import repository as push

RULER = "-" * 73
DELETED = "0" * 40


def main() -> int:
    """0 when every pushed ref may move."""
    refused = False
    for line in sys.stdin:
        _, commit, ref = line.split()
        if commit == DELETED:
            continue
        try:
            text = refusal(Path.cwd(), commit, ref)
        except GitError as error:
            text = str(error)
        if text:
            refused = True
            print(text, flush=True)
    return 1 if refused else 0


def refusal(git_dir: Path, commit: str, ref: str) -> str | None:
    """The Hub's message when it refuses this commit; None when it accepts it.

    Raises GitError when git can't read the commit.
    """
    repository = Repository(git_dir, "", commit)
    if ref == BRANCH and (errors := metadata_errors(readme_of(git_dir, commit))):
        listed = "\n".join(f"- Error: {error}" for error in errors)
        return (
            f"{RULER}\nSorry, your push was rejected during YAML metadata verification:\n{listed}\n"
            f"{RULER}\n{RULER}\nPlease find the documentation at:\n"
            f"https://huggingface.co/docs/hub/model-cards#model-card-metadata\n\n{RULER}"
        )
    for problems, said in (
        (
            push.large_blob_problems(repository.history),
            "Your push was rejected because it contains files larger than 10 MiB.\n"
            "Please use https://git-lfs.github.com/ to store large files.\n"
            "See also: https://hf.co/docs/hub/repositories-getting-started#terminal",
        ),
        (
            push.binary_problems(repository.history),
            "Your push was rejected because it contains binary files.\n"
            "Please use https://huggingface.co/docs/hub/xet to store binary files.",
        ),
    ):
        if offending := [problem.file for problem in problems]:
            listed = "\n".join(f"  - {path} (ref: {ref})" for path in offending)
            return f"{RULER}\n{said}\n\nOffending files:\n{listed}\n{RULER}"
    if any(push.size_problems(repository.history)):
        return f"{RULER}\nRepository storage limit reached (Max: 1 GB)\n{RULER}"
    return None


def metadata_errors(readme: bytes) -> list[str]:
    """The front matter faults for which the Hub refuses a push. It accepts an absent block: CONFIG_ERROR."""
    if not recognised(readme):
        return []
    try:
        front = FrontMatter.of_readme(readme)
    except FrontMatterError as error:
        return [error.problem.actual]
    # Where the Hub's message is not known, ours says what is expected.
    return [problem.on_the_hub or problem.actual for problem in _metadata_problems(front)]


def recognised(readme: bytes) -> bool:
    """Whether the Hub finds a block of YAML at the top."""
    return HUB_PATTERN.match(readme.decode("utf-8", "replace")) is not None


def readme_of(git_dir: Path, commit: str) -> bytes:
    """README.md at a commit; empty when there is none."""
    command = ["git", "-C", str(git_dir), "show", f"{commit}:README.md"]
    return subprocess.run(command, capture_output=True, timeout=60).stdout


def _metadata_problems(front: FrontMatter) -> Iterator[Problem]:
    listed = ("sdk", "colorFrom", "colorTo", "license", "header", "suggested_hardware")
    yield from metadata.duplicate_problems(front)
    yield from metadata.type_problems(front)
    yield from metadata.allowed_problems(front, *listed, "hf_oauth_scopes")
    yield from metadata.app_port_problems(front)
    yield from metadata.short_description_problems(front)
    yield from metadata.base_path_problems(front)
    yield from metadata.startup_duration_problems(front)
    yield from metadata.custom_headers_problems(front)
    yield from metadata.oauth_expiration_problems(front)


if __name__ == "__main__":
    raise SystemExit(main())
