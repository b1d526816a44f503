// The MCP server: npm `@modelcontextprotocol/server-everything` over streamable HTTP, as it is published.
import { fileURLToPath } from 'node:url';

import { freePort, start, until } from './processes.mjs';

/**
 * Start the server on a free port. `requests` fills with the method, URL and headers of every request
 * that reached it, as its witness saw them.
 */
export async function startEverything({ folder }) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}/mcp`;
  const server = start('server-everything', [process.execPath, '--import', WITNESS, SERVER, 'streamableHttp'], {
    // Its `get-env` tool tells its environment to whoever asks: there is nothing in it.
    env: { PATH: process.env.PATH, PORT: String(port) },
    log: `${folder}/everything.log`,
    ipc: true,
  });
  const requests = [];
  server.onMessage((request) => requests.push(request));
  await until('server-everything answers', () => fetch(url), { process: server });
  await until('the witness has told of that', () => requests.length > 0, { process: server });
  requests.length = 0;

  return { url, requests, stop: server.stop };
}

const WITNESS = new URL('./witness.mjs', import.meta.url).href;
const SERVER = fileURLToPath(
  new URL('./node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);
