"""The stand-ins must work with the official SDKs of Cohere and Qdrant."""

from __future__ import annotations

import uuid

import cohere
import pytest
from cohere.core.api_error import ApiError
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.doubles.running import Upstreams

TEXTS = ["The hull has a hole", "Sails catch the wind", "Tar closes a hole in the hull"]


@pytest.fixture(autouse=True)
def empty(upstreams: Upstreams) -> None:
    upstreams.reset(collections=True)


@pytest.fixture
def sdk(upstreams: Upstreams) -> cohere.ClientV2:
    return cohere.ClientV2(api_key="k", base_url=upstreams.url, timeout=10)


@pytest.fixture
def qdrant(upstreams: Upstreams) -> QdrantClient:
    return QdrantClient(url=upstreams.url, api_key="k", check_compatibility=False, timeout=10)


def points(size: int = 4) -> list[models.PointStruct]:
    vectors = [[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.9, 0.1, 0, 0]]
    return [
        models.PointStruct(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, text)),
            vector=vector[:size],
            payload={"text": text, "doc": "boats"},
        )
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]


def test_cohere_embeds(sdk: cohere.ClientV2) -> None:
    """The SDK must parse a vector per text; texts that share words must have near vectors."""
    answer = sdk.embed(
        model="embed-v4.0", texts=TEXTS, input_type="search_document", embedding_types=["float"]
    )
    vectors = answer.embeddings.float_ or []
    assert [len(vector) for vector in vectors] == [1536] * 3
    near, far = (
        sum(a * b for a, b in zip(vectors[0], vectors[other], strict=True)) for other in (2, 1)
    )
    assert near > far


def test_cohere_refuses_too_many_texts(sdk: cohere.ClientV2) -> None:
    """More than 96 texts must be refused, as in the service."""
    with pytest.raises(ApiError) as caught:
        sdk.embed(
            model="embed-v4.0",
            texts=["x"] * 97,
            input_type="search_query",
            embedding_types=["float"],
            request_options={"max_retries": 0},
        )
    assert caught.value.status_code == 400


def test_cohere_answers_with_citations(sdk: cohere.ClientV2) -> None:
    """The SDK must parse the text, and citations that point into the text and to the documents."""
    documents = [cohere.Document(id=str(n), data={"text": text}) for n, text in enumerate(TEXTS)]
    answer = sdk.chat(
        model="m", messages=[cohere.UserChatMessageV2(content="Why?")], documents=documents
    )
    assert answer.finish_reason == "COMPLETE"
    text = answer.message.content[0].text  # type: ignore[index, union-attr]
    citations = answer.message.citations or []
    assert citations
    for citation in citations:
        assert text[citation.start : citation.end] == citation.text
        assert {s.id for s in citation.sources or []} <= {"0", "1", "2"}


def test_cohere_streams_in_the_order_documented(sdk: cohere.ClientV2) -> None:
    """The SDK must see the events that docs.cohere.com describes, ending with message-end."""
    stream = sdk.chat_stream(
        model="m",
        messages=[cohere.UserChatMessageV2(content="Why?")],
        documents=[cohere.Document(id="0", data={"text": TEXTS[0]})],
    )
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message-start", "content-start"]
    assert kinds[-2:] == ["content-end", "message-end"]
    assert kinds.count("citation-start") == kinds.count("citation-end") == 1
    text = "".join(
        event.delta.message.content.text or ""  # type: ignore[union-attr]
        for event in events
        if event.type == "content-delta"
    )
    assert text == TEXTS[0]


def test_cohere_reranks(sdk: cohere.ClientV2) -> None:
    """The document that shares the query's words must come first."""
    answer = sdk.rerank(model="r", query="wind in the sails", documents=TEXTS, top_n=2)
    assert len(answer.results) == 2
    assert answer.results[0].index == 1


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_cohere_faults_are_the_sdks_errors(
    sdk: cohere.ClientV2, upstreams: Upstreams, status: int
) -> None:
    """A switched fault must reach the SDK as its error of that status."""
    upstreams.fault("cohere", str(status), retry_after=1)
    with pytest.raises(ApiError) as caught:
        sdk.rerank(model="r", query="q", documents=["d"], request_options={"max_retries": 0})
    assert caught.value.status_code == status


def test_qdrant_answers_as_its_own_local_engine(qdrant: QdrantClient) -> None:
    """Search, scroll, count and delete must give the results of qdrant-client's local engine."""
    local = QdrantClient(":memory:")
    for client in (qdrant, local):
        client.create_collection(
            "book",
            vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE),
        )
        client.create_payload_index("book", "doc", field_schema=models.PayloadSchemaType.KEYWORD)
        client.upsert("book", points())
    boats = models.Filter(
        must=[models.FieldCondition(key="doc", match=models.MatchValue(value="boats"))]
    )
    vector = [0.95, 0.05, 0, 0]
    assert (
        qdrant.query_points("book", query=vector, limit=2, query_filter=boats).points
        == local.query_points("book", query=vector, limit=2, query_filter=boats).points
    )
    assert qdrant.scroll("book", limit=2) == local.scroll("book", limit=2)
    qdrant.delete("book", points_selector=[points()[0].id])
    assert qdrant.count("book").count == 2
    info = qdrant.get_collection("book")
    assert info.points_count == 2
    assert info.config.params.vectors.size == 4  # type: ignore[union-attr]
    assert set(info.payload_schema) == {"doc"}


def test_qdrant_is_as_strict_as_its_cloud(qdrant: QdrantClient) -> None:
    """A filter on a field without an index must be refused, as in Qdrant Cloud."""
    config = models.VectorParams(size=4, distance=models.Distance.COSINE)
    qdrant.create_collection("book", vectors_config=config)
    condition = models.FieldCondition(key="chapter", match=models.MatchValue(value="x"))
    with pytest.raises(UnexpectedResponse, match="Index required but not found"):
        qdrant.query_points(
            "book", query=[1.0, 0, 0, 0], query_filter=models.Filter(must=[condition])
        )


def test_qdrant_refuses_vectors_of_another_size(qdrant: QdrantClient) -> None:
    """A vector of the wrong length must be refused in an upsert and in a search."""
    config = models.VectorParams(size=4, distance=models.Distance.COSINE)
    qdrant.create_collection("book", vectors_config=config)
    with pytest.raises(UnexpectedResponse, match="expected dim: 4, got 3"):
        qdrant.upsert("book", points(size=3))
    with pytest.raises(UnexpectedResponse, match="expected dim: 4, got 3"):
        qdrant.query_points("book", query=[1.0, 0, 0])


def test_qdrant_knows_what_it_does_not_have(qdrant: QdrantClient) -> None:
    """A missing collection must answer a read with 404 and an existence check with False."""
    assert qdrant.collection_exists("nowhere") is False
    with pytest.raises(UnexpectedResponse) as caught:
        qdrant.get_collection("nowhere")
    assert caught.value.status_code == 404
