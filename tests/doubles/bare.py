#!/opt/venv/bin/python
"""The baseline of the figures: a plain uvicorn server."""

from typing import Any

import uvicorn


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"status":"ok"}'})


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=7860, http="httptools", access_log=False, lifespan="off")
