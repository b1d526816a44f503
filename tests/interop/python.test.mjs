// The official Python SDK, with both its major versions, as a client and as the MCP server. MCP has two eras:
// sessions opened with `initialize`, and since 2026-07-28 requests that stand alone, whose headers repeat what
// is in the body. A client falls back to the first without a word: so every journey here knows its era.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startEverything } from './everything.mjs';
import { startHouse } from './house.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { PythonApplication } from './python/application.mjs';
import { startPythonServer } from './python/server.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const SESSIONS = '2025-11-25';
const MODERN = '2026-07-28';

const CLIENTS = [
  { kind: 'SDK 1.30.0', version: '1.30.0', install: { sdk: 1, mode: 'legacy' }, speaks: [SESSIONS] },
  { kind: 'SDK 2.3.0 as legacy', version: '2.3.0', install: { sdk: 2, mode: 'legacy' }, speaks: [SESSIONS] },
  { kind: 'SDK 2.3.0', version: '2.3.0', install: { sdk: 2, mode: 'auto' }, speaks: [MODERN, SESSIONS] },
];
const SERVERS = [
  {
    name: 'mcp-servers/everything',
    startUpstream: startEverything,
    speaks: [SESSIONS],
    slowTool: ['trigger-long-running-operation', { duration: 3, steps: 6 }],
  },
  {
    name: 'interop-python',
    startUpstream: startPythonServer,
    speaks: [MODERN, SESSIONS],
    slowTool: ['count', { to: 6 }],
  },
];

