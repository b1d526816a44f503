// Any MCP server of Node, in a process of its own, watched by a witness.
import { once } from 'node:events';
import http2 from 'node:http2';

import { freePort, start, until } from './processes.mjs';

/**
 * Start `program`, a file and its arguments, on a free port; its MCP endpoint is at `path`. `requests` fills with the method, URL and headers
 * of every request that reached it, as its witness saw them. `protocol` is what it speaks, in the words of the
 * configuration.
 */
export async function startUpstream(name, program, { folder, path = '/mcp', protocol = 'http1' }) {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}${path}`;
  const server = start(name, [process.execPath, '--import', WITNESS, ...program], {
    // The `get-env` tool of server-everything tells its environment to whoever asks: there is nothing in it.
    env: { PATH: process.env.PATH, PORT: String(port), ...(protocol === 'http2' && { HTTP2: 'yes' }) },
    log: `${folder}/${name}.log`,
    ipc: true,
  });
  const requests = [];
  server.onMessage((request) => requests.push(request));
  // A stream does not end by itself.
  const answers = { http1: answersHttp1, http2: answersHttp2 }[protocol];
  await until(`${name} answers`, () => answers(url), { process: server });
  await until('the witness has told of that', () => requests.length > 0, { process: server });
  requests.length = 0;

  return { url, protocol, requests, stop: server.stop };
}

async function answersHttp1(url) {
  const answer = await fetch(url);
  await answer.body?.cancel();
  return true;
}

async function answersHttp2(url) {
  const connection = http2.connect(url);
  // The stream tells of it too.
  connection.on('error', () => {});
  try {
    await once(connection.request({ ':path': new URL(url).pathname }), 'response');
    return true;
  } finally {
    connection.destroy();
  }
}

const WITNESS = new URL('./witness.mjs', import.meta.url).href;
