// The MCP server: npm `@modelcontextprotocol/server-everything` over HTTP, as it is published.
import { fileURLToPath } from 'node:url';

import { startUpstream } from './upstream.mjs';

/** Start the server on a free port; `requests` tells what reached it. */
export function startEverything({ folder }) {
  return startUpstream('everything', [SERVER, 'streamableHttp'], { folder });
}

/** The same with the transport of 2024-11-05, a stream at `/sse` and messages at `/message`. */
export function startLegacyEverything({ folder }) {
  return startUpstream('everything-sse', [SERVER, 'sse'], { folder, path: '/sse' });
}

const SERVER = fileURLToPath(
  new URL('./node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);
