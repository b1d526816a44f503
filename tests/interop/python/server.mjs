// The MCP server of `server.py`, made with the Python SDK 2.x: it speaks 2026-07-28 and what came before.
import { fileURLToPath } from 'node:url';

import { start, until } from '../processes.mjs';
import { pythonOf } from './application.mjs';

/**
 * Start the server on a free port. `requests` fills with the method, path and headers of every request that
 * reached it.
 */
export async function startPythonServer({ folder }) {
  const server = start('server.py', [pythonOf(2), '-B', SERVER], {
    env: { PATH: process.env.PATH },
    log: `${folder}/server.py.log`,
  });
  const requests = [];
  let url;
  server.onLine((line) => {
    const told = JSON.parse(line);
    if (told.method) requests.push(told);
    else ({ url } = told);
  });
  await until('server.py listens', () => url, { process: server });

  return { url, requests, stop: server.stop };
}

const SERVER = fileURLToPath(new URL('./server.py', import.meta.url));
