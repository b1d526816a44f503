// The life of a login, from the first visit to the day after, for any kind of client (kinds.mjs).
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { BY_ITSELF } from './registrations.mjs';

/**
 * Have a client of `kind` live in the house that `enter` returns, with the tools `echo`, which answers "Echo: …"
 * to its `message`, and `long`: `{ name, input, steps }`. It is known in a `way` of registrations.mjs, where the
 * house has `documents` if need be. Who was there is added to `clients` and `people`.
 */
export function describeLife(kind, { enter, long, way = BY_ITSELF, clients, people }) {
  describe(`${kind.name}, which ${way.name}`, { concurrency: 1 }, () => {
    const alice = new Person();
    const pages = [];
    let client;
    let documents;
    let doorman;
    let end;

    before(async () => {
      const house = enter();
      ({ documents, doorman } = house);
      client = await kind.install({ folder: house.folder, credentials: way.credentials(documents) });
      clients.push(client);
      people.push(alice);
    });
    after(() => client?.close());

    it('finds out where to log in, and connects after that', async () => {
      await connect();

      assert.equal(pages.length, 1);
      const asked = pages[0].searchParams;
      assert.equal(pages[0].origin, doorman.issuer);
      assert.equal(asked.get('resource'), doorman.resource);
      assert.equal(asked.get('code_challenge_method'), 'S256');
      assert.ok(way.isKnownAs(asked.get('client_id'), documents), asked.get('client_id'));
      assert.equal(end.url.origin + end.url.pathname, asked.get('redirect_uri'));
      assert.equal(end.url.searchParams.get('iss'), doorman.issuer);
    });

    it('finds the tools', async () => {
      const names = await client.listTools();

      assert.ok(names.includes('echo') && names.includes(long.name), names.join());
    });

    it('calls one', () => assertWorks());

    it('hears of progress while a tool is at work', async () => {
      const steps = [];
      let atWork = true;

      const call = client.callTool(long.name, long.input, (step) => steps.push(step));
      call.finally(() => (atWork = false)).catch(() => {});
      await until('the first step is told', () => steps.length > 0);
      await assertWorks();

      assert.ok(atWork, 'the first step was told, and another call answered, before the end');
      assert.match(await call, /completed/);
      assert.deepEqual(steps, Array.from({ length: long.steps }, (_, at) => at + 1));
    });

    for (const time of ['first', 'second']) {
      it(`gets another access token when its ${time} one is no longer good`, async () => {
        const old = await accessTokenExpires();

        await assertWorks();

        assert.notEqual(await client.accessToken(), old);
      });
    }

    it('comes back with what it remembers, and nobody has to log in', async () => {
      await client.disconnect();
      await accessTokenExpires();

      await connect();

      await assertWorks();
      assert.equal(pages.length, 1);
    });

    function connect() {
      return client.connect(doorman.resource, async (page) => {
        pages.push(page);
        end = await alice.signIn(page);
      });
    }

    async function assertWorks() {
      assert.equal(await client.callTool('echo', { message: 'hello' }), 'Echo: hello');
    }

    /** Wait until doorman no longer takes the token that the client has, and return that. */
    async function accessTokenExpires() {
      const token = await client.accessToken();
      await until('the access token is refused', async () => {
        const { status } = await fetch(doorman.resource, { headers: { authorization: `Bearer ${token}` } });
        return status === 401;
      });
      return token;
    }
  });
}
