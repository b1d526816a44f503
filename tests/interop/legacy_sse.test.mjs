// The transport of 2024-11-05, HTTP+SSE, with real clients and real servers: a stream whose first event says
// where messages go, which here is where doorman maps it to.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startLegacyEverything } from './everything.mjs';
import { startHouse } from './house.mjs';
import { MCP_REMOTE_SSE, SDK_1_SSE } from './kinds.mjs';
import { describeLife } from './life.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { PythonApplication } from './python/application.mjs';
import { startLegacyPythonServer } from './python/server.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const HOUSES = [
  {
    name: 'an MCP server of the TypeScript SDK 1.x',
    startUpstream: startLegacyEverything,
    long: { name: 'trigger-long-running-operation', input: { duration: 3, steps: 6 }, steps: 6 },
    messages: '/message',
  },
  {
    name: 'an MCP server of the Python SDK 1.x',
    startUpstream: startLegacyPythonServer,
    long: { name: 'count', input: { to: 6 }, steps: 6 },
    messages: '/messages/',
  },
];
const KINDS = [SDK_1_SSE, MCP_REMOTE_SSE];

describe('HTTP+SSE', { concurrency: HOUSES.length }, () => {
  for (const { name, startUpstream, long, messages } of HOUSES) {
    describe(`in front of ${name}`, { concurrency: 1 }, () => {
      const clients = [];
      const people = [];
      let house;

      before(async () => {
        house = await startHouse({ startUpstream, scopes: ['tools'], accessTtl: '3s' });
      });
      after(() => house?.stop());

      describe('a life of', { concurrency: KINDS.length }, () => {
        for (const kind of KINDS) describeLife(kind, { enter: () => house, long, clients, people });
      });

      describe('the Python SDK 1.x', { concurrency: 1 }, () => {
        const alice = new Person();
        let application;

        before(() => {
          const program = 'client_1_sse.py';
          application = new PythonApplication({ sdk: 1, mode: 'legacy', program, folder: house.folder });
          clients.push(application);
          people.push(alice);
        });
        after(() => application?.stop());

        it('logs in, and connects', async () => {
          const { protocol } = await application.signIn(alice, house.doorman.resource);

          assert.match(protocol, /^202[45]-/);
          assert.ok(application.requests.some(({ url }) => url.includes('/mcp?sessionId=doorman_sm_')));
        });

        it('calls a tool, and hears of progress', async () => {
          const progress = [];

          const call = application.callTool(long.name, long.input, { onprogress: (step) => progress.push(step) });
          await until('the first step is told', () => progress.length > 0);
          const { content } = await application.callTool('echo', { message: 'hello' });

          assert.equal(content[0].text, 'Echo: hello');
          assert.ok(!(await call).isError);
          assert.deepEqual(progress, Array.from({ length: long.steps }, (_, at) => at + 1));
        });
      });

      it('streams and messages came where the MCP server wanted them, and no token', () => {
        const { requests, url } = house.upstream;
        const paths = new Set(requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`));

        assert.deepEqual(paths, new Set([`GET ${new URL(url).pathname}`, `POST ${messages}`]));
        for (const { headers } of requests) {
          assert.equal(headers['x-forwarded-user'], 'alice');
          assert.equal(headers.authorization, undefined);
        }
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients, people }));
    });
  }
});
