"""Relays Postgres over a WebSocket, as Neon's wsproxy does: `/v1?address=host:port`, binary frames both ways.

Source: github.com/neondatabase/wsproxy. GET /health answers 200; RELAY_TO is the only address that it connects to.
"""

import asyncio
import contextlib
import os
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Request, Response, ServerConnection, serve

ALLOWED = os.environ["RELAY_TO"]


def health(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/health":
        return connection.respond(HTTPStatus.OK, "ok\n")
    if parse_qs(urlsplit(request.path).query).get("address") != [ALLOWED]:
        return connection.respond(HTTPStatus.FORBIDDEN, "the relay does not connect to this address\n")
    return None


async def relay(client: ServerConnection) -> None:
    host, port = ALLOWED.rsplit(":", 1)
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        await client.close(1011, "the database does not answer")
        return

    async def down() -> None:
        while data := await reader.read(65536):
            await client.send(data)
        await client.close()

    answers = asyncio.create_task(down())
    try:
        async for frame in client:
            writer.write(frame if isinstance(frame, bytes) else frame.encode())
            await writer.drain()
    finally:
        answers.cancel()
        writer.close()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await answers


async def main() -> None:
    async with serve(relay, "0.0.0.0", 8080, process_request=health, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
