// An MCP server that speaks 2026-07-28 only: no `initialize`, no sessions, no GET. See modern_server.mjs.
import { fileURLToPath } from 'node:url';

import { startUpstream } from './upstream.mjs';

/** Start the server on a free port; `requests` tells what reached it. */
export function startModern({ folder }) {
  return startUpstream('modern', [SERVER], { folder });
}

/** The same over HTTP/2. */
export function startModernOverHttp2({ folder }) {
  return startUpstream('modern-http2', [SERVER], { folder, protocol: 'http2' });
}

const SERVER = fileURLToPath(new URL('./modern_server.mjs', import.meta.url));
