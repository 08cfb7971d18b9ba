"""From a question to a cited answer: retrieve, generate or quote, cite."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.embedded import Index
from app.errors import ApiError
from app.limits import RateLimit
from app.question import key_of, messages, retrieval_query
from app.quoting import quote, refuse, source_of
from app.schemas import (
    ChatRequest,
    ChatResponse,
    Citation,
    Delta,
    Done,
    End,
    Event,
    Failure,
    Meta,
    SearchResponse,
    Source,
    Sources,
)
from app.settings import Settings

# The HTTP client is imported where it is needed: embedded mode starts without it.
if TYPE_CHECKING:
    import httpx2

    from app.cohere import Cohere
    from app.qdrant import Qdrant
    from app.retrieval import Retrieval, Retrieved

log = logging.getLogger("app.rag")

# Seconds between two probes of Qdrant: while it is well, and while it fails.
PROBE_SECONDS = 5.0
RECOVERY_SECONDS = 1.0
ANSWER_SECONDS = 600.0
MOST_ANSWERS = 256
MOST_ISSUED = 1000
# Characters of a streamed answer that are kept, for feedback and the cache: more than models write.
KEPT_CHARS = 40_000
# The longest wait for a stream that already answers the same question.
FOLLOW_SECONDS = 5.0


@dataclass
class Stream:
    """Events of an answer. `aclose` closes the upstream, even if no event was read."""

    events: AsyncGenerator[Event, None]
    aclose: Callable[[], Awaitable[None]]


class Answerer:
    """Answers questions in the mode of the settings. One per process; `run` spans its service."""

    def __init__(self, settings: Settings, index: Index | None) -> None:
        self._settings = settings
        self._index = index
        self._global = RateLimit(settings.global_per_minute)
        self._answers: OrderedDict[str, tuple[float, ChatResponse]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[ChatResponse]] = {}
        self._streamed: dict[str, asyncio.Event] = {}
        self._issued: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._cloud: tuple[Cohere, Qdrant] | None = None
        self._retrieval: Retrieval | None = None

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Keeps the connections to the upstreams open and probes Qdrant."""
        if self._settings.embedded:
            yield
            return
        from app.cohere import Cohere
        from app.qdrant import Qdrant
        from app.retrieval import Retrieval

        async with Cohere(self._settings) as cohere, Qdrant(self._settings) as qdrant:
            self._retrieval = Retrieval(self._settings, cohere, qdrant, self._index)
            self._cloud = cohere, qdrant
            watch = asyncio.create_task(_watch(qdrant))
            yield
            watch.cancel()

    def services(self) -> dict[str, str]:
        """State of each service; of Cohere at its last call, because a probe would cost quota."""
        if not self._cloud:
            return {"cohere": "embedded", "qdrant": "embedded"}
        return {u.name.lower(): "disconnected" if u.problem else "connected" for u in self._cloud}

    def unready(self) -> str | None:
        """The dependencies that are down, each with its error code, or None."""
        if not self._cloud:
            return None
        down = [f"{u.name.lower()}: {p}" for u in self._cloud if (p := u.present_problem())]
        return "; ".join(down) or None

    def issued(self, answer_id: str) -> tuple[str, str] | None:
        """Question and text of a recent answer, or None."""
        return self._issued.get(answer_id)

    async def answer(self, request: ChatRequest) -> ChatResponse:
        """The whole answer; raises ApiError if an upstream fails and the fallback is off."""
        key = key_of(request)
        if key and (known := self._known(key)):
            return self._issue(request, known)
        if not self._cloud:
            answer = await self._quote(request, [])
            if key:
                self._remember(key, answer)
            return self._issue(request, answer)
        try:
            # Simultaneous requests with the same question wait for the same call.
            task = self._under_way.get(key) if key else None
            if task is None:
                self._take_global()
                task = asyncio.create_task(self._generate(request))
                if key:
                    self._under_way[key] = task
                    task.add_done_callback(lambda _: self._under_way.pop(key, None))
            answer = await asyncio.shield(task)
        except ApiError as error:
            return self._issue(request, await self._fall_back(request, error))
        if key:
            self._remember(key, answer)
        return self._issue(request, answer)

    async def stream(self, request: ChatRequest) -> Stream:
        """The events of the answer; raises ApiError for a failure before the first event."""
        key = key_of(request)
        if key and (first := self._streamed.get(key)):
            # A stream already answers this question: wait for it, unless its reader is slow.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.wait(), FOLLOW_SECONDS)
        if not self._cloud or (key and (self._known(key) or key in self._under_way)):
            return _whole(await self.answer(request))
        over = asyncio.Event()
        if key:
            self._streamed[key] = over
        try:
            return await self._open(request, over)
        finally:
            if over.is_set() and key:
                self._streamed.pop(key, None)

    async def _open(self, request: ChatRequest, over: asyncio.Event) -> Stream:
        """A stream from the model or its fallback; sets `over` when the stream has ended."""
        assert self._cloud
        try:
            self._take_global()
            async with asyncio.timeout(self._settings.upstream_timeout):
                retrieved = await self._retrieve(request)
                if not retrieved.documents:
                    over.set()
                    refusal = refuse(retrieved.refused, retrieved.degraded_by)
                    return _whole(self._issue(request, refusal))
                response = await self._cloud[0].open_chat(messages(request), retrieved.documents)
        except TimeoutError:
            over.set()
            late = self._cloud[0].failure(504, "upstream_timeout")
            return _whole(self._issue(request, await self._fall_back(request, late)))
        except ApiError as error:
            over.set()
            return _whole(self._issue(request, await self._fall_back(request, error)))
        except BaseException:
            over.set()
            raise

        async def close() -> None:
            over.set()
            self._streamed = {k: event for k, event in self._streamed.items() if event is not over}
            await response.aclose()

        return Stream(self._relay(request, retrieved, response, close), close)

    async def search(self, query: str, top_k: int) -> SearchResponse:
        """Passages for `query`; raises ApiError as `answer` does."""
        if self._cloud:
            request = ChatRequest(question=query, top_k=top_k)
            try:
                found = await self._retrieve(request)
                refused = [source_of(hit) for hit in found.refused]
                return SearchResponse(results=found.sources or refused)
            except ApiError as error:
                if not self._may_quote():
                    raise
                log.warning("quoting instead", extra={"data": {"code": error.code}})
        assert self._index
        hits = await self._index.find(query, top_k)
        return SearchResponse(results=[source_of(hit) for hit in hits])

    async def _generate(self, request: ChatRequest) -> ChatResponse:
        assert self._cloud
        cohere = self._cloud[0]
        try:
            async with asyncio.timeout(self._settings.upstream_timeout):
                retrieved = await self._retrieve(request)
                if not retrieved.documents:
                    return refuse(retrieved.refused, retrieved.degraded_by)
                said = await cohere.chat(messages(request), retrieved.documents)
        except TimeoutError:
            raise cohere.failure(504, "upstream_timeout") from None
        citations = _checked(said.citations, retrieved.sources, len(said.text))
        return ChatResponse(
            id="",
            answer=said.text,
            mode="generated",
            grounded=bool(citations),
            degraded=bool(retrieved.degraded_by),
            degraded_by=retrieved.degraded_by,
            citations=citations,
            sources=retrieved.sources,
        )

    async def _relay(
        self,
        request: ChatRequest,
        retrieved: Retrieved,
        response: httpx2.Response,
        close: Callable[[], Awaitable[None]],
    ) -> AsyncGenerator[Event, None]:
        assert self._cloud
        answer = ChatResponse(
            id=secrets.token_hex(8),
            answer="",
            mode="generated",
            grounded=False,
            degraded=bool(retrieved.degraded_by),
            degraded_by=retrieved.degraded_by,
            citations=[],
            sources=retrieved.sources,
        )
        yield _meta(answer)
        yield Sources(sources=answer.sources)
        kept: list[str] = []
        room = KEPT_CHARS
        try:
            async for said in self._cloud[0].events(response):
                if isinstance(said, Delta):
                    if room:
                        kept.append(said.text[:room])
                        room -= len(kept[-1])
                    yield said
                elif isinstance(said, Citation):
                    for citation in _checked([said], retrieved.sources, None):
                        answer.citations.append(citation)
                        yield citation
                elif isinstance(said, End):
                    answer.answer, answer.grounded = "".join(kept), bool(answer.citations)
                    self._issue(request, answer, keep_id=True)
                    if (key := key_of(request)) and room and said.finish_reason == "COMPLETE":
                        self._remember(key, answer)
                    yield Done(grounded=answer.grounded, finish_reason=said.finish_reason)
        except ApiError as error:
            log.warning("stream cut", extra={"data": {"code": error.code}})
            yield Failure(code=error.code, retryable=error.code in RETRYABLE)
        finally:
            await close()

    async def _retrieve(self, request: ChatRequest) -> Retrieved:
        assert self._retrieval
        return await self._retrieval.retrieve(retrieval_query(request), request)

    async def _quote(self, request: ChatRequest, degraded_by: list[str]) -> ChatResponse:
        assert self._index
        return quote(await self._index.find(retrieval_query(request), request.top_k), degraded_by)

    def _may_quote(self) -> bool:
        return self._settings.rag_fallback == "on"

    async def _fall_back(self, request: ChatRequest, error: ApiError) -> ChatResponse:
        if not self._may_quote():
            raise error
        log.warning("quoting instead", extra={"data": {"code": error.code}})
        return await self._quote(request, [f"generation: {error.code}"])

    def _take_global(self) -> None:
        if wait := self._global.take():
            raise ApiError(429, "rate_limited", "Too many requests at the moment.", wait)

    def _issue(
        self, request: ChatRequest, answer: ChatResponse, *, keep_id: bool = False
    ) -> ChatResponse:
        """The answer with a new id, which feedback refers to."""
        if not keep_id:
            answer = answer.model_copy(update={"id": secrets.token_hex(8)})
        self._issued[answer.id] = (request.question, answer.answer)
        if len(self._issued) > MOST_ISSUED:
            self._issued.popitem(last=False)
        return answer

    def _known(self, key: str) -> ChatResponse | None:
        until, answer = self._answers.get(key, (0.0, None))
        return answer if until > time.monotonic() else None

    def _remember(self, key: str, answer: ChatResponse) -> None:
        self._answers.pop(key, None)
        self._answers[key] = (time.monotonic() + ANSWER_SECONDS, answer)
        if len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)


