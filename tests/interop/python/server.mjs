// The MCP servers that are made with the Python SDK: of `server.py`, with 2.x, which speaks 2026-07-28 and what
// came before; of `server_sse.py`, with 1.x and the transport of 2024-11-05.
import { fileURLToPath } from 'node:url';

import { start, until } from '../processes.mjs';
import { pythonOf } from './application.mjs';

/**
 * Start the server on a free port. `requests` fills with the method, path and headers of every request that
 * reached it.
 */
export function startPythonServer({ folder }) {
  return startProgram('server.py', { sdk: 2, folder });
}

export function startLegacyPythonServer({ folder }) {
  return startProgram('server_sse.py', { sdk: 1, folder });
}

async function startProgram(name, { sdk, folder }) {
  const program = fileURLToPath(new URL(name, import.meta.url));
  const server = start(name, [pythonOf(sdk), '-B', program], {
    env: { PATH: process.env.PATH },
    log: `${folder}/${name}.log`,
  });
  const requests = [];
  let url;
  server.onLine((line) => {
    const told = JSON.parse(line);
    if (told.method) requests.push(told);
    else ({ url } = told);
  });
  await until(`${name} listens`, () => url, { process: server });

  return { url, requests, stop: server.stop };
}
