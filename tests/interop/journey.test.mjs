// The main job: an MCP client finds out that it has to log in, a person does so, and the tools work.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { discoverOAuthServerInfo, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { Application } from './client.mjs';
import { startHouse, STATES } from './house.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

// They wait together.
describe('a first visit', { concurrency: STATES.length }, () => {
  for (const { name, settings } of STATES) {
    describe(`where logins are kept in ${name}`, { concurrency: 1 }, () => {
      const alice = new Person();
      // What a caller who would like to be somebody else might try.
      const headers = { 'x-forwarded-user': 'mallory', 'x-forwarded-groups': 'admins' };
      let client;
      let doorman;
      let everything;
      let house;
      let mcp;
      let consent;
      let login;

      before(async () => {
        house = await startHouse(settings);
        ({ doorman, upstream: everything } = house);
        client = await Application.install();
      });
      after(async () => {
        await client?.close();
        await house?.stop();
      });

      for (const method of ['GET', 'HEAD', 'POST']) {
        it(`a bare ${method} is told where to find out more`, async () => {
          const response = await fetch(doorman.resource, { method });

          assert.equal(response.status, 401);
          const challenge = response.headers.get('www-authenticate');
          assert.match(challenge, /^Bearer /);
          const metadata = `${doorman.issuer}/.well-known/oauth-protected-resource/mcp`;
          assert.ok(challenge.includes(`resource_metadata="${metadata}"`), challenge);
          assert.ok(!challenge.includes('error='), challenge);
        });
      }

      it('nothing of that reached the MCP server', () => {
        assert.deepEqual(everything.requests, []);
      });

      it('the SDK discovers the authorization server', async () => {
        const found = await discoverOAuthServerInfo(doorman.resource);

        assert.equal(found.resourceMetadata.resource, doorman.resource);
        assert.equal(found.authorizationServerUrl, doorman.issuer);
        const metadata = found.authorizationServerMetadata;
        assert.equal(metadata.issuer, doorman.issuer);
        assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
        assert.equal(metadata.authorization_response_iss_parameter_supported, true);
        assert.ok(metadata.token_endpoint_auth_methods_supported.includes('none'));
      });

      it('the SDK registers, and asks for a login', async () => {
        await assert.rejects(client.connect(doorman.resource), UnauthorizedError);

        assert.ok(client.provider.clientInformation().client_id);
        assert.equal(client.pagesOpened.length, 1);
        assert.equal(client.pagesOpened[0].searchParams.get('resource'), doorman.resource);
      });

      it('a page names the client and where it is, and asks whether it may go on', async () => {
        consent = await alice.open(client.pagesOpened[0]);

        assert.equal(consent.url.origin, doorman.issuer);
        assert.ok(consent.body.includes('Interop client'), consent.body);
        assert.ok(consent.body.includes('127.0.0.1'), consent.body);
        const policy = consent.headers['content-security-policy'];
        assert.match(policy, /frame-ancestors 'none'/);
        // Chrome holds it against every redirect that follows the form: it would stop the login.
        assert.doesNotMatch(policy, /form-action/);
      });

      it('after a yes the IdP asks who this is', async () => {
        login = await alice.approve(consent);

        assert.equal(login.url.origin, house.idp.issuer);
        assert.equal(client.redirectsWaiting, 0);
      });

      it('after the login the client gets a code, its own state, and the issuer', async () => {
        const end = await alice.logIn(login);

        assert.equal(end.url.origin + end.url.pathname, client.redirectUrl, end.body);
        assert.equal(end.url.searchParams.get('state'), client.provider.lastState);
        assert.equal(end.url.searchParams.get('iss'), doorman.issuer);
        assert.ok(end.url.searchParams.get('code'));
      });

      it('the SDK buys tokens for the code', async () => {
        await client.finishSignIn();

        assert.equal(client.tokens.token_type, 'Bearer');
        assert.equal(client.tokens.expires_in, 3600);
        assert.ok(client.tokens.refresh_token);
      });

      it('the SDK opens its session', async () => {
        mcp = await client.connect(doorman.resource, { headers });

        assert.match(mcp.getServerVersion().name, /everything/);
      });

      it('tools/list names the tools', async () => {
        const { tools } = await mcp.listTools();

        assert.ok(tools.some(({ name }) => name === 'echo'));
      });

      it('tools/call calls one', async () => {
        assert.equal(await echo('through the door'), 'Echo: through the door');
      });

      it('progress arrives while the tool is at work', async () => {
        const progress = [];
        let atWork = true;

        const call = mcp.callTool(
          { name: 'trigger-long-running-operation', arguments: { duration: 3, steps: 6 } },
          undefined,
          { onprogress: (step) => progress.push(step.progress) },
        );
        call.finally(() => (atWork = false)).catch(() => {});
        await until('the first step is told', () => progress.length > 0);
        await echo('meanwhile');

        assert.ok(atWork, 'the first step was told, and another call answered, before the end');
        assert.match((await call).content[0].text, /completed/);
        assert.deepEqual(progress, [1, 2, 3, 4, 5, 6]);
      });

      it('the MCP server can ask the client in the middle of a call', async () => {
        // It answers when it has its answer: had its question been held back, both would wait for ever.
        const { content } = await mcp.callTool(
          { name: 'trigger-sampling-request', arguments: { prompt: 'hello', maxTokens: 10 } },
          undefined,
          { timeout: 20_000 },
        );

        assert.match(content[0].text, /a sampled answer/);
      });

      it('what the MCP server says unasked arrives on the GET stream', async () => {
        const said = [];
        mcp.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
          said.push(params.data);
        });
        await until('the GET stream is open', () => requests('GET').length > 0);

        await mcp.callTool({ name: 'toggle-simulated-logging', arguments: {} });

        await until('it is heard', () => said.length > 0, { seconds: 10 });
      });

      it('the MCP server is told who is calling, and by nobody but doorman', () => {
        const arrived = requests('POST');

        assert.ok(arrived.length > 5);
        for (const { headers } of arrived) {
          assert.equal(headers['x-forwarded-user'], 'alice');
          assert.equal(headers['x-forwarded-email'], 'alice@example.com');
          assert.equal(headers['x-forwarded-groups'], 'mcp-users');
        }
      });

      it('the MCP server never sees a token', () => {
        const arrived = JSON.stringify(everything.requests);

        assert.ok(!arrived.includes(client.tokens.access_token));
        assert.ok(everything.requests.every(({ headers }) => headers.authorization === undefined));
      });

      it('the SDK ends its session', async () => {
        await mcp.transport.terminateSession();

        await until('the MCP server has heard of it', () => requests('DELETE').length === 1);
      });

      it('one login was all that it took', () => {
        assert.equal(client.pagesOpened.length, 1);
        assert.deepEqual(house.idp.faults, []);
      });

      it('doorman stops when it is asked to', async () => {
        await client.close();

        assert.equal(await doorman.stop(), 0);
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: [client], people: [alice] }));

      async function echo(message) {
        const { content } = await mcp.callTool({ name: 'echo', arguments: { message } });
        return content[0].text;
      }

      function requests(wanted) {
        return everything.requests.filter(({ method }) => method === wanted);
      }
    });
  }
});
