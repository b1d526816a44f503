// The program of modern.mjs: npm `@modelcontextprotocol/server`, with three tools. It listens on PORT, and speaks
// HTTP/2 there, and nothing else, if HTTP2 is set.
import http from 'node:http';
import http2 from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';

import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';

/** A server for one request, as this era has it. */
function makeServer() {
  const server = new McpServer({ name: 'modern', version: '1.0.0' });

  server.registerTool(
    'echo',
    { description: 'Say it again', inputSchema: takes({ message: 'string' }) },
    ({ message }) => text(`Echo: ${message}`),
  );

  server.registerTool(
    'add',
    { description: 'Add two numbers', inputSchema: takes({ a: 'number', b: 'number' }) },
    ({ a, b }) => text(`${a + b}`),
  );

  server.registerTool(
    'count',
    { description: 'Count, telling each step', inputSchema: takes({ steps: 'number', milliseconds: 'number' }) },
    async ({ steps, milliseconds }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progress <= steps; progress += 1) {
        await pause(milliseconds);
        const step = { progressToken, progress, total: steps };
        if (progressToken !== undefined) await mcpReq.notify({ method: 'notifications/progress', params: step });
      }
      return text('Counting completed');
    },
  );

  return server;
}

function takes(types) {
  const properties = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, { type }]));
  return fromJsonSchema({ type: 'object', properties, required: Object.keys(types) });
}

function text(said) {
  return { content: [{ type: 'text', text: said }] };
}

const handler = toNodeHandler(createMcpHandler(makeServer, { legacy: 'reject' }));
const server = process.env.HTTP2 ? http2.createServer(handler) : http.createServer(handler);
// What its witness can't see of HTTP/2.
if (process.env.HTTP2) server.on('request', ({ method, url, headers }) => process.send({ method, url, headers }));
server.listen(process.env.PORT);
