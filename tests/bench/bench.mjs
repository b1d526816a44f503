// Prints the table. Each row is measured at the bare proxy and at doorman in turn, round by round, so that what
// disturbs the machine disturbs both. With SMOKE everything is small: then only the answers count.
import assert from 'node:assert/strict';
import { stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import os from 'node:os';
import { parseArgs } from 'node:util';

import { cpu, row, rss, table } from './figures.mjs';
import { Ground, signIn } from './peers.mjs';
import { refreshTimes, startSigner } from './tokens.mjs';

const { smoke, out } = parseArgs({ options: { smoke: { type: 'boolean' }, out: { type: 'string' } } }).values;

const FULL = {
  // Many and short: what disturbs the machine for a second disturbs few of them.
  rounds: 21,
  warmUp: 3000,
  crowd: { requests: 20_000, connections: 32 },
  alone: { requests: 4000, connections: 1 },
  fresh: { requests: 2500, connections: 32 },
  answers: { requests: 30, connections: 2, megabytes: 10 },
  uploads: { requests: 200, connections: 2, megabytes: 1 },
  streams: [1000, 5000],
  eventsEach: 5000,
  seconds: 20,
  starts: 15,
};
const SMOKE = {
  rounds: 1,
  warmUp: 10,
  crowd: { requests: 320, connections: 32 },
  alone: { requests: 20, connections: 1 },
  fresh: { requests: 64, connections: 32 },
  answers: { requests: 2, connections: 2, megabytes: 10 },
  uploads: { requests: 4, connections: 2, megabytes: 1 },
  streams: [50],
  eventsEach: 200,
  seconds: 1,
  starts: 1,
};
const SIZE = smoke ? SMOKE : FULL;

const ground = await Ground.prepare({ pinned: !smoke, eventsEach: SIZE.eventsEach });
const rows = [];
try {
  await seenTokens();
  await sealedTokens();
  await jwts();
  await bodies('answer', SIZE.answers);
  await bodies('upload', SIZE.uploads);
  for (const streams of SIZE.streams) await eventStreams(streams);
  await starts();
  await sizes();
  for (const log of ground.logs) assert.doesNotMatch(log(), /"level":"ERROR"/);
} finally {
  await ground.end();
}

const about = `${os.cpus()[0].model.trim()}, ${os.cpus().length} CPUs, Linux ${os.release()}; ${SIZE.rounds} rounds`;
const report = `${about}\n\n${table(rows)}\n`;
process.stdout.write(smoke ? `${report}\nSmall: no figure was judged. Every answer was right.\n` : report);
if (out) await writeFile(out, report);

/** The price of a small call whose token is known already. */
async function seenTokens() {
  const { bare, doorman } = await open();
  const peers = { direct: ground.upstream, bare, doorman };
  const busy = await measure(peers, () => ({ ...SIZE.crowd, tokens: doorman.tokens }));
  priceRows(`a token seen before, ${SIZE.crowd.connections} connections`, busy, SIZE.crowd);
  rows.push(
    row(
      '… p50, µs',
      figures(busy, ({ p50 }) => p50 / 1000),
    ),
  );

  const lonely = await measure(peers, () => ({ ...SIZE.alone, tokens: doorman.tokens }));
  const added = (name) => lonely[name].map(({ p50 }, round) => (p50 - lonely.direct[round].p50) / 1000);
  rows.push(row('… 1 connection: p50 added, µs', { bare: added('bare'), doorman: added('doorman') }));
  await close({ bare, doorman });
}

async function sealedTokens() {
  const peers = await open();
  await freshTokens('a new token of ours', peers, (count) => refreshTimes(peers.doorman, count));
}

/** RS256, checked here with the IdP's key. */
async function jwts() {
  const signer = await startSigner();
  try {
    const doorman = await ground.startDoorman({ idp: signer, tokens: { issued_by: 'idp' } });
    const peers = { bare: await ground.startBare(), doorman };
    await freshTokens('a new JWT of the IdP', peers, (count) => signer.issue(doorman.resource, count));
  } finally {
    await signer.stop();
  }
}

/** The price when each token is brought for the first time; `make(count)` makes them. */
async function freshTokens(what, peers, make) {
  const { requests, connections } = SIZE.fresh;
  const made = await make(SIZE.rounds * requests + 1);
  assert.equal(new Set(made).size, SIZE.rounds * requests + 1);
  const files = [];
  for (let start = 0; files.length < SIZE.rounds; start += requests) {
    files.push(await ground.write(`fresh-${files.length}`, made.slice(start, start + requests)));
  }
  const known = await ground.write('known', [made.at(-1)]);
  const measured = await measure(peers, (round) => ({ ...SIZE.fresh, tokens: files[round] }), known);
  priceRows(`${what} each time, ${connections} connections`, measured, SIZE.fresh);
  await close(peers);
}

/** The price of a megabyte, and what stays in memory afterwards. */
async function bodies(kind, { megabytes, ...size }) {
  const peers = await open();
  const load = { ...size, tokens: peers.doorman.tokens, kind: `${kind}=${megabytes << 20}` };
  const measured = await measure(peers, () => load);
  const price = ({ cpu }) => cpu / (size.requests * megabytes);
  rows.push(
    row(`${megabytes} MiB ${kind}s, ${size.connections} connections: CPU per MiB, µs`, figures(measured, price)),
  );
  const held = await each(peers, async ({ pid }) => (await rss(pid())) / 1024);
  rows.push(row('… RSS afterwards, MiB', { bare: [held.bare], doorman: [held.doorman] }));
  await close(peers);
}

/** What an open stream takes, and how late its events are. */
async function eventStreams(streams) {
  const { bare, doorman } = await open();
  const { tokens } = doorman;
  const measured = await each({ direct: ground.upstream, bare, doorman }, async (peer) => {
    await ground.load(peer, { requests: 1, connections: 1, tokens });
    const before = await rss(peer.pid());
    return ground.listen(peer, { streams, seconds: SIZE.seconds, tokens }, async (late) => {
      return [{ ...late, grown: (await rss(peer.pid())) - before }];
    });
  });
  for (const [{ events }] of Object.values(measured))
    assertClose(events, (streams * SIZE.seconds * 1000) / SIZE.eventsEach);
  const { direct, ...grown } = figures(measured, ({ grown }) => grown / streams);
  rows.push(row(`${streams} event streams: KiB for each`, grown));
  rows.push(
    row(
      '… events late by, p50, µs',
      figures(measured, ({ p50 }) => p50 / 1000),
    ),
  );
  rows.push(
    row(
      '… p99, µs',
      figures(measured, ({ p99 }) => p99 / 1000),
    ),
  );
  await close({ bare, doorman });
}

/** From nothing to the first good answer, and what is in memory by then. */
async function starts() {
  const waits = { bare: [], doorman: [] };
  const held = { bare: [], doorman: [] };
  const { bare, doorman } = await open();
  const { access_token: token } = doorman.client.tokens;
  for (let start = 0; start < SIZE.starts; start += 1) {
    for (const [name, peer] of Object.entries({ bare, doorman })) {
      await peer.stop();
      const began = performance.now();
      const started = peer.startAgain();
      await firstAnswer(peer.address, token);
      waits[name].push(performance.now() - began);
      await started;
      held[name].push((await rss(peer.pid())) / 1024);
    }
  }
  rows.push(row('start to the first good answer, ms', waits));
  rows.push(row('… RSS then, MiB', held));
  await close({ bare, doorman });
}

async function sizes() {
  const megabytes = async (file) => [(await stat(file)).size / 1_000_000];
  const bare = await megabytes(`${process.env.BENCH_EXAMPLES}/bench_bare_proxy`);
  rows.push(row('binary, stripped, MB', { bare, doorman: await megabytes(process.env.MCP_DOORMAN_BIN) }));
}

/** Both proxies, new, and somebody who is logged in: `doorman.client`, `doorman.tokens`. */
async function open() {
  const doorman = await ground.startDoorman();
  const client = await signIn(doorman);
  const tokens = await ground.write('seen', [client.tokens.access_token]);
  return { bare: await ground.startBare(), doorman: { ...doorman, client, tokens } };
}

async function close(peers) {
  for (const peer of Object.values(peers)) await peer.stop();
}

/** Each of `peers` in each round; `load(round)` says with what. Returns, by their names, what each round measured. */
async function measure(peers, load, warmUp = load(0).tokens) {
  const rounds = await each(peers, () => []);
  for (const peer of Object.values(peers)) {
    await ground.load(peer, { requests: SIZE.warmUp, connections: 32, tokens: warmUp });
    if (peer === peers.doorman) await assertGuarded(peer);
  }
  for (let round = 0; round < SIZE.rounds; round += 1) {
    for (const [name, peer] of Object.entries(peers)) {
      const before = await cpu(peer.pid());
      const measured = await ground.load(peer, load(round));
      rounds[name].push({ ...measured, cpu: (await cpu(peer.pid())) - before });
    }
  }
  return rounds;
}

function priceRows(what, measured, { requests }) {
  const { direct, ...proxies } = figures(measured, ({ cpu }) => cpu / requests);
  rows.push(row(`${what}: CPU per request, µs`, proxies));
  rows.push(
    row(
      '… requests per second',
      figures(measured, ({ seconds }) => requests / seconds),
    ),
  );
}

/** One figure of each round, by peer. */
function figures(measured, figure) {
  return Object.fromEntries(Object.entries(measured).map(([name, rounds]) => [name, rounds.map(figure)]));
}

async function each(peers, ask) {
  const answers = {};
  for (const [name, peer] of Object.entries(peers)) answers[name] = await ask(peer);
  return answers;
}

/** Or what is measured is not what it does. */
async function assertGuarded({ resource }) {
  for (const authorization of [undefined, 'Bearer doorman_at_no', 'Bearer e30.e30.e30']) {
    const { status } = await fetch(resource, { method: 'POST', headers: { ...(authorization && { authorization }) } });
    assert.equal(status, 401, authorization);
  }
}

/** Some events fall out at the ends; more would be lost, or sent twice. */
function assertClose(count, expected) {
  assert.ok(count > expected * 0.5 && count < expected * 1.5, `${count} events, where ${expected} were expected`);
}

/** Ask without pause until there is one. */
async function firstAnswer(address, token) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const ask = () =>
    new Promise((resolve) => {
      const request = http.request(`http://${address}/mcp`, { method: 'POST', agent: false, headers }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode === 200));
      });
      request.on('error', () => setImmediate(resolve, false)).end('{}');
    });
  const deadline = Date.now() + 10_000;
  while (!(await ask())) assert.ok(Date.now() < deadline, `no good answer from ${address}`);
}
