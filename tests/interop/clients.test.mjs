// Clients and MCP servers of either era of the protocol, before doorman and behind it.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startEverything } from './everything.mjs';
import { startHouse } from './house.mjs';
import { SDK_1, SDK_2, SDK_2_PROBING } from './kinds.mjs';
import { describeLife } from './life.mjs';
import { startModern } from './modern.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const HOUSES = [
  {
    name: 'an MCP server with sessions',
    startUpstream: startEverything,
    long: { name: 'trigger-long-running-operation', input: { duration: 1, steps: 4 }, steps: 4 },
    kinds: [SDK_1, SDK_2, SDK_2_PROBING],
  },
  {
    name: 'an MCP server of 2026-07-28',
    startUpstream: startModern,
    long: { name: 'count', input: { steps: 4, milliseconds: 250 }, steps: 4 },
    kinds: [SDK_2_PROBING],
  },
];

// Most of it is waiting: they wait together.
describe('clients of either era', { concurrency: HOUSES.length }, () => {
  for (const { name, startUpstream, long, kinds } of HOUSES) {
    describe(`in front of ${name}`, { concurrency: 1 }, () => {
      const clients = [];
      const people = [];
      let house;

      before(async () => {
        house = await startHouse({ startUpstream, accessTtl: '3s' });
      });
      after(() => house?.stop());

      describe('a life of', { concurrency: kinds.length }, () => {
        for (const kind of kinds) describeLife(kind, { enter: () => house, long, clients, people });
      });

      it('the MCP server was told who calls, and no token', () => {
        const { requests } = house.upstream;

        assert.ok(requests.length > 10 * kinds.length);
        for (const { headers } of requests) {
          assert.equal(headers['x-forwarded-user'], 'alice');
          assert.equal(headers.authorization, undefined);
        }
      });

      it('the era of each request arrived', () => {
        const versions = house.upstream.requests
          .filter(({ method }) => method === 'POST')
          .map(({ headers }) => headers['mcp-protocol-version']);

        assert.ok(versions.includes('2026-07-28'), 'somebody asked for it');
        if (startUpstream === startModern) assert.deepEqual([...new Set(versions)], ['2026-07-28']);
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients, people }));

      it('the IdP had no fault of its own', () => assert.deepEqual(house.idp.faults, []));
    });
  }
});
