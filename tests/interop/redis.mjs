// A Redis server of a test's own, on a free port of loopback. What it has answered survives its death: each write
// is in its append-only file by then.
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import net from 'node:net';

import { freePort, start, until } from './processes.mjs';

/** Start one. Once it is stopped or killed, it can be `startAgain`, with what it knew. */
export async function startRedis({ folder }) {
  const port = await freePort();
  const name = `redis-${port}`;
  const data = `${folder}/${name}`;
  await mkdir(data);
  const settings = { bind: '127.0.0.1', port, dir: data, appendonly: 'yes', save: '' };
  const options = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, String(value)]);

  let server;
  const startAgain = async () => {
    server = start(name, ['redis-server', ...options], {
      env: { PATH: process.env.PATH },
      log: `${folder}/${name}.log`,
    });
    await until(`${name} answers`, () => answersPing(port), { process: server });
  };
  await startAgain();

  return { address: `127.0.0.1:${port}`, stop: () => server.stop(), kill: () => server.kill(), startAgain };
}

/** It says PONG; while it still reads its file, it says LOADING. */
async function answersPing(port) {
  const socket = net.connect(port, '127.0.0.1');
  try {
    socket.end('PING\r\n');
    const [answer] = await once(socket, 'data');
    return String(answer) === '+PONG\r\n';
  } finally {
    socket.destroy();
  }
}
