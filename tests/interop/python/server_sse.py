"""An MCP server made with the Python SDK 1.x and the transport of 2024-11-05: a stream at `/sse`, messages at
`/messages/`.

It listens on a free port of loopback. The first line on stdout says where; each further one tells of a
request that arrived: method, URL and headers, in JSON.
"""

import json
import socket

import anyio
import uvicorn
from mcp.server.fastmcp import Context, FastMCP

server = FastMCP("interop-python-sse")


@server.tool()
def echo(message: str) -> str:
    return f"Echo: {message}"


@server.tool()
async def count(to: int, context: Context) -> str:
    """Count slowly, and tell how far."""
    for number in range(1, to + 1):
        await anyio.sleep(0.4)
        await context.report_progress(number, to)
    return "completed"


def with_witness(app):
    async def witness(scope, receive, send):
        if scope["type"] == "http":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            tell({"method": scope["method"], "url": scope["path"], "headers": headers})
        await app(scope, receive, send)

    return witness


def tell(message):
    print(json.dumps(message), flush=True)


with socket.create_server(("127.0.0.1", 0)) as listener:
    tell({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/sse"})
    config = uvicorn.Config(with_witness(server.sse_app()), access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
