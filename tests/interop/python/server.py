"""An MCP server made with the Python SDK 2.x: one endpoint that speaks 2026-07-28, and what came before it.

It listens on a free port of loopback. The first line on stdout says where; each further one tells of a
request that arrived: method, URL and headers, in JSON.
"""

import json
import socket
from typing import Annotated

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

server = MCPServer("interop-python")


# MCP 2026-07-28, "Custom Headers from Tool Parameters": clients repeat the argument in Mcp-Param-Message,
# and the SDK refuses a call where the two differ.
@server.tool()
def echo(message: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Message"})]) -> str:
    return f"Echo: {message}"


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
async def count(to: int, context: Context) -> str:
    """Count slowly, and tell how far."""
    for number in range(1, to + 1):
        await anyio.sleep(0.4)
        await context.report_progress(number, to)
    return f"counted to {to}"


@server.tool()
async def change(context: Context) -> str:
    """Say to those who listen that the tools have changed."""
    await context.notify_tools_changed()
    return "changed"


def with_witness(app):
    async def witness(scope, receive, send):
        if scope["type"] == "http":
            headers = {}
            for name, value in scope["headers"]:
                # As Node does it: a header that came twice shows both values.
                name, value = name.decode(), value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
            tell({"method": scope["method"], "url": scope["path"], "headers": headers})
        await app(scope, receive, send)

    return witness


def tell(message):
    print(json.dumps(message), flush=True)


with socket.create_server(("127.0.0.1", 0)) as listener:
    tell({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"})
    config = uvicorn.Config(with_witness(server.streamable_http_app()), access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
