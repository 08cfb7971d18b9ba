"""OpenAI's client library must be able to use the Space."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator

import openai
import pytest

from app.completions import Chunks
from app.rag import Answerer, Stream
from app.schemas import Done, Event, Failure, Meta

QUESTION = "Why does my boat leak?"


@pytest.fixture
def ai(port: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="unused", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0
    ) as client:
        yield client


def test_a_whole_answer(ai: openai.OpenAI) -> None:
    answer = ai.chat.completions.create(
        model="book",
        temperature=0,
        messages=[
            {"role": "system", "content": "Answer like a pirate."},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ],
    )
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    book = answer.model_dump()["book"]
    assert book["mode"] == "extractive" and book["grounded"]
    cited = book["citations"][0]
    text = choice.message.content or ""
    assert "A boat leaks" in text[cited["start"] : cited["end"]]
    assert book["sources"][0]["url"] == "/book/boats#why-does-my-boat-leak"


def test_a_streamed_answer_is_the_same(ai: openai.OpenAI) -> None:
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": QUESTION}
    ]
    whole = ai.chat.completions.create(model="book", messages=messages)
    chunks = list(ai.chat.completions.create(model="book", messages=messages, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].model_dump()["book"] == whole.model_dump()["book"]


def test_a_follow_up_takes_its_topic_from_the_turns_before(ai: openai.OpenAI) -> None:
    answer = ai.chat.completions.create(
        model="book",
        messages=[
            {"role": "user", "content": "What about sails in a storm?"},
            {"role": "assistant", "content": "Reef them."},
            {"role": "user", "content": "And why?"},
        ],
    )
    assert "Reef the sails" in (answer.choices[0].message.content or "")


def test_a_long_conversation_is_cut_and_answered(ai: openai.OpenAI) -> None:
    turn: list[openai.types.chat.ChatCompletionMessageParam] = [
        {"role": "user", "content": "My boat leaks. " * 400},
        {"role": "assistant", "content": ""},
    ]
    answer = ai.chat.completions.create(
        model="book", messages=[*turn * 50, {"role": "user", "content": QUESTION}]
    )
    assert answer.model_dump()["book"]["mode"] == "extractive"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "system", "content": "x"}],
        [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "x"}],
        [{"role": "user", "content": "  "}],
        [{"role": "user", "content": "x" * 2001}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "unknown", "content": "x"}],
        [{"role": "user", "content": "x"}] * 1001,
    ],
)
def test_refuses_a_conversation_without_a_question(
    ai: openai.OpenAI, messages: list[openai.types.chat.ChatCompletionMessageParam]
) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        ai.chat.completions.create(model="book", messages=messages)
    assert caught.value.code == "invalid_request"


def test_refuses_several_answers(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError):
        ai.chat.completions.create(
            model="book", n=2, messages=[{"role": "user", "content": QUESTION}]
        )


def test_lists_its_model(ai: openai.OpenAI) -> None:
    assert [model.id for model in ai.models.list()] == ["book"]


def test_a_stream_that_is_cut_raises(ai: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut(*_: object) -> Stream:
        async def events() -> AsyncGenerator[Event, None]:
            yield Meta(id="0" * 16, mode="generated", degraded=False)
            yield Failure(code="upstream_truncated", retryable=True)

        return Stream(events(), lambda: asyncio.sleep(0))

    monkeypatch.setattr(Answerer, "stream", cut)
    stream = ai.chat.completions.create(
        model="book", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    with pytest.raises(openai.APIError, match="upstream_truncated"):
        list(stream)


def test_an_answer_at_its_models_limit_says_so() -> None:
    frames = Chunks()(Done(grounded=False, finish_reason="MAX_TOKENS")).decode().split("\n\n")
    assert json.loads(frames[0].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
    assert frames[1:] == ["data: [DONE]", ""]
