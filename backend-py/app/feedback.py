"""Readers' ratings of answers in one SQLite file, which the Space's owner can read over HTTP."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ApiError
from app.logs import timestamp
from app.schemas import FeedbackEntry

# Older entries are deleted, so that feedback cannot fill the disk.
MOST_ENTRIES = 10_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS feedback(
  number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT, id TEXT, rating INTEGER, comment TEXT,
  question TEXT, answer TEXT)
"""

log = logging.getLogger("app.feedback")


class Feedback:
    """Raises ApiError while the file is unusable; the next call reopens it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def add(
        self, answer_id: str, rating: int, comment: str | None, question: str, answer: str
    ) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT INTO feedback(time, id, rating, comment, question, answer)"
                " VALUES(?,?,?,?,?,?)",
                (timestamp(time.time()), answer_id, rating, comment, question, answer),
            )
            db.execute(
                "DELETE FROM feedback WHERE number <= (SELECT max(number) FROM feedback) - ?",
                (MOST_ENTRIES,),
            )

    def entries(self, after: int, limit: int) -> list[FeedbackEntry]:
        """Up to `limit` entries numbered above `after`, oldest first."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT number, time, id, rating, comment, question, answer FROM feedback"
                " WHERE number > ? ORDER BY number LIMIT ?",
                (after, limit),
            )
            names = [column[0] for column in rows.description]
            return [
                FeedbackEntry.model_validate(dict(zip(names, row, strict=True))) for row in rows
            ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the open file. A failed connection is closed: it may lack the table."""
        try:
            self._db = self._db or self._connect()
            with self._db:
                yield self._db
        except (OSError, sqlite3.Error) as error:
            log.warning("feedback cannot be used", extra={"data": {"reason": str(error)}})
            if self._db:
                self._db.close()
                self._db = None
            raise ApiError(
                503, "storage_unavailable", "Feedback cannot be stored at the moment.", 60
            ) from None

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, check_same_thread=False)
        try:
            db.execute(_SCHEMA)
        except sqlite3.Error:
            db.close()
            raise
        return db
