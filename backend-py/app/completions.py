"""Answers in the format of OpenAI's chat completions, for clients that support only that.

Source: platform.openai.com/docs/api-reference/chat. The extension
field `book` holds what the format lacks: mode, grounded, degraded, citations, sources.
"""

import json
import time
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse

from app.errors import ApiError
from app.schemas import (
    MOST_TURNS,
    TURN_CHARS,
    ChatRequest,
    ChatResponse,
    Citation,
    Delta,
    Done,
    Event,
    Failure,
    Meta,
    Source,
    Sources,
)

MODEL = "book"
MOST_MESSAGES = 1000
MOST_PARTS = 100
FINISH_REASONS = {"MAX_TOKENS": "length"}


class Part(BaseModel):
    """A part of a message. Only parts of type `text` are read."""

    type: str
    text: str = ""


class Message(BaseModel):
    """One message. System and developer messages are ignored: the Space has its own."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class CompletionRequest(BaseModel):
    """A conversation whose last message is the question. Other fields are accepted and ignored."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    model: str = MODEL
    stream: bool | None = None
    n: Literal[1] | None = None


def to_chat_request(given: CompletionRequest) -> ChatRequest:
    """The question with the latest turns before it; raises ApiError if the user's is not last."""
    turns = [
        {"role": message.role, "content": text}
        for message in given.messages
        if message.role in ("user", "assistant") and (text := message.text().strip())
    ]
    if not turns or turns[-1]["role"] != "user":
        raise ApiError(422, "invalid_request", "The last message must be text from the user.")
    *before, question = turns
    history = [
        {"role": turn["role"], "content": turn["content"][:TURN_CHARS]}
        for turn in before[-MOST_TURNS:]
    ]
    try:
        return ChatRequest.model_validate({"question": question["content"], "history": history})
    except ValidationError:
        text = "Messages must be valid text, and the last one at most 2000 characters long."
        raise ApiError(422, "invalid_request", text) from None


def models() -> JSONResponse:
    model = {"id": MODEL, "object": "model", "created": 0, "owned_by": "backend-py"}
    return JSONResponse({"object": "list", "data": [model]})


def completion(answer: ChatResponse) -> JSONResponse:
    """A whole answer. `usage` is left out: a quoted answer has no tokens."""
    message = {"role": "assistant", "content": answer.answer, "refusal": None}
    return JSONResponse(
        {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
            ],
            "book": answer.model_dump(exclude={"id", "answer"}),
        }
    )


class Chunks:
    """Encodes the events of one streamed answer; the last chunk carries `book`."""

    def __init__(self) -> None:
        self._created = int(time.time())
        self._meta = Meta(id="", mode="none", degraded=False)
        self._sources: list[Source] = []
        self._citations: list[Citation] = []

    def __call__(self, event: Event) -> bytes:
        """The frames for `event`; may be empty."""
        match event:
            case Meta():
                self._meta = event
                return self._chunk({"role": "assistant", "content": ""})
            case Sources():
                self._sources = event.sources
            case Citation():
                self._citations.append(event)
            case Delta():
                return self._chunk({"content": event.text})
            case Failure():
                message = f"The answer was cut short: {event.code}."
                return _data({"error": {"code": event.code, "message": message}})
            case Done():
                return self._chunk({}, event) + b"data: [DONE]\n\n"
        return b""

    def _chunk(self, delta: dict[str, str], done: Done | None = None) -> bytes:
        reason = FINISH_REASONS.get(done.finish_reason, "stop") if done else None
        chunk: dict[str, object] = {
            "id": f"chatcmpl-{self._meta.id}",
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": MODEL,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
        }
        if done:
            chunk["book"] = {
                "mode": self._meta.mode,
                "grounded": done.grounded,
                "degraded": self._meta.degraded,
                "degraded_by": self._meta.degraded_by,
                "citations": [citation.model_dump() for citation in self._citations],
                "sources": [source.model_dump() for source in self._sources],
            }
        return _data(chunk)


def _data(given: dict[str, object]) -> bytes:
    return f"data: {json.dumps(given)}\n\n".encode()