RETRYABLE = frozenset(
    ("upstream_rate_limited", "upstream_timeout", "upstream_truncated", "upstream_unavailable")
)


def _checked(given: list[Citation], sources: list[Source], length: int | None) -> list[Citation]:
    """The citations that lie inside the answer and name known sources."""
    known = {source.id for source in sources}
    out = []
    for citation in given:
        ids = [source for source in citation.sources if source in known]
        if ids and (length is None or citation.end <= length):
            out.append(Citation(start=citation.start, end=citation.end, sources=ids))
    return out


def _meta(answer: ChatResponse) -> Meta:
    return Meta(
        id=answer.id, mode=answer.mode, degraded=answer.degraded, degraded_by=answer.degraded_by
    )


def _whole(answer: ChatResponse) -> Stream:
    """A complete answer as a stream: one delta up to the end of each citation."""

    async def events() -> AsyncGenerator[Event, None]:
        yield _meta(answer)
        yield Sources(sources=answer.sources)
        sent = 0
        for citation in sorted(answer.citations, key=lambda c: c.end):
            if sent < citation.end:
                yield Delta(text=answer.answer[sent : citation.end])
                sent = citation.end
            yield citation
        if sent < len(answer.answer):
            yield Delta(text=answer.answer[sent:])
        yield Done(grounded=answer.grounded, finish_reason="COMPLETE")

    async def nothing_to_close() -> None:
        pass

    return Stream(events(), nothing_to_close)


async def _watch(qdrant: Qdrant) -> None:
    while True:
        with contextlib.suppress(ApiError):
            collection = await qdrant.collection()
            if collection is None or not collection.points:
                log.warning("collection empty or absent; fill it with: python -m app.ingest push")
        await asyncio.sleep(RECOVERY_SECONDS if qdrant.problem else PROBE_SECONDS)
