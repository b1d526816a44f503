// Counts what a request costs in instructions: the bare proxy, and doorman with a token that somebody logged
// in for. Each is run twice under callgrind, with few requests and with many: what starting, logging in and
// connecting cost is in both, so the difference is the price of the requests alone.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';

import { Application } from '../interop/client.mjs';
import { makeSealingKey, planDoorman, startDoorman } from '../interop/doorman.mjs';
import { makeFolder } from '../interop/house.mjs';
import { startIdp } from '../interop/idp.mjs';
import { Person } from '../interop/person.mjs';
import { start, until } from '../interop/processes.mjs';

const FEW = 1000;
const MANY = 5000;
const CONNECTIONS = 8;

const examples = process.env.BENCH_EXAMPLES;
const folder = await makeFolder();
const plan = await planDoorman();
const idp = await startIdp({ redirectUris: [plan.callback] });
const sealingKey = await makeSealingKey({ folder });
const upstream = await startListener('upstream', [`${examples}/bench_upstream`]);
let token;

const ours = await instructionsPerRequest('mcp-doorman', async (under) => {
  const url = `http://${upstream.address}/mcp`;
  const settings = { plan, folder, idp, sealingKey, upstream: url, logLevel: 'info', under };
  const doorman = await startDoorman(settings);
  const client = await Application.install();
  await client.signIn(new Person(), doorman.resource);
  await client.close();
  token = client.tokens.access_token;
  return { address: `127.0.0.1:${doorman.port}`, stop: doorman.stop };
});
// It reads no token, but has to carry one: the same.
const bare = await instructionsPerRequest('bare proxy', async (under) => {
  const command = [...under, `${examples}/bench_bare_proxy`, upstream.address];
  return startListener('bare-proxy', command);
});
await upstream.stop();
await idp.stop();

print(['', 'instructions per request', 'ratio']);
print(['bare proxy', bare.toLocaleString('en'), '1.00']);
print(['mcp-doorman', ours.toLocaleString('en'), (ours / bare).toFixed(2)]);

/** `startPeer` starts it under a command, and says where it is and how to stop it. */
async function instructionsPerRequest(name, startPeer) {
  const totals = [];
  for (const requests of [FEW, MANY]) {
    const profile = `${folder}/${name.replace(' ', '-')}-${requests}.callgrind`;
    const peer = await startPeer([
      'valgrind',
      '--tool=callgrind',
      '--collect-atstart=yes',
      `--callgrind-out-file=${profile}`,
    ]);
    await load(peer, requests);
    assert.equal(await peer.stop(), 0, `${name} has to end by itself`);
    totals.push(await readTotal(profile));
  }
  const [few, many] = totals;
  return Math.round((many - few) / (MANY - FEW));
}

/** Throws unless every request was answered with 200. */
async function load({ address }, requests) {
  const arguments_ = [address, requests, CONNECTIONS, token].map(String);
  await promisify(execFile)(`${examples}/bench_load`, arguments_, { timeout: 120_000 });
}

/** Start a program that writes the address it listens on. */
async function startListener(name, command) {
  const program = start(name, command, { env: {}, log: `${folder}/${name}.log` });
  const [, address] = await until(
    `${name} listens`,
    () => program.output().match(/^(127\.0\.0\.1:\d+)$/m),
    { process: program },
  );
  return { address, stop: program.stop };
}

async function readTotal(profile) {
  const [, total] = (await readFile(profile, 'utf8')).match(/^totals: (\d+)$/m) ?? [];
  assert.ok(total, `no total in ${profile}`);
  return Number(total);
}

function print([name, count, ratio]) {
  console.log(`${name.padEnd(12)}${count.padStart(26)}${ratio.padStart(8)}`);
}
