// The identity provider: npm `oidc-provider`, with one confidential client and two people.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

import Provider from 'oidc-provider';

/** May use the MCP server. */
export const ALICE = person('alice', ['mcp-users']);
/** Can log in, but is in no group that may. */
export const BOB = person('bob', ['interns']);

/**
 * Start the IdP on a free port. `redirectUris` are those of the client, `clientId` and `clientSecret` its
 * credentials; `configuration` is for the provider, in place of what stands here. `issued` collects every token
 * handed out, for the search in doorman's log. Once it is stopped, it can be `startAgain`, and still knows who was
 * logging in, as an IdP with a database does.
 */
export async function startIdp({ redirectUris, configuration = {} }) {
  // Node closes what was idle for 5 s, even if a request has come since that it had no time to read.
  const server = http.createServer({ keepAliveTimeout: 60_000 });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}`;
  const clientId = 'mcp-doorman';
  const clientSecret = random();
  const issued = [];
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: clientId,
        client_secret: clientSecret,
        token_endpoint_auth_method: 'client_secret_basic',
        redirect_uris: redirectUris,
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
      },
    ],
    pkce: { required: () => true },
    claims: {
      openid: ['sub'],
      profile: ['name'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    // As most IdPs do: the claims of the scopes are in the ID token, not only at the userinfo endpoint.
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => find(sub).claims }),
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/login/${interaction.uid}` },
    loadExistingGrant: grantWithoutAsking,
    jwks: { keys: [signingKey()] },
    cookies: { keys: [random()] },
    ttl: { Session: 3600, Interaction: 3600, Grant: 3600, AccessToken: 3600, IdToken: 3600 },
    ...configuration,
  });
  provider.on('grant.success', ({ body }) => {
    issued.push(body.id_token, body.access_token, body.refresh_token);
  });
  const faults = [];
  provider.on('server_error', (_, error) => faults.push(error));

  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/login/')) return answer(request, response);
    loginForm(provider, request, response).catch((error) => {
      faults.push(error);
      response.writeHead(500).end(String(error));
    });
  });

  return {
    issuer,
    clientId,
    clientSecret,
    faults,
    issued: () => issued.filter(Boolean),
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
    async startAgain() {
      server.listen(port, '127.0.0.1');
      await once(server, 'listening');
    },
  };
}

/** The client belongs to the same company: its people are asked to log in, but not to consent. */
async function grantWithoutAsking({ oidc }) {
  const grant = new oidc.provider.Grant({
    clientId: oidc.client.clientId,
    accountId: oidc.session.accountId,
  });
  grant.addOIDCScope(oidc.params.scope);
  await grant.save();
  return grant;
}

async function loginForm(provider, request, response) {
  if (request.method === 'GET') {
    await provider.interactionDetails(request, response);
    return page(response, 200, '');
  }
  const form = await readForm(request);
  if (form.get('do') === 'cancel') {
    return finish({ error: 'access_denied', error_description: 'End-User aborted interaction' });
  }
  const person = find(form.get('login'));
  if (person?.password !== form.get('password')) {
    return page(response, 401, '<p role="alert">Wrong name or password.</p>');
  }
  return finish({ login: { accountId: person.login } });

  function finish(result) {
    return provider.interactionFinished(request, response, result, {
      mergeWithLastSubmission: false,
    });
  }
}

function page(response, status, alert) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' }).end(`<!doctype html>
<title>Log in</title>${alert}
<form method="post">
  <input name="login" autocomplete="username"> <input name="password" type="password">
  <button name="do" value="login">Log in</button> <button name="do" value="cancel">Cancel</button>
</form>`);
}

function person(login, groups) {
  const email = `${login}@example.com`;
  const claims = { sub: login, name: login, email, email_verified: true, groups };
  return Object.freeze({ login, password: `correct-horse-${random()}`, claims });
}

function find(login) {
  return [ALICE, BOB].find((person) => person.login === login);
}

async function readForm(request) {
  let body = '';
  for await (const text of request.setEncoding('utf8')) body += text;
  return new URLSearchParams(body);
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: 'interop', use: 'sig', alg: 'RS256' };
}

function random() {
  return randomBytes(24).toString('base64url');
}
