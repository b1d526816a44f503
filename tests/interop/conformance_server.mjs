// An MCP server that has what the conformance suite asks servers for (conformance_catalog.mjs), in both eras: sessions
// up to 2025-11-25, and 2026-07-28. npm `@modelcontextprotocol/server`. It listens on PORT.
import { randomUUID } from 'node:crypto';
import http from 'node:http';

import { localhostHostValidation, NodeStreamableHTTPServerTransport, toNodeHandler } from '@modelcontextprotocol/node';
import { classifyInboundRequest, createMcpHandler, isInitializeRequest } from '@modelcontextprotocol/server';

import { Events, makeServer } from './conformance_catalog.mjs';

const sessions = new Map();
const notify = {
  toolsChanged: () => modern.notify.toolsChanged(),
  promptsChanged: () => modern.notify.promptsChanged(),
};
const leave = (session, request) => sessions.get(session)?.closeSSEStream(request);
const modern = createMcpHandler(() => makeServer({ notify, leave }));
const answerModern = toNodeHandler(modern);
const isLocal = localhostHostValidation();

http
  .createServer((request, response) => {
    if (!isLocal(request, response)) return;
    answer(request, response).catch((error) => {
      console.error(error);
      response.headersSent ? response.destroy() : response.writeHead(500).end();
    });
  })
  .listen(process.env.PORT, '127.0.0.1');

async function answer(request, response) {
  const body = request.method === 'POST' ? await readJson(request) : undefined;
  const { 'mcp-session-id': id, 'mcp-protocol-version': version, 'mcp-method': method } = request.headers;
  if (request.method === 'POST') {
    const asked = { httpMethod: 'POST', protocolVersionHeader: version, mcpMethodHeader: method, body };
    if (classifyInboundRequest(asked).kind !== 'legacy') return answerModern(request, response, body);
  }
  const session = sessions.get(id) ?? (!id && isInitializeRequest(body) ? await open() : undefined);
  if (session) return session.handleRequest(request, response, body);
  const error = { code: id ? -32001 : -32000, message: id ? 'no such session' : 'a session is needed' };
  response.writeHead(id ? 404 : 400, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', error, id: null }));
}

async function open() {
  const session = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: 500,
    onsessioninitialized: (id) => sessions.set(id, session),
  });
  session.onclose = () => sessions.delete(session.sessionId);
  await makeServer({ notify, leave }).connect(session);
  return session;
}

async function readJson(request) {
  let text = '';
  for await (const part of request.setEncoding('utf8')) text += part;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
