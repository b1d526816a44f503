"""The application with the Python SDK 1.x and the transport of 2024-11-05, HTTP+SSE."""

import asyncio
from contextlib import asynccontextmanager

import httpx
from application import Application
from mcp import ClientSession
from mcp.client.sse import sse_client


@asynccontextmanager
async def connection(resource, http, _mode):
    def alike(headers=None, timeout=None, auth=None):
        client = httpx.AsyncClient(headers=headers, timeout=timeout, auth=auth)
        client.event_hooks = http.event_hooks
        return client

    async with (
        sse_client(resource, httpx_client_factory=alike, auth=http.auth, timeout=30) as (read, write),
        ClientSession(read, write) as session,
    ):
        found = await session.initialize()
        yield session, found.protocolVersion, found.serverInfo.name


def redirect_result(parameters):
    return parameters["code"], parameters["state"]


asyncio.run(Application(connection, httpx.AsyncClient, redirect_result).run())
