// Many tokens that nobody has brought yet: doorman's own, and an IdP's.
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { promisify } from 'node:util';

/** Refresh the login of `client` so many times. */
export async function refreshTimes({ client, issuer, resource }, count) {
  const { client_id } = client.provider.clientInformation();
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  let { refresh_token } = client.tokens;
  const tokens = [];
  while (tokens.length < count) {
    const form = { grant_type: 'refresh_token', refresh_token, client_id, resource };
    const answer = await post(`${issuer}/token`, agent, new URLSearchParams(form).toString());
    assert.ok(answer.access_token, JSON.stringify(answer));
    tokens.push(answer.access_token);
    ({ refresh_token } = answer);
  }
  agent.destroy();
  return tokens;
}

/** An IdP that issues JWTs as access tokens, and no more: for `tokens.issued_by: idp`. */
export async function startSigner() {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'bench', use: 'sig', alg: 'RS256' };
  const server = http.createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url === '/keys' ? { keys: [key] } : metadata(issuer)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;

  return {
    issuer,
    clientId: 'mcp-doorman',
    clientSecret: 'a-secret-that-nobody-asks-for',
    /** Of somebody who may use `resource`. */
    issue: (resource, count) => Promise.all(Array.from({ length: count }, () => jwt(privateKey, issuer, resource))),
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** RFC 9068 */
async function jwt(privateKey, issuer, resource) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer,
    aud: resource,
    sub: randomUUID(),
    client_id: 'some-client',
    scope: 'openid profile email groups',
    email: 'somebody@example.com',
    email_verified: true,
    groups: ['mcp-users'],
    jti: randomUUID(),
    iat: now,
    exp: now + 3600,
  };
  const signed = [{ typ: 'at+jwt', alg: 'RS256', kid: 'bench' }, claims].map(encode).join('.');
  const signature = await promisify(sign)('sha256', Buffer.from(signed), privateKey);
  return `${signed}.${signature.toString('base64url')}`;
}

function encode(part) {
  return Buffer.from(JSON.stringify(part)).toString('base64url');
}

function metadata(issuer) {
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/register`,
    jwks_uri: `${issuer}/keys`,
    response_types_supported: ['code'],
    grant_types_supported: ['authorization_code', 'refresh_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    code_challenge_methods_supported: ['S256'],
  };
}

function post(url, agent, form) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    const request = http.request(url, { method: 'POST', agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve(JSON.parse(text)));
    });
    request.on('error', reject).end(form);
  });
}
