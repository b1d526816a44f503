// The conformance suite's scenarios for MCP servers, straight to a server and through doorman: what passes and what
// fails has to be the same.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Application } from './client.mjs';
import { judgeServer, NEW, OLD } from './conformance.mjs';
import { startHouse } from './house.mjs';
import { Person } from './person.mjs';
import { startUpstream } from './upstream.mjs';

// With how many checks the server passes by itself, at least: nothing to compare would be equal too.
const SUITES = [
  { name: '0.1, its active suite', program: OLD, words: ['--suite', 'active'], passing: 40 },
  { name: '0.2, all of 2025-11-25', program: NEW, words: ['--requirements', '2025-11-25'], passing: 84 },
  { name: '0.2, all of 2026-07-28', program: NEW, words: ['--requirements', '2026-07-28'], passing: 164 },
];
// What our server has not, and so fails.
const MISSING = /^tasks-/;

describe('through doorman, a server passes and fails as without it', () => {
  let house;
  let token;

  before(async () => {
    house = await startHouse({ startUpstream: startServer });
    const client = await Application.install();
    await client.signIn(new Person(), house.doorman.resource);
    await client.close();
    token = client.tokens.access_token;
  });
  after(() => house?.stop());

  for (const { name, program, words, passing } of SUITES) {
    it(name, async (t) => {
      const { folder, upstream, doorman } = house;

      const direct = await judgeServer({ program, words, url: upstream.url, folder });
      const through = await judgeServer({ program, words, url: doorman.resource, token, folder });

      const passed = direct.filter(({ status }) => status === 'SUCCESS');
      t.diagnostic(`${passed.length} of ${direct.length} checks pass`);
      assert.ok(passed.length >= passing, `only ${passed.length} of ${direct.length} checks pass without doorman`);
      const failed = direct.filter(({ status }) => status === 'FAILURE');
      assert.deepEqual(failed.filter(({ scenario }) => !MISSING.test(scenario)).map(told), []);
      assert.deepEqual(verdicts(through), verdicts(direct), through.filter(isNew(direct)).map(told).join('\n'));
    });
  }
});

function startServer({ folder }) {
  return startUpstream('conformance', [SERVER], { folder });
}

/** INFO is none: it tells of single events, and how many there were may be chance. */
function verdicts(checks) {
  return checks.filter(({ status }) => status !== 'INFO').map(verdict);
}

function verdict({ scenario, id, status }) {
  return `${scenario}: ${id}: ${status}`;
}

function told(check) {
  return `${verdict(check)}: ${check.errorMessage}`;
}

function isNew(checks) {
  const known = new Set(checks.map(verdict));
  return (check) => !known.has(verdict(check));
}

const SERVER = fileURLToPath(new URL('./conformance_server.mjs', import.meta.url));
