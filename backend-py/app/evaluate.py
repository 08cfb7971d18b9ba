"""Measures the answers of an index with a file of questions.

The file is TOML: `questions = [{ text = "…", gold = ["page#anchor", "page"] }, …]`. `gold` names
the sections that answer the question, by the anchor or its start, or whole pages. Without `gold`
the question must be refused. `kind` groups the rows of the table. `after` holds the previous
question and answer, `selected` the text that the reader has selected.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.embedded import Index
from app.encoder import packaged
from app.rag import Answerer
from app.schemas import ChatRequest, ChatResponse
from app.settings import read_settings

SHOWN = 20
COLUMNS = ("kind", "questions", "hit@1", "hit@3", "MRR", "wrongly refused", "quotes that belong")


class Question(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str
    gold: list[str] = []
    kind: str = "real"
    after: list[str] = []
    selected: str | None = None

    def request(self) -> ChatRequest:
        turns = [
            {"role": "assistant" if number % 2 else "user", "content": said}
            for number, said in enumerate(self.after)
        ]
        return ChatRequest.model_validate(
            {"question": self.text, "history": turns, "selected_text": self.selected}
        )


class Questions(BaseModel):
    questions: Annotated[list[Question], Field(min_length=1)]


@dataclass
class Count:
    """Sums over `asked` questions: right section first, in the first three, 1/rank, refusals."""

    asked: int = 0
    first: int = 0
    third: int = 0
    reciprocal: float = 0
    refused: int = 0
    quoted: int = 0
    belonging: int = 0

    def add(self, answer: ChatResponse, gold: list[str]) -> bool:
        """Counts one answer; returns whether it was right."""
        belongs = {source.id: _is_among(source.url, gold) for source in answer.sources}
        rank = next((n for n, right in enumerate(belongs.values(), 1) if right), 0)
        cited = [source for citation in answer.citations for source in citation.sources]
        self.asked += 1
        self.first += rank == 1
        self.third += 1 <= rank <= 3
        self.reciprocal += 1 / rank if rank else 0
        self.refused += not answer.grounded
        self.quoted += len(cited)
        self.belonging += sum(belongs.get(source, False) for source in cited)
        return (1 <= rank <= 3 and answer.grounded) if gold else not answer.grounded

    def cells(self) -> Iterator[str]:
        yield from (f"{self.first / self.asked:.0%}", f"{self.third / self.asked:.0%}")
        yield from (f"{self.reciprocal / self.asked:.2f}", f"{self.refused / self.asked:.0%}")
        yield f"{self.belonging / self.quoted:.0%}" if self.quoted else "-"


async def evaluate(questions: str, index_path: Path) -> list[str]:
    """The table and the wrong answers; raises ValueError if the questions do not fit the book."""
    index = Index(index_path, packaged())
    given = _read(questions, index)
    settings = read_settings({"RAG_MODE": "embedded", "INDEX_PATH": str(index_path)})
    answerer = Answerer(settings, index)
    kinds: dict[str, Count] = {}
    real, off_topic = Count(), Count()
    missed = []
    for question in given:
        answer = await answerer.answer(question.request())
        right = (real if question.gold else off_topic).add(answer, question.gold)
        if question.gold:
            kinds.setdefault(question.kind, Count()).add(answer, question.gold)
        if not right:
            missed.append(f"- {question.text}")
    rows = {**(kinds if len(kinds) > 1 else {}), "all with an answer": real}
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
        *(
            f"| {' | '.join([name, str(count.asked), *count.cells()])} |"
            for name, count in rows.items()
            if count.asked
        ),
    ]
    if off_topic.asked:
        answered = off_topic.asked - off_topic.refused
        lines += ["", f"Off-topic questions answered: {answered} of {off_topic.asked}."]
    if missed:
        lines += ["", f"Wrong ({len(missed)}):", *missed[:SHOWN]]
        lines += [f"- … and {len(missed) - SHOWN} more"] if len(missed) > SHOWN else []
    return lines


def _read(text: str, index: Index) -> list[Question]:
    try:
        given = Questions.model_validate(tomllib.loads(text)).questions
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{place}: {fault['msg']}") from None
    urls = [url for url, _, _ in index.headings()]
    for question in given:
        for section in question.gold:
            if not any(_is_among(url, [section]) for url in urls):
                raise ValueError(f"{section!r} is not a section of the book: {question.text!r}")
    return given


def _is_among(url: str, gold: list[str]) -> bool:
    """Whether `gold` names the page of `url`, or the start of its anchor."""
    page = f"/{url.partition('#')[0]}"
    return any(f"/{g}" in f"/{url}" if "#" in g else page.endswith(f"/{g}") for g in gold)