for (const { name, startUpstream, speaks, slowTool } of SERVERS) {
  describe(`in front of ${name}`, () => {
    const applications = [];
    const people = [];
    let doorman;
    let house;
    let upstream;
    before(async () => {
      house = await startHouse({ startUpstream });
      ({ doorman, upstream } = house);
    });
    after(async () => {
      for (const application of applications) await application.stop();
      await house?.stop();
    });

    for (const client of CLIENTS) {
      const era = client.speaks.find((version) => speaks.includes(version));
      describe(`${client.kind} speaks ${era}`, () => {
        const alice = new Person();
        // What a caller who would like to be somebody else might try.
        const headers = { 'x-forwarded-user': 'mallory', 'X-Forwarded-Groups': 'admins' };
        let application;
        let connection;
        before(() => {
          application = new PythonApplication({ ...client.install, folder: house.folder });
          applications.push(application);
          people.push(alice);
          upstream.requests.length = 0;
        });

        it('it discovers, registers, and asks for a login', async () => {
          const connected = application.connect(doorman.resource, { headers });
          const page = await application.takePage(connected);

          assert.equal(page.origin, doorman.issuer);
          assert.equal(page.searchParams.get('resource'), doorman.resource);
          assert.deepEqual(application.requests.map(line), [
            'POST /mcp',
            'GET /.well-known/oauth-protected-resource/mcp',
            'GET /.well-known/oauth-authorization-server',
            'POST /register',
          ]);
          assert.deepEqual(upstream.requests, []);
          await alice.signIn(page);
          connection = await connected;
        });

        it(`after the login it is connected, with ${era}`, () => {
          assert.deepEqual(connection, { sdk: client.version, protocol: era, server: name });
          assert.ok(application.tokens.refresh_token);
        });

        it('tools/list names the tools', async () => {
          const { tools } = await application.listTools();

          assert.ok(tools.some((tool) => tool.name === 'echo'));
        });

        it('tools/call calls one', async () => {
          assert.equal(await echo('through the door'), 'Echo: through the door');
        });

        it('progress arrives while the tool is at work', async () => {
          const progress = [];
          let atWork = true;

          const call = application.callTool(...slowTool, { onprogress: (step) => progress.push(step) });
          call.finally(() => (atWork = false)).catch(() => {});
          await until('the first step is told', () => progress.length > 0);
          await echo('meanwhile');

          assert.ok(atWork, 'the first step was told, and another call answered, before the end');
          assert.ok(!(await call).isError);
          assert.deepEqual(progress, [1, 2, 3, 4, 5, 6]);
        });

        if (speaks.includes(MODERN)) {
          it('an argument that does not fit into a header arrives as it is', async () => {
            assert.equal(await echo(' Grüße, 世界 '), 'Echo:  Grüße, 世界 ');
          });
        }

        if (era === MODERN) {
          it('what the server says unasked is heard by who listens', async () => {
            let listening = false;

            const change = application.waitForChange({ onlistening: () => (listening = true) });
            await until('the client listens', () => listening);
            await application.callTool('change', {});

            assert.equal(await change, 'ToolsListChanged');
          });

          it('all of it was 2026-07-28', async () => {
            const arrived = await allThatArrived();
            const methods = arrived.map(({ headers }) => headers['mcp-method']);

            assert.ok(arrived.every(({ headers }) => headers['mcp-protocol-version'] === MODERN));
            assert.ok(arrived.every(({ headers }) => headers['mcp-session-id'] === undefined));
            assert.ok(methods.every(Boolean), 'each says what it is for');
            assert.deepEqual(new Set(methods), METHODS_OF_THE_JOURNEY);
            const greeting = arrived.findLast(({ headers }) => headers['mcp-name'] === 'echo');
            const inBase64 = Buffer.from(' Grüße, 世界 ').toString('base64');
            assert.equal(greeting.headers['mcp-param-message'], `=?base64?${inBase64}?=`);
          });
        } else {
          it('all of it was in a session', async () => {
            const arrived = await allThatArrived();
            // An SDK that can do better asks first: with a version that the server does not know.
            const asked = arrived.filter(({ headers }) => headers['mcp-method'] === 'server/discover');
            const [initialize, ...others] = arrived.filter((request) => !asked.includes(request));

            assert.equal(asked.length, client.speaks.includes(MODERN) ? 1 : 0);
            assert.equal(initialize.headers['mcp-session-id'], undefined);
            assert.ok(others.length > 3);
            assert.ok(others.every(({ headers }) => headers['mcp-protocol-version'] === SESSIONS));
            assert.ok(others.some(({ method }) => method === 'GET'));
            // One session, which the client knows by another name: its own alone.
            const [own, ...more] = new Set(others.map(({ headers }) => headers['mcp-session-id']));
            const given = new Set(sent().map(({ headers }) => headers['mcp-session-id']).filter(Boolean));
            assert.match(own, /^[0-9a-f-]{32,}$/);
            assert.deepEqual(more, []);
            assert.equal(given.size, 1);
            assert.match([...given][0], /^doorman_si_/);
          });
        }

        it('the headers of MCP arrive as they were sent', async () => {
          const arrived = await allThatArrived();

          assert.deepEqual(arrived.map(headersOfMcp).sort(), sent().map(headersOfMcp).sort());
        });

        it('the MCP server is told who is calling, and by nobody but doorman', async () => {
          for (const { headers } of await allThatArrived()) {
            assert.equal(headers['x-forwarded-user'], 'alice');
            assert.equal(headers['x-forwarded-email'], 'alice@example.com');
            assert.equal(headers['x-forwarded-groups'], 'mcp-users');
          }
        });

        it('the MCP server never sees a token', async () => {
          const arrived = await allThatArrived();

          assert.ok(arrived.every(({ headers }) => headers.authorization === undefined));
          assert.ok(!JSON.stringify(arrived).includes(application.tokens.access_token));
        });

        it('it ends its session, if it had one', async () => {
          await application.close();

          const arrived = await allThatArrived();
          const ends = arrived.filter(({ method }) => method === 'DELETE');
          assert.equal(ends.length, era === SESSIONS ? 1 : 0);
          assert.equal(application.pagesOpened.length, 1);
          assert.equal(application.tokensSaved.length, 1);
        });

        async function echo(message) {
          const { content } = await application.callTool('echo', { message });
          return content[0].text;
        }

        /** The requests to the MCP server that carried a token. */
        function sent() {
          return application.requests.filter(
            ({ url, headers }) => url === doorman.resource && headers.authorization,
          );
        }

        /** As many requests as were sent to it, once the MCP server has told of them. */
        async function allThatArrived() {
          const enough = () => upstream.requests.length >= sent().length && upstream.requests;
          const arrived = await until('all that was sent has arrived', enough, { seconds: 10 });
          assert.equal(arrived.length, sent().length);
          assert.ok(arrived.length > 5, 'a journey is more than that');
          return [...arrived];
        }
      });
    }

    it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: applications, people }));
  });
}

