// Any MCP server of Node, in a process of its own, watched by a witness.
import { freePort, start, until } from './processes.mjs';

/**
 * Start `program`, a file and its arguments, on a free port; its MCP endpoint is at `path`. `requests` fills with the method, URL and headers
 * of every request that reached it, as its witness saw them.
 */
export async function startUpstream(name, program, { folder, path = '/mcp' }) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}${path}`;
  const server = start(name, [process.execPath, '--import', WITNESS, ...program], {
    // The `get-env` tool of server-everything tells its environment to whoever asks: there is nothing in it.
    env: { PATH: process.env.PATH, PORT: String(port) },
    log: `${folder}/${name}.log`,
    ipc: true,
  });
  const requests = [];
  server.onMessage((request) => requests.push(request));
  // A stream does not end by itself.
  const answers = () => fetch(url).then((answer) => answer.body?.cancel()).then(() => true);
  await until(`${name} answers`, answers, { process: server });
  await until('the witness has told of that', () => requests.length > 0, { process: server });
  requests.length = 0;

  return { url, requests, stop: server.stop };
}

const WITNESS = new URL('./witness.mjs', import.meta.url).href;
