// Counts what a request costs in instructions: the bare proxy, and doorman with a token that somebody logged
// in for. Each is run twice under callgrind, with few requests and with many: what starting, logging in and
// connecting cost is in both, so the difference is the price of the requests alone. Fails if that has grown
// against expected.json, which has the figures of each build profile.
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';

import { Ground, signIn } from './peers.mjs';

const FEW = 1000;
const MANY = 5000;
// With more, how many are served at one wake-up depends on the load of the machine.
const CONNECTIONS = 1;
/** What may be noise. */
const TOLERANCE = 0.02;
const EXPECTED = new URL('./expected.json', import.meta.url);

const ground = await Ground.prepare();
let tokens;
const ours = await instructionsPerRequest('mcp-doorman', async (under) => {
  const doorman = await ground.startDoorman({ under });
  tokens = await ground.write('seen', [(await signIn(doorman)).tokens.access_token]);
  return doorman;
});
// It reads no token, but has to carry one: the same.
const bare = await instructionsPerRequest('bare proxy', (under) => ground.startBare({ under }));
await ground.end();

print(['', 'instructions per request', 'ratio']);
print(['bare proxy', bare.toLocaleString('en'), '1.00']);
print(['mcp-doorman', ours.toLocaleString('en'), (ours / bare).toFixed(3)]);
await compare();

/** With what was expected; or, with BENCH_EXPECT, have this expected from now on. */
async function compare() {
  const profile = process.env.BENCH_PROFILE ?? 'ci';
  const build = `${profile} ${process.arch}`;
  const rewrite = `BENCH_EXPECT=1 BENCH_PROFILE=${profile} tests/bench/instructions`;
  const all = JSON.parse(await readFile(EXPECTED, 'utf8'));
  if (process.env.BENCH_EXPECT) {
    all[build] = { instructions: ours, ratio: Number((ours / bare).toFixed(3)) };
    await writeFile(EXPECTED, `${JSON.stringify(all, null, 2)}\n`);
    return;
  }
  const expected = all[build];
  if (!expected) return console.log(`\nNothing is expected of ${build}: \`${rewrite}\` writes these figures down.`);

  const grown = [
    { what: 'instructions per request', now: ours, then: expected.instructions },
    { what: 'times what the bare proxy takes', now: ours / bare, then: expected.ratio },
  ].map((figure) => ({ ...figure, by: figure.now / figure.then - 1 }));
  for (const { what, then, by } of grown.filter(({ by }) => by > TOLERANCE)) {
    console.error(`\nexpected.json has ${then} ${what} for ${build}: this is ${percent(by)} more.`);
    process.exitCode = 1;
  }
  if (process.exitCode) {
    console.error(`If that is worth it: \`${rewrite}\` writes the new figures, and the commit says what they buy.`);
  } else if (grown.every(({ by }) => by < -TOLERANCE)) {
    console.log(`\n${percent(-grown[0].by)} less than expected: \`${rewrite}\` keeps it so.`);
  }
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** `startPeer` starts it under a command, and says where it is and how to stop it. */
async function instructionsPerRequest(name, startPeer) {
  const totals = [];
  for (const requests of [FEW, MANY]) {
    const profile = `${ground.folder}/${name.replace(' ', '-')}-${requests}.callgrind`;
    const peer = await startPeer([
      'valgrind',
      '--tool=callgrind',
      '--collect-atstart=yes',
      `--callgrind-out-file=${profile}`,
    ]);
    await ground.load(peer, { requests, connections: CONNECTIONS, tokens });
    assert.equal(await peer.stop(), 0, `${name} has to end by itself`);
    totals.push(await readTotal(profile));
  }
  const [few, many] = totals;
  return Math.round((many - few) / (MANY - FEW));
}

async function readTotal(profile) {
  const [, total] = (await readFile(profile, 'utf8')).match(/^totals: (\d+)$/m) ?? [];
  assert.ok(total, `no total in ${profile}`);
  return Number(total);
}

function print([name, count, ratio]) {
  console.log(`${name.padEnd(12)}${count.padStart(26)}${ratio.padStart(8)}`);
}
