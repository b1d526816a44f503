// Several doormen behind one address, as several pods behind an ingress. The front gives each request to the next
// replica, so no two steps of a login that follow one another are at the same one.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { pipeline } from 'node:stream';

import { startDoorman } from './doorman.mjs';
import { freePort, until } from './processes.mjs';

/**
 * Start `count` doormen with the same `settings`, which are those of `startDoorman`, and the front at the address
 * of `plan`. `turns` tells which of the `replicas`, by its number, was given what. Before one is told to end,
 * `withdraw` it, as Kubernetes takes a pod out of its Service; `bringBack` gives it turns again.
 */
export async function startReplicas({ count, plan, ...settings }) {
  const replicas = [];
  const turns = [];
  const front = await startFront({ port: plan.port, replicas, turns });
  const all = (action) => Promise.all(replicas.map(action));
  const stop = async () => {
    await front.stop();
    const codes = await all((replica) => replica.stop());
    return codes.find((code) => code !== 0) ?? 0;
  };
  try {
    while (replicas.length < count) {
      const own = { ...plan, port: await freePort(), healthPort: await freePort() };
      replicas.push(await startDoorman({ plan: own, ...settings }));
    }
  } catch (error) {
    await stop();
    throw error;
  }
  const { withdraw, bringBack } = front;
  return { ...plan, replicas, turns, withdraw, bringBack, log: () => replicas.map(({ log }) => log()).join(''), stop };
}

/** A proxy that streams both ways and leaves `Host` as it is. */
async function startFront({ port, replicas, turns }) {
  const withdrawn = new Set();
  const underWay = [];
  let next = 0;
  const server = http.createServer((request, response) => {
    carry(request, response).catch((error) => {
      if (response.headersSent) return response.destroy();
      return response.writeHead(502, { 'content-type': 'text/plain' }).end(`front: ${error.message}`);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    /** Resolves when nothing that it was given is under way. */
    async withdraw(replica) {
      withdrawn.add(replica);
      await until('it has answered', () => !underWay.includes(replica));
    },
    bringBack: (replica) => withdrawn.delete(replica),
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };

  async function carry(request, response) {
    const { method, url } = request;
    const { replica, socket } = await reach();
    turns.push({ replica, method, path: url.split('?')[0] });
    response.on('close', () => underWay.splice(underWay.indexOf(replica), 1));
    const onward = http.request({
      method,
      path: url,
      headers: forThisHopToo(request.rawHeaders),
      createConnection: () => socket,
    });
    response.on('close', () => onward.destroy());
    pipeline(request, onward, () => {});
    const [answer] = await once(onward, 'response');
    response.writeHead(answer.statusCode, answer.statusMessage, forThisHopToo(answer.rawHeaders));
    response.flushHeaders();
    pipeline(answer, response, () => {});
  }

  /** A connection to the next replica that accepts one. Nothing has been sent yet, so asking another is safe. */
  async function reach() {
    let refusal = new Error('no replica is there');
    for (let tries = 0; tries < replicas.length; tries += 1) {
      const replica = next % replicas.length;
      next += 1;
      if (withdrawn.has(replica)) continue;
      underWay.push(replica);
      const socket = net.connect(replicas[replica].port, '127.0.0.1');
      try {
        await once(socket, 'connect');
        return { replica, socket };
      } catch (error) {
        underWay.splice(underWay.indexOf(replica), 1);
        refusal = error;
      }
    }
    throw refusal;
  }
}

/** Less what is about one connection only (RFC 9110 §7.6.1). */
function forThisHopToo(rawHeaders) {
  const kept = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (!HOP.has(rawHeaders[at].toLowerCase())) kept.push(rawHeaders[at], rawHeaders[at + 1]);
  }
  return kept;
}

const HOP = new Set(['connection', 'keep-alive']);