describe('a login that grows old', () => {
  const applications = [];
  const people = [];
  let doorman;
  let house;
  let upstream;
  before(async () => {
    house = await startHouse({ startUpstream: startPythonServer, accessTtl: '3s' });
    ({ doorman, upstream } = house);
  });
  after(async () => {
    for (const application of applications) await application.stop();
    await house?.stop();
  });

  // Most of it is waiting, which all of them can do at once; what one of them does has an order.
  describe('of each client', { concurrency: true }, () => {
    for (const { kind, install, speaks } of CLIENTS) {
      describe(kind, { concurrency: 1 }, () => growsOld(install, speaks));
    }
  });

  it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: applications, people }));

  function growsOld(install, speaks) {
    const alice = new Person();
    let application;
    before(async () => {
      application = new PythonApplication({ ...install, folder: house.folder });
      applications.push(application);
      people.push(alice);
      const { protocol } = await application.signIn(alice, doorman.resource);
      assert.equal(protocol, speaks[0]);
    });

    for (const time of ['first', 'second']) {
      it(`its access token expires and is refreshed, and nobody has to log in: the ${time} time`, async () => {
        const before = application.tokens;
        assert.equal(before.expires_in, 3);
        await expired(application);

        const requests = await requestsDuring(() => works(application));

        // It knows the time, and does not wait to be refused.
        const [first, ...others] = requests;
        assert.equal(line(first), 'POST /token');
        assert.ok(others.length > 0);
        assert.ok(others.every(({ url }) => url === doorman.resource));
        assert.deepEqual(refresh(requests), { token: before.refresh_token, resource: doorman.resource });
        assert.notEqual(application.tokens.access_token, before.access_token);
        assert.notEqual(application.tokens.refresh_token, before.refresh_token);
        assert.equal(application.pagesOpened.length, 1);
      });
    }

    it('a new process that knows the time refreshes before it has discovered anything', async () => {
      const before = application.tokens;
      await expired(application);
      await application.restart();

      const requests = await requestsDuring(() =>
        application.connect(doorman.resource, { knowsExpiry: true }),
      );

      assert.equal(line(requests[0]), 'POST /token');
      assert.equal(new URL(requests[0].url).origin, new URL(doorman.resource).origin);
      // Whether `resource` is sent depends on the version that the request to the MCP server names, and
      // `initialize` names none.
      const resource = speaks[0] === MODERN ? doorman.resource : undefined;
      assert.deepEqual(refresh(requests), { token: before.refresh_token, resource });
      assert.ok(requests.every(({ url }) => !url.includes('/.well-known/')));
      assert.notEqual(application.tokens.access_token, before.access_token);
      assert.equal(application.pagesOpened.length, 1);
      await works(application);
    });

    it('a new process that does not know it has to ask for a login, as the same client', async () => {
      await expired(application);
      await application.restart();

      const requests = await requestsDuring(() => application.signIn(alice, doorman.resource));

      assert.ok(!requests.some((request) => line(request) === 'POST /register'));
      const [first, second] = application.pagesOpened.map(({ searchParams }) => searchParams);
      assert.equal(second.get('client_id'), first.get('client_id'));
      // RFC 8252 §7.3: a native client has another port each time.
      assert.notEqual(second.get('redirect_uri'), first.get('redirect_uri'));
      assert.equal(application.pagesOpened.length, 2);
      await works(application);
    });

    it('the MCP server has seen none of the tokens', () => {
      assert.ok(upstream.requests.length > 5);
      const arrived = JSON.stringify(upstream.requests);
      assert.ok(application.tokensSaved.length >= 5);
      assert.ok(application.tokensSaved.every(({ access_token: token }) => !arrived.includes(token)));
    });

    async function requestsDuring(action) {
      const { length } = application.requests;
      await action();
      return application.requests.slice(length);
    }
  }

  /** Wait for the end of the access token: the SDK does not refresh before, and doorman does not refuse it. */
  async function expired(application) {
    await until('the SDK knows that it has expired', async () => !(await application.tokenState()).valid);
    await until('doorman refuses it', async () => (await statusFor(application.tokens)) === 401);
  }

  async function works(application) {
    const { content } = await application.callTool('add', { a: 19, b: 23 });
    assert.equal(content[0].text, '42');
  }

  async function statusFor({ access_token: token }) {
    const response = await fetch(doorman.resource, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    });
    await response.body?.cancel();
    return response.status;
  }

  function refresh(requests) {
    const { form } = requests.find((request) => line(request) === 'POST /token');
    assert.equal(form.grant_type, 'refresh_token');
    return { token: form.refresh_token, resource: form.resource };
  }
});

function line({ method, url }) {
  return `${method} ${new URL(url).pathname}`;
}

/**
 * The headers that MCP defines, and those that a later version may, in an order to compare. Of the session's id
 * only that it is there: the two sides know it by different names.
 */
function headersOfMcp({ method, headers }) {
  const ofMcp = Object.entries(headers).filter(([name]) => name.startsWith('mcp-') || name === 'last-event-id');
  const shown = ofMcp.map(([name, value]) => (name === 'mcp-session-id' ? name : `${name}: ${value}`));
  return [method, ...shown.sort()].join('\n');
}

const METHODS_OF_THE_JOURNEY = new Set(['server/discover', 'tools/list', 'tools/call', 'subscriptions/listen']);
