"""A reverse proxy of aiohttp over uvloop: the peer that ``tests.bench.bench_proxy`` measures a node by.

    python tests/bench/aiohttp_proxy.py OWNER_URL PORT bare|usual

``bare`` is as short as it can be while it is a proxy: kept connections to the owner, small bodies in one
piece, larger ones as they come, at the caller's pace. No access log, no metrics, no limits, no checks.
``usual`` is what one would run: answers are passed on as they come, whatever their length, with the timeouts
and the access log that aiohttp has by default, the log to standard error. No metrics, no limits, no checks.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from typing import Final

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, web
from aiohttp.log import access_logger
from yarl import URL

SMALL_BYTES: Final = 65_536
#: Of the answer, what is the connection's and not passed on.
_HOP_BY_HOP: Final = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")


def make_app(owner: str, *, bare: bool) -> web.Application:
    """Return the proxy of *owner*."""
    app = web.Application()
    key = web.AppKey("session", ClientSession)
    timeouts = {"timeout": ClientTimeout(total=None)} if bare else {}

    async def with_session(app: web.Application) -> AsyncIterator[None]:
        async with ClientSession(
            connector=TCPConnector(limit=0),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            **timeouts,
        ) as app[key]:
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        url = URL(owner + request.raw_path, encoded=True)
        async with app[key].request(request.method, url, allow_redirects=False) as answer:
            fields = [
                (name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP
            ]
            length = answer.content_length
            if bare and length is not None and length <= SMALL_BYTES:
                return web.Response(body=await answer.read(), status=answer.status, headers=fields)
            response = web.StreamResponse(status=answer.status, headers=fields)
            response.content_length = length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app.cleanup_ctx.append(with_session)
    app.router.add_route("*", "/{path:.*}", handle)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    owner, port, kind = sys.argv[1:]
    bare = kind == "bare"
    uvloop.install()
    if not bare:
        logging.basicConfig(level=logging.INFO)
    log = None if bare else access_logger
    web.run_app(make_app(owner, bare=bare), host="127.0.0.1", port=int(port), access_log=log, print=None)


if __name__ == "__main__":
    main()
