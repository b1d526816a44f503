"""The application with the Python SDK 2.x. Its mode `auto`, which is its default, asks the server for
2026-07-28 with `server/discover` and goes back to `initialize` if it has to; `legacy` begins there.
"""

import asyncio
from contextlib import asynccontextmanager

import httpx2
from application import Application
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult


@asynccontextmanager
async def connection(resource, http, mode):
    async with Client(streamable_http_client(resource, http_client=http), mode=mode) as client:
        yield client, client.protocol_version, client.server_info.name


asyncio.run(Application(connection, httpx2.AsyncClient, AuthorizationCodeResult.model_validate).run())
