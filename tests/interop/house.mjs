// Everything that one journey needs: an IdP, an MCP server, and one doorman or more in front of it.
import { mkdir, mkdtemp } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { makeSealingKey, planDoorman, startDoorman } from './doorman.mjs';
import { startEverything } from './everything.mjs';
import { startIdp } from './idp.mjs';
import { startRedis } from './redis.mjs';
import { startReplicas } from './replicas.mjs';

/** Where logins can be kept, and the settings of a house that does. */
export const STATES = [
  { name: 'memory', settings: { state: 'memory' } },
  { name: 'a file', settings: { state: 'dir' } },
  { name: 'Redis, with three replicas', settings: { state: 'redis', replicas: 3 } },
];

/**
 * Start a house with `doors` doormen. They share the MCP server, which `startUpstream` starts, the IdP, which
 * `openIdp` does, and the sealing key. Their `state` is `memory`, `dir` (one each) or `redis` (one for all).
 * With `replicas`, each of them is that many behind one address.
 */
export async function startHouse({
  doors = 1,
  openIdp = startIdp,
  startUpstream = startEverything,
  state,
  replicas,
  ...settings
} = {}) {
  const folder = await makeFolder();
  const plans = [];
  while (plans.length < doors) plans.push(await planDoorman(settings));
  const sealingKey = await makeSealingKey({ folder });
  const started = [];
  const keep = (part) => (started.push(part), part);
  try {
    const idp = keep(await openIdp({ redirectUris: plans.map(({ callback }) => callback) }));
    const upstream = keep(await startUpstream({ folder }));
    const redis = state === 'redis' ? keep(await startRedis({ folder })) : undefined;
    const doormen = [];
    const { url, protocol } = upstream;
    const shared = { folder, idp, upstream: url, protocol, sealingKey, state: redis ?? state, ...settings };
    for (const plan of plans) {
      const settled = { plan, ...shared };
      doormen.push(keep(await (replicas ? startReplicas({ count: replicas, ...settled }) : startDoorman(settled))));
    }
    const doorman = doormen[0];
    return { folder, idp, upstream, sealingKey, redis, doormen, doorman, stop: () => stopAll(started) };
  } catch (error) {
    await stopAll(started);
    throw error;
  }
}

/** A new folder for what one run writes. It stays there for whoever looks for a fault. */
export async function makeFolder() {
  await mkdir(RUN, { recursive: true });
  return mkdtemp(`${RUN}/`);
}

async function stopAll(started) {
  while (started.length > 0) await started.pop().stop();
}

const RUN = fileURLToPath(new URL('./.run', import.meta.url));
