"""Bodies of requests and answers."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MOST_TURNS = 20
TURN_CHARS = 4000
MOST_FIELDS = 32
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _clean(text: str) -> str:
    """Text without control characters; raises ValueError if it is empty or not valid Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can contain a lone surrogate, which UTF-8 cannot encode.
        raise ValueError("must be valid Unicode text") from None
    text = _CONTROL.sub("", text).strip()
    if not text:
        raise ValueError("must contain text")
    return text


Question = Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_clean)]
Selection = Annotated[str, Field(min_length=1, max_length=8000), AfterValidator(_clean)]
TurnText = Annotated[str, Field(min_length=1, max_length=TURN_CHARS), AfterValidator(_clean)]
Comment = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_clean)]
TopK = Annotated[int, Field(ge=1, le=20, strict=True)]


def _number(given: object) -> object:
    """`given`, unless it is a boolean: to Python `true` equals 1."""
    if isinstance(given, bool):
        raise ValueError("must be 1 or -1")
    return given


Rating = Annotated[Literal[1, -1], BeforeValidator(_number)]
AnswerId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, given: object) -> object:
        # Each unknown field becomes an error: a body full of them would take seconds.
        if isinstance(given, dict) and len(given) > MOST_FIELDS:
            raise ValueError(f"must have at most {MOST_FIELDS} fields")
        return given


class Turn(Model):
    role: Literal["user", "assistant"]
    content: TurnText


class ChatRequest(Model):
    """A question. The client keeps the history and may send the reader's selection."""

    question: Question
    selected_text: Selection | None = None
    history: Annotated[list[Turn], Field(max_length=MOST_TURNS)] = []
    top_k: TopK = 5


class SearchRequest(Model):
    query: Question
    top_k: TopK = 5


class Source(Model):
    """A passage of the book. A relative `url` is relative to this Space.

    `score`: in embedded mode the probability that it answers, 0 to 1; in cloud mode Qdrant's score.
    """

    id: str
    title: str
    url: str
    score: float
    snippet: str


class Citation(Model):
    """`sources` support `answer[start:end]`, counted in Unicode characters."""

    start: int
    end: int
    sources: list[str]


Mode = Literal["generated", "extractive", "none"]


class Meta(Model):
    """A streamed answer starts."""

    id: str
    mode: Mode
    degraded: bool
    degraded_by: list[str] = []


class Sources(Model):
    """The sources of a streamed answer."""

    sources: list[Source]


class Delta(Model):
    """The next words of a streamed answer."""

    text: str


class End(Model):
    """The model's text ends, for a reason of Cohere's API: COMPLETE, MAX_TOKENS, ..."""

    finish_reason: str


class Done(Model):
    """A streamed answer is complete."""

    grounded: bool
    finish_reason: str


class Failure(Model):
    """A streamed answer was cut short."""

    code: str
    retryable: bool


Event = Meta | Sources | Delta | Citation | Done | Failure


class ChatResponse(Model):
    """`mode`: written by a model, quoted from the book, or none if the book does not answer.

    `degraded_by` names each failed step with its error code: "rerank: upstream_timeout".
    """

    id: str
    answer: str
    mode: Mode
    grounded: bool
    degraded: bool
    degraded_by: list[str] = []
    citations: list[Citation]
    sources: list[Source]


class SearchResponse(Model):
    results: list[Source]


class FeedbackRequest(Model):
    """`id` of a recent answer of this Space."""

    id: AnswerId
    rating: Rating
    comment: Comment | None = None


class FeedbackEntry(Model):
    number: int
    time: str
    id: str
    rating: int
    comment: str | None
    question: str
    answer: str


class FeedbackList(Model):
    entries: list[FeedbackEntry]


class FieldFault(Model):
    field: str
    message: str


class Fault(Model):
    code: str
    message: str
    fields: list[FieldFault] | None = None


class ErrorResponse(Model):
    error: Fault
