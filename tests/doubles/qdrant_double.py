"""A stand-in for Qdrant: qdrant-client's local engine behind Qdrant's REST routes.

A client sees what the authors of the service defined. `test_upstreams.py` proves it with their SDK.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError
from qdrant_client.http import models
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .control import recorded, state


async def qdrant(request: Request) -> Response:
    call, body, answer = await recorded(request, "qdrant")
    if answer:
        return answer
    if not call["api_key"]:
        return _qdrant_error(403, "forbidden")
    try:
        return _qdrant_answer(
            request.method,
            request.path_params["name"],
            request.path_params.get("rest", ""),
            body or {},
        )
    except ValidationError as error:
        return _qdrant_error(400, f"Format error in JSON body: {error.error_count()} faults")
    except ValueError as error:
        missing = "not found" in str(error)
        return _qdrant_error(404 if missing else 400, str(error))


def _qdrant_answer(method: str, name: str, rest: str, body: dict[str, Any]) -> Response:
    engine, route = state.qdrant, f"{method} {rest}"
    if route == "PUT ":
        collection = models.CreateCollection.model_validate(body)
        if engine.collection_exists(name):
            return _qdrant_error(409, f"Wrong input: Collection `{name}` already exists!")
        engine.create_collection(name, vectors_config=collection.vectors)
        state.keyword_fields[name] = set()
        return _qdrant_ok(True)
    if route == "GET exists":
        return _qdrant_ok({"exists": engine.collection_exists(name)})
    info = engine.get_collection(name)
    if route == "GET ":
        # The local engine has no indexes, so the index fields come from our record.
        points = engine.count(name).count
        schema = {f: {"data_type": "keyword", "points": points} for f in state.keyword_fields[name]}
        described = info.model_dump(mode="json", exclude_none=True)
        return _qdrant_ok({**described, "points_count": points, "payload_schema": schema})
    if route == "DELETE ":
        return _qdrant_ok(engine.delete_collection(name))
    if route == "PUT index":
        state.keyword_fields[name].add(models.CreateFieldIndex.model_validate(body).field_name)
        return _done()
    if route == "PUT points":
        given = models.PointsList.model_validate(body).points
        _check_sizes(info, given)
        engine.upsert(name, given)
        return _done()
    if (filtered := body.get("filter")) and (answer := _strict(name, filtered)):
        return answer
    if route == "POST points/query":
        query = models.QueryRequest.model_validate(body)
        _check_query(info, query)
        found = engine.query_points(
            name,
            query=query.query,
            using=query.using,
            query_filter=query.filter,
            limit=query.limit or 10,
            offset=query.offset,
            with_payload=False if query.with_payload is None else query.with_payload,
            with_vectors=query.with_vector or False,
            score_threshold=query.score_threshold,
        )
        return _qdrant_ok(found)
    if route == "POST points/scroll":
        scroll = models.ScrollRequest.model_validate(body)
        records, offset = engine.scroll(
            name,
            scroll_filter=scroll.filter,
            limit=scroll.limit or 10,
            offset=scroll.offset,
            with_payload=True if scroll.with_payload is None else scroll.with_payload,
            with_vectors=scroll.with_vector or False,
        )
        dumped = [record.model_dump(mode="json", exclude_none=True) for record in records]
        return _qdrant_ok({"points": dumped, "next_page_offset": offset})
    if route == "POST points/count":
        count = models.CountRequest.model_validate(body)
        return _qdrant_ok(engine.count(name, count_filter=count.filter))
    if route == "POST points/delete":
        if "points" in body:
            selector: Any = models.PointIdsList.model_validate(body)
        else:
            selector = models.FilterSelector.model_validate(body)
        engine.delete(name, points_selector=selector)
        return _done()
    return _qdrant_error(404, "Not found")


def _qdrant_error(status: int, message: str) -> Response:
    return JSONResponse({"status": {"error": message}, "time": 0.0}, status)


def _qdrant_ok(result: Any) -> Response:
    if hasattr(result, "model_dump"):
        result = result.model_dump(mode="json", exclude_none=True)
    return JSONResponse({"result": result, "status": "ok", "time": 0.0})


def _done() -> Response:
    return _qdrant_ok({"operation_id": 0, "status": "completed"})


def _sizes(info: models.CollectionInfo) -> dict[str, int]:
    vectors = info.config.params.vectors
    if isinstance(vectors, models.VectorParams):
        return {"": vectors.size}
    return {name: params.size for name, params in (vectors or {}).items()}


def _check_sizes(info: models.CollectionInfo, points: list[models.PointStruct]) -> None:
    sizes = _sizes(info)
    for point in points:
        given = point.vector if isinstance(point.vector, dict) else {"": point.vector}
        for name, values in given.items():
            if name not in sizes:
                raise ValueError(f"Wrong input: Not existing vector name error: {name}")
            if isinstance(values, list):
                _check_size(sizes[name], len(values))


def _check_query(info: models.CollectionInfo, query: models.QueryRequest) -> None:
    sizes, name = _sizes(info), query.using or ""
    if name not in sizes:
        raise ValueError(f"Wrong input: Not existing vector name error: {name}")
    vector = getattr(query.query, "nearest", query.query)
    if isinstance(vector, list):
        _check_size(sizes[name], len(vector))


def _check_size(expected: int, got: int) -> None:
    if expected != got:
        raise ValueError(
            f"Wrong input: Vector dimension error: expected dim: {expected}, got {got}"
        )


def _strict(name: str, filtered: Any) -> Response | None:
    """Qdrant Cloud's strict mode. Source: qdrant.tech/documentation, "Strict mode"."""
    for key in re.findall(r'"key": ?"([^"]+)"', json.dumps(filtered)):
        if key not in state.keyword_fields[name]:
            return _qdrant_error(
                400,
                f'Bad request: Index required but not found for "{key}" of one of the following '
                "types: [keyword]. Help: Create an index for this key or use a different filter.",
            )
    return None
