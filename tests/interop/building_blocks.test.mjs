// The parts of the house without mcp-doorman: if one of these fails, the fault is not in doorman.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { Application } from './client.mjs';
import { startEverything } from './everything.mjs';
import { makeFolder } from './house.mjs';
import { startIdp } from './idp.mjs';
import { CANCEL, Person } from './person.mjs';
import { PythonApplication } from './python/application.mjs';
import { startPythonServer } from './python/server.mjs';

describe('the IdP', () => {
  let client;
  let idp;
  before(async () => {
    client = await Application.install();
    idp = await startIdp({ redirectUris: [client.redirectUrl] });
  });
  after(async () => {
    await client.close();
    await idp.stop();
  });

  it('gives an ID token with the claims of the scopes for the right password', async () => {
    const { page, verifier } = authorization();
    const person = new Person();

    await person.logIn(await person.open(page));

    const redirect = await client.takeRedirect();
    const { sub, email, email_verified, groups, nonce } = await exchange(redirect.get('code'), verifier);
    assert.deepEqual(
      { sub, email, email_verified, groups, nonce },
      {
        sub: 'alice',
        email: 'alice@example.com',
        email_verified: true,
        groups: ['mcp-users'],
        nonce: 'interop',
      },
    );
    assert.equal(idp.issued().length, 2, 'an ID token and an access token');
  });

  it('refuses a wrong password, and asks again', async () => {
    const person = new Person();
    const form = await person.open(authorization().page);

    const again = await person.logIn(form, { password: 'guess' });

    assert.equal(again.status, 401);
    assert.equal(client.redirectsWaiting, 0);
    await person.logIn(again);
    assert.ok((await client.takeRedirect()).get('code'));
  });

  it('says access_denied if the person turns back', async () => {
    const person = new Person();
    const form = await person.open(authorization().page);

    await person.browser.submit(form, CANCEL);

    assert.equal((await client.takeRedirect()).get('error'), 'access_denied');
  });

  it('asks for PKCE', async () => {
    const { page } = authorization();
    page.searchParams.delete('code_challenge');

    await new Person().browser.open(page);

    assert.equal((await client.takeRedirect()).get('error'), 'invalid_request');
  });

  it('had no fault of its own', () => assert.deepEqual(idp.faults, []));

  function authorization() {
    const verifier = randomBytes(32).toString('base64url');
    const page = new URL('/auth', idp.issuer);
    page.search = new URLSearchParams({
      response_type: 'code',
      client_id: idp.clientId,
      redirect_uri: client.redirectUrl,
      scope: 'openid profile email groups',
      state: 'interop',
      nonce: 'interop',
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    });
    return { page, verifier };
  }

  async function exchange(code, verifier) {
    const response = await fetch(`${idp.issuer}/token`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`${idp.clientId}:${idp.clientSecret}`)}` },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code,
        redirect_uri: client.redirectUrl,
        code_verifier: verifier,
      }),
    });
    const body = await response.json();
    assert.equal(response.status, 200, JSON.stringify(body));
    return JSON.parse(Buffer.from(body.id_token.split('.')[1], 'base64url'));
  }
});

describe('the MCP server', () => {
  let client;
  let server;
  before(async () => {
    client = await Application.install();
    server = await startEverything({ folder: await makeFolder() });
  });
  after(async () => {
    await client.close();
    await server.stop();
  });

  it('serves the SDK, and its witness tells what arrived', async () => {
    const mcp = await client.connect(server.url, { headers: { 'x-hello': 'witness' } });

    const { content } = await mcp.callTool({ name: 'echo', arguments: { message: 'hello' } });

    assert.deepEqual(content, [{ type: 'text', text: 'Echo: hello' }]);
    const call = server.requests.findLast(({ method }) => method === 'POST');
    assert.equal(call.headers['x-hello'], 'witness');
  });
});

describe('the Python MCP server', () => {
  const applications = [];
  let folder;
  let server;
  before(async () => {
    folder = await makeFolder();
    server = await startPythonServer({ folder });
  });
  after(async () => {
    for (const application of applications) await application.stop();
    await server?.stop();
  });

  for (const [mode, era] of [['legacy', '2025-11-25'], ['auto', '2026-07-28']]) {
    it(`serves ${era} to the Python SDK in its mode ${mode}, and its witness tells what arrived`, async () => {
      const application = new PythonApplication({ sdk: 2, mode, folder });
      applications.push(application);

      const { protocol } = await application.connect(server.url, { headers: { 'x-hello': 'witness' } });
      const { content } = await application.callTool('add', { a: 19, b: 23 });

      assert.equal(protocol, era);
      assert.equal(content[0].text, '42');
      const { headers } = server.requests.findLast(({ method }) => method === 'POST');
      assert.equal(headers['x-hello'], 'witness');
      assert.equal(headers['mcp-protocol-version'], era);
    });
  }
});
