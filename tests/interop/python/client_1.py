"""The application with the Python SDK 1.x, which opens a session with `initialize`."""

import asyncio
from contextlib import asynccontextmanager

import httpx
from application import Application
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def connection(resource, http, _mode):
    async with (
        streamable_http_client(resource, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        found = await session.initialize()
        yield session, found.protocolVersion, found.serverInfo.name


def redirect_result(parameters):
    return parameters["code"], parameters["state"]


asyncio.run(Application(connection, httpx.AsyncClient, redirect_result).run())
