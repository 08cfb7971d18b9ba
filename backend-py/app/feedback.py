"""Readers' ratings of answers, kept in one SQLite file that its owner can read over HTTP."""

import sqlite3
import time
from pathlib import Path

from app.logs import timestamp
from app.schemas import FeedbackEntry

# The oldest give way, so that nobody can fill the disk.
MOST_ENTRIES = 10_000


class Feedback:
    """Raises sqlite3.Error when the file cannot be used; it is opened at the first rating."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def add(
        self, answer_id: str, rating: int, comment: str | None, question: str, answer: str
    ) -> None:
        with self._opened() as db:
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
        rows = self._opened().execute(
            "SELECT number, time, id, rating, comment, question, answer FROM feedback"
            " WHERE number > ? ORDER BY number LIMIT ?",
            (after, limit),
        )
        names = [column[0] for column in rows.description]
        return [FeedbackEntry.model_validate(dict(zip(names, row, strict=True))) for row in rows]

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, check_same_thread=False)
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS feedback(number INTEGER PRIMARY KEY AUTOINCREMENT,"
                " time TEXT, id TEXT, rating INTEGER, comment TEXT, question TEXT, answer TEXT)"
            )
        return self._db
