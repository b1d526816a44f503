// mcp-doorman as an operator runs it: a configuration file and `serve --config FILE`.
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';

import { freePort, start, until } from './processes.mjs';

/** Where a doorman will be found: over TLS, if it has a pair to show. The IdP has to know before doorman is started. */
export async function planDoorman({ tls } = {}) {
  const [port, healthPort] = [await freePort(), await freePort()];
  const issuer = `${tls ? 'https' : 'http'}://127.0.0.1:${port}`;
  return { port, healthPort, issuer, resource: `${issuer}/mcp`, callback: `${issuer}/oauth/callback` };
}

/** Make a sealing key as the manual says: 32 random bytes in base64. */
export async function makeSealingKey({ folder }) {
  const file = `${folder}/sealing-key`;
  await writeFile(file, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
  return file;
}

/**
 * Start the doorman of `plan` in front of `upstream`, which speaks `protocol`. `under` is a command that runs it, such as valgrind;
 * `registration`, `declared` (the clients), `machines` and `tls` are stanzas of its configuration, `access` the entries
 * besides one for people; `env` are variables that it finds besides PATH. `state` is `memory`, `dir`, or a Redis that
 * runs (redis.mjs). `tokens` is the rest of that stanza; `idp.settings`, if there are any, that of the stanza about
 * the IdP.
 * Ready when its health listener says so. Once it is stopped or killed, it can be `startAgain`.
 */
export async function startDoorman({
  plan,
  folder,
  idp,
  upstream,
  protocol = 'http1',
  sealingKey,
  accessTtl = '1h',
  tokens = {},
  scopes = [],
  state = 'memory',
  logLevel = 'debug',
  under = [],
  registration = {},
  declared = [],
  access = [],
  machines,
  tls,
  env = {},
}) {
  const name = `doorman-${plan.port}`;
  const secret = `${folder}/${name}.client-secret`;
  const config = `${folder}/${name}.yaml`;
  await writeFile(secret, idp.clientSecret, { mode: 0o600 });
  await writeFile(
    config,
    `listen: 127.0.0.1:${plan.port}
health: { listen: "127.0.0.1:${plan.healthPort}" }
workers: 1
log: { format: json, level: ${logLevel} }
resources:
  - url: ${plan.resource}
    name: Everything
    upstream: ${upstream}
    upstream_protocol: ${protocol}
    access: ${JSON.stringify([{ groups: ['mcp-users'] }, ...access])}
    scopes: [${scopes}]
idp: ${JSON.stringify(idpStanza(idp, secret))}
sealing_keys:
  - { file: ${sealingKey} }
tokens: ${JSON.stringify({ access_ttl: accessTtl, ...tokens })}
registration: ${JSON.stringify(registration)}
clients: ${JSON.stringify(declared)}
state: ${JSON.stringify(await stateStanza(state))}
${machines ? `machines: ${JSON.stringify(machines)}` : ''}
${tls ? `tls: ${JSON.stringify(tls)}` : ''}
`,
  );

  const binary = process.env.MCP_DOORMAN_BIN;
  if (!binary) throw new Error('MCP_DOORMAN_BIN does not say where mcp-doorman is');
  const lives = [];
  const startAgain = async () => {
    const doorman = start(name, [...under, binary, 'serve', '--config', config], {
      env: { PATH: process.env.PATH, ...env },
      log: `${folder}/${name}.log`,
    });
    lives.push(doorman);
    const ready = async () => (await fetch(`http://127.0.0.1:${plan.healthPort}/readyz`)).status === 200;
    await until(`${name} is ready`, ready, { process: doorman });
  };
  await startAgain();

  return {
    ...plan,
    pid: () => lives.at(-1).pid,
    log: () => lives.map((doorman) => doorman.output()).join(''),
    stop: () => lives.at(-1).stop(),
    kill: () => lives.at(-1).kill(),
    startAgain,
  };
}

function idpStanza({ issuer, clientId, settings = OIDC }, secret) {
  return { issuer, client_id: clientId, client_secret: { file: secret }, ...settings };
}

async function stateStanza(state) {
  if (state === 'memory') return state;
  return state === 'dir' ? { dir: await makeStateFolder() } : { redis: { address: state.address } };
}

/** In memory: a disk that is busy with something else would make logins wait, and fail. Gone with this process. */
async function makeStateFolder() {
  const memory = '/dev/shm';
  const folder = await mkdtemp(`${existsSync(memory) ? memory : tmpdir()}/mcp-doorman-`);
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return `${folder}/state`;
}

/** What is said of the IdP, unless it brings `settings`. */
export const OIDC = { preset: 'oidc', scopes: ['openid', 'profile', 'email', 'groups'], groups_claim: 'groups' };
