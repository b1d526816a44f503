// What happens to a login later: its access token expires, its grant is revoked.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { discoverOAuthServerInfo, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';

import { Application } from './client.mjs';
import { startHouse } from './house.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

describe('a login that grows old', () => {
  const alice = new Person();
  let client;
  let doorman;
  let house;
  let mcp;

  before(async () => {
    house = await startHouse({ accessTtl: '3s' });
    doorman = house.doorman;
    client = await Application.install();
    await client.signIn(alice, doorman.resource);
    mcp = await client.connect(doorman.resource);
  });
  after(async () => {
    await client?.close();
    await house?.stop();
  });

  it('its access token expires', async () => {
    const { access_token: token, expires_in: seconds } = client.tokens;
    assert.equal(seconds, 3);

    const response = await until('the access token is refused', async () => {
      const answer = await ping(token);
      return answer.status === 401 && answer;
    });

    assert.match(response.headers.get('www-authenticate'), /error="invalid_token"/);
  });

  it('the SDK refreshes it, and nobody has to log in', async () => {
    const before = client.tokens;

    const { content } = await mcp.callTool({ name: 'echo', arguments: { message: 'still here' } });

    assert.equal(content[0].text, 'Echo: still here');
    assert.notEqual(client.tokens.access_token, before.access_token);
    assert.notEqual(client.tokens.refresh_token, before.refresh_token);
    assert.equal(client.pagesOpened.length, 1);
  });

  it('the same again, with the refresh token that came with it', async () => {
    const before = client.tokens;
    await until('the new access token is refused', async () => {
      const answer = await ping(before.access_token);
      return answer.status === 401;
    });

    await mcp.listTools();

    assert.notEqual(client.tokens.access_token, before.access_token);
    assert.equal(client.pagesOpened.length, 1);
  });

  it('its refresh token is revoked', async () => {
    const { authorizationServerMetadata: metadata } = await discoverOAuthServerInfo(doorman.resource);

    const response = await fetch(metadata.revocation_endpoint, {
      method: 'POST',
      body: new URLSearchParams({
        token: client.tokens.refresh_token,
        token_type_hint: 'refresh_token',
        client_id: client.provider.clientInformation().client_id,
      }),
    });

    assert.equal(response.status, 200);
    // RFC 7009 §2.1: the access tokens of the grant end with it.
    assert.equal((await ping(client.tokens.access_token)).status, 401);
  });

  it('the SDK has to ask for a login', async () => {
    await assert.rejects(mcp.listTools(), UnauthorizedError);

    assert.equal(client.pagesOpened.length, 2);
  });

  it('after which it works again', async () => {
    await alice.signIn(client.pagesOpened.at(-1));
    await client.finishSignIn();
    const again = await client.connect(doorman.resource);

    assert.ok((await again.listTools()).tools.length > 0);
  });

  it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: [client], people: [alice] }));

  function ping(token) {
    return fetch(doorman.resource, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' }),
    });
  }
});
