"""Who may read and write which file of an image, by its layers alone."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from preflight.engine.layers import Contents, Entry
from preflight.rules.dockerfile import Dockerfile


@dataclass(frozen=True)
class Owner:
    """The user that the app runs as, and what the image lets it do. Never root."""

    uid: int
    gid: int
    home: str
    name: str
    contents: Contents

    @classmethod
    def of(cls, uid: int, home: str, contents: Contents) -> Owner:
        """The user with this uid; a user without a line in /etc/passwd has group 0."""
        known = next((user for user in contents.users if user[1] == uid), None)
        return cls(uid, known[2] if known else 0, home, known[0] if known else "", contents)

    @property
    def shown(self) -> str:
        return f"{self.name} (uid {self.uid})" if self.name else f"uid {self.uid}"

    def name_of(self, uid: int) -> str:
        """A user's name, for a message."""
        return next((name for name, user, _, _ in self.contents.users if user == uid), f"uid {uid}")

    def may_write(self, path: str) -> bool:
        """Whether it may write to a file or into a folder that is there."""
        entry = self.contents.entries.get(path.rstrip("/") or "/")
        return entry is None or entry.writable_by(self.uid, self.gid)

    def may_write_in(self, path: str) -> bool:
        """Whether it may make files beside `path`: SQLite keeps its journal there."""
        return self.may_write(posixpath.dirname(path))

    def may_create(self, path: str) -> bool:
        """Whether it may write `path`, which need not be there: then its nearest folder decides."""
        path = path.rstrip("/") or "/"
        entries = self.contents.entries
        if path in entries and not entries[path].folder:
            return self.may_write(path)
        while path not in entries and path != "/":
            path = posixpath.dirname(path)
        # The root folder itself is in no layer; it belongs to root.
        return self.may_write(path) if path in entries else False

    def may_search(self, path: str) -> bool:
        """Whether it may reach what is in a folder."""
        entry = self.contents.entries.get(path)
        if entry is None:
            return True
        bits = 0o100 if entry.uid == self.uid else 0o010 if entry.gid == self.gid else 0o001
        return bool(entry.mode & bits)


def own_files(
    contents: Contents, dockerfile: Dockerfile, steps: str = ""
) -> Iterator[tuple[str, Entry]]:
    """Files and folders that steps of the Space's own Dockerfile made, not those of its base image.

    steps: "RUN" for those of RUN steps alone.
    """
    chosen = [
        command for command in dockerfile.final.chain if command.cmd in ("RUN", "COPY", "ADD")
    ]
    # The history has a step's words with its spaces joined, and a here-document's text alone.
    texts = [
        text
        for command in chosen
        if steps in ("", command.cmd)
        for text in (" ".join(command.value), *(document.content for document in command.heredocs))
    ]
    scripts = [words[:80] for text in texts if (words := " ".join(text.split()))]
    copies = steps == ""
    own = set()
    for number, layer in enumerate(contents.layers):
        instruction = " ".join(layer.instruction.split())
        copied = copies and instruction.startswith(("COPY", "ADD"))
        if copied or any(script in instruction for script in scripts):
            own.add(number)
    for path, entry in contents.entries.items():
        if entry.layer in own:
            yield path, entry
