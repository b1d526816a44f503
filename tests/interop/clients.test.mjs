// Clients and MCP servers of either era of the protocol, before doorman and behind it.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startEverything } from './everything.mjs';
import { startHouse } from './house.mjs';
import { MCP_REMOTE, MCP_REMOTE_PROBING, SDK_1, SDK_2, SDK_2_PROBING } from './kinds.mjs';
import { describeLife } from './life.mjs';
import { startModern, startModernOverHttp2 } from './modern.mjs';
import { Person } from './person.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const HOUSES = [
  {
    name: 'an MCP server with sessions',
    startUpstream: startEverything,
    long: { name: 'trigger-long-running-operation', input: { duration: 3, steps: 6 }, steps: 6 },
    kinds: [SDK_1, SDK_2, SDK_2_PROBING, MCP_REMOTE],
  },
  {
    name: 'an MCP server of 2026-07-28',
    startUpstream: startModern,
    long: { name: 'count', input: { steps: 6, milliseconds: 500 }, steps: 6 },
    kinds: [SDK_2_PROBING, MCP_REMOTE_PROBING],
  },
  {
    name: 'an MCP server of 2026-07-28 that speaks HTTP/2',
    startUpstream: startModernOverHttp2,
    long: { name: 'count', input: { steps: 6, milliseconds: 500 }, steps: 6 },
    kinds: [SDK_2_PROBING],
  },
];

// Most of it is waiting: they wait together.
describe('clients of either era', { concurrency: HOUSES.length + 1 }, () => {
  for (const { name, startUpstream, long, kinds } of HOUSES) {
    describe(`in front of ${name}`, { concurrency: 1 }, () => {
      const clients = [];
      const people = [];
      let house;

      before(async () => {
        house = await startHouse({ startUpstream, scopes: ['tools'], accessTtl: '3s' });
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
        if (startUpstream !== startEverything) assert.deepEqual([...new Set(versions)], ['2026-07-28']);
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients, people }));

      it('the IdP had no fault of its own', () => assert.deepEqual(house.idp.faults, []));
    });
  }

  describe('in front of an MCP server that needs no scope', { concurrency: 1 }, () => {
    const alice = new Person();
    let client;
    let house;

    before(async () => {
      // It refreshes what has less than a minute to go: with this, before each request.
      house = await startHouse({ accessTtl: '60s' });
      client = await MCP_REMOTE.install({ folder: house.folder });
    });
    after(async () => {
      await client?.close();
      await house?.stop();
    });

    it('mcp-remote asks for scopes of its own, and connects', async () => {
      let asked;

      await client.connect(house.doorman.resource, (page) => {
        asked = page.searchParams.get('scope');
        return alice.signIn(page);
      });

      assert.equal(asked, 'openid email profile');
    });

    // It names them again when it refreshes.
    it('mcp-remote refreshes its tokens', async () => {
      const old = await client.accessToken();

      await client.callTool('echo', { message: 'hello' });

      assert.notEqual(await client.accessToken(), old);
    });
  });
});
