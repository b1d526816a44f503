"""An application with an MCP client in it, as a test drives it: what both major versions of the SDK share.

Commands come on stdin, answers and events go to stdout, one JSON line each. `client_1.py` and
`client_2.py` start it, each with its version's way to connect.
"""

import asyncio
import json
import sys
import time
import traceback
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


class Application:
    """`connection`, `http_client` and `redirect_result` are what differs between the versions."""

    def __init__(self, connection, http_client, redirect_result):
        self._connection = connection
        self._http_client = http_client
        self._redirect_result = redirect_result
        self._storage = FileStorage(Path(sys.argv[1]))
        self._provider = None
        self._client = None

    async def run(self):
        """Carry out commands until `close`, or until nobody is there to send more."""
        async with anyio.create_task_group() as calls, AsyncExitStack() as opened:
            redirects = await opened.enter_async_context(listen_for_redirects())
            async for line in anyio.wrap_file(sys.stdin):
                command = json.loads(line)
                match command["do"]:
                    case "connect":
                        # The task that opens a connection has to close it: other commands wait.
                        await answer(command, self._connect(opened, redirects, command))
                    case "close":
                        # The SDK ends its session before it is gone.
                        await answer(command, opened.aclose())
                        break
                    case "list_tools":
                        calls.start_soon(answer, command, self._client.list_tools())
                    case "call_tool":
                        calls.start_soon(answer, command, self._call_tool(command))
                    case "wait_for_change":
                        calls.start_soon(answer, command, self._wait_for_change(command))
                    case "token_state":
                        calls.start_soon(answer, command, self._token_state())

    async def _connect(self, opened, redirects, command):
        self._provider = self._oauth(redirects, command["resource"])
        if command["knows_expiry"]:
            # The SDK forgets with its process when a token expires. An application that does not may tell it.
            self._provider.context.token_expiry_time = self._storage.expires_at
        async with AsyncExitStack() as opening:
            http = await opening.enter_async_context(
                self._http_client(auth=self._provider, headers=command["headers"], timeout=30)
            )
            http.event_hooks = {"request": [tell_request]}
            connection = self._connection(command["resource"], http, command["mode"])
            self._client, protocol, server = await opening.enter_async_context(connection)
            opened.push_async_exit(opening.pop_all())
        return {"sdk": version("mcp"), "protocol": protocol, "server": server}

    def _oauth(self, redirects, resource):
        async def open_page(url):
            tell("page", url=url)

        async def redirect():
            return self._redirect_result(await redirects.next())

        return OAuthClientProvider(
            server_url=resource,
            client_metadata=OAuthClientMetadata(
                client_name="Python client",
                redirect_uris=[redirects.url],
                token_endpoint_auth_method="none",
            ),
            storage=self._storage,
            redirect_handler=open_page,
            callback_handler=redirect,
        )

    async def _call_tool(self, command):
        async def progress(done, total, message):
            tell("progress", call=command["id"], progress=done)

        return await self._client.call_tool(
            command["name"], command["arguments"], progress_callback=progress if command["progress"] else None
        )

    async def _wait_for_change(self, command):
        """2026-07-28 only: listen until the server says that its tools have changed."""
        async with self._client.listen(tools_list_changed=True) as changes:
            tell("listening", call=command["id"])
            async for change in changes:
                return type(change).__name__

    async def _token_state(self):
        context = self._provider.context
        return {"valid": context.is_token_valid(), "refreshable": context.can_refresh_token()}


class FileStorage:
    """The SDK's `TokenStorage`, in a file, which outlives the process. It keeps the time of expiry too."""

    def __init__(self, file):
        self._file = file
        self._kept = json.loads(file.read_text()) if file.exists() else {}

    @property
    def expires_at(self):
        return self._kept.get("expires_at")

    async def get_tokens(self):
        kept = self._kept.get("tokens")
        return kept and OAuthToken.model_validate(kept)

    async def set_tokens(self, tokens):
        self._keep(tokens=tokens.model_dump(mode="json"), expires_at=time.time() + tokens.expires_in)
        tell("tokens", tokens=self._kept["tokens"])

    async def get_client_info(self):
        kept = self._kept.get("client")
        return kept and OAuthClientInformationFull.model_validate(kept)

    async def set_client_info(self, client_info):
        self._keep(client=client_info.model_dump(mode="json"))

    def _keep(self, **changed):
        self._kept |= changed
        self._file.write_text(json.dumps(self._kept))


class Redirects:
    """The redirects that a browser brings to `url`, as their parameters."""

    def __init__(self, url, arrived):
        self.url = url
        self.next = arrived.get


@asynccontextmanager
async def listen_for_redirects():
    arrived = asyncio.Queue()

    async def receive(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split()[1].decode())
        if target.path == "/callback":
            arrived.put_nowait(dict(parse_qsl(target.query)))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nYou can close this window.")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Redirects(f"http://127.0.0.1:{port}/callback", arrived)


async def answer(command, carried_out):
    try:
        result = await carried_out
        plain = result.model_dump(mode="json", by_alias=True) if hasattr(result, "model_dump") else result
        tell("answer", id=command["id"], result=plain)
    except Exception as error:
        traceback.print_exc()
        tell("answer", id=command["id"], error="; ".join(repr(leaf) for leaf in leaves(error)))


def leaves(error):
    """The errors that a task group may have wrapped up."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in leaves(part)]


async def tell_request(request):
    """What the SDK sends: its own requests of the login as well as those to the MCP server."""
    is_form = request.headers.get("content-type") == "application/x-www-form-urlencoded"
    form = dict(parse_qsl(request.content.decode())) if is_form else None
    tell("request", method=request.method, url=str(request.url), headers=dict(request.headers), form=form)


def tell(event, **details):
    print(json.dumps({"event": event, **details}), flush=True)
