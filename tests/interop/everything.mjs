// The MCP server: npm `@modelcontextprotocol/server-everything` over streamable HTTP, as it is published.
import { fileURLToPath } from 'node:url';

import { startUpstream } from './upstream.mjs';

/** Start the server on a free port; `requests` tells what reached it. */
export function startEverything({ folder }) {
  return startUpstream('everything', [SERVER, 'streamableHttp'], { folder });
}

const SERVER = fileURLToPath(
  new URL('./node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);
