// A login cut into its steps, to have something happen between any two of them: what a client and a person's browser
// do, a request or two at a time.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';

import { Person } from './person.mjs';

/** One client and one person. `STEPS` are the names of its methods, in order; each needs those before it. */
export class LoginByHand {
  static STEPS = [
    'findOut',
    'becomeKnown',
    'askForConsent',
    'consent',
    'openIdp',
    'logIn',
    'comeBack',
    'buyTokens',
    'call',
    'refresh',
    'callAgain',
    'refreshAgain',
  ];
  person = new Person();
  #resource;
  #credentials;
  #metadata;
  #verifier = randomBytes(32).toString('base64url');
  #state = randomBytes(16).toString('base64url');
  #page;
  #code;
  #issued = [];

  /** `credentials` as in kinds.mjs. */
  constructor({ resource, credentials = {} }) {
    this.#resource = resource;
    this.#credentials = credentials;
    this.person.browser.staysAtOrigin = true;
  }

  /** Its own, after `becomeKnown`, if it registered itself. */
  get credentials() {
    return this.#credentials;
  }

  get tokens() {
    return this.#issued.at(-1);
  }

  async findOut() {
    const { pathname, origin } = new URL(this.#resource);
    const about = await json(`${origin}/.well-known/oauth-protected-resource${pathname}`);
    const [issuer] = about.authorization_servers;
    this.#metadata = await json(`${issuer}/.well-known/oauth-authorization-server`);
    assert.equal(this.#metadata.issuer, issuer);
  }

  async becomeKnown() {
    const { clientId, document } = this.#credentials;
    if (clientId || document) return;
    const registered = await json(this.#metadata.registration_endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        client_name: 'Interop client',
        redirect_uris: [REDIRECT_URI],
        grant_types: ['authorization_code', 'refresh_token'],
        token_endpoint_auth_method: 'none',
      }),
    });
    this.#credentials = { clientId: registered.client_id };
  }

  async askForConsent() {
    const page = new URL(this.#metadata.authorization_endpoint);
    page.search = new URLSearchParams({
      response_type: 'code',
      client_id: this.#clientId,
      redirect_uri: REDIRECT_URI,
      code_challenge: createHash('sha256').update(this.#verifier).digest('base64url'),
      code_challenge_method: 'S256',
      state: this.#state,
      resource: this.#resource,
    });
    this.#page = await this.person.open(page);
  }

  async consent() {
    this.#page = await this.person.approve(this.#page);
    assert.equal(this.#page.status, 303, this.#page.body);
  }

  async openIdp() {
    this.#page = await this.person.open(this.#page.url);
  }

  async logIn() {
    this.#page = await this.person.logIn(this.#page);
    assert.equal(this.#page.status, 303, this.#page.body);
  }

  async comeBack() {
    const { url, body } = await this.person.browser.open(this.#page.url);
    assert.equal(url.origin + url.pathname, REDIRECT_URI, body);
    assert.equal(url.searchParams.get('state'), this.#state);
    assert.equal(url.searchParams.get('iss'), this.#metadata.issuer);
    this.#code = url.searchParams.get('code');
    assert.ok(this.#code, url.search);
  }

  buyTokens() {
    return this.#exchange({
      grant_type: 'authorization_code',
      code: this.#code,
      redirect_uri: REDIRECT_URI,
      code_verifier: this.#verifier,
    });
  }

  async call() {
    const response = await this.initialize();
    const answer = await response.text();
    assert.equal(response.status, 200, answer);
    assert.match(answer, /serverInfo/);
  }

  refresh() {
    return this.#exchange({ grant_type: 'refresh_token', refresh_token: this.tokens.refresh_token });
  }

  callAgain() {
    return this.call();
  }

  refreshAgain() {
    return this.refresh();
  }

  /** Open a session at the MCP server, whatever comes of it. */
  initialize() {
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'by hand', version: '1' } };
    return fetch(this.#resource, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${this.tokens.access_token}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }),
    });
  }

  /** RFC 7009 */
  async revoke() {
    const form = { token: this.tokens.refresh_token, ...this.#proof };
    const { status } = await fetch(this.#metadata.revocation_endpoint, {
      method: 'POST',
      body: new URLSearchParams(form),
    });
    assert.equal(status, 200);
  }

  /** What no log may tell, as in kinds.mjs. */
  secrets() {
    const { clientSecret } = this.#credentials;
    const ofTokens = this.#issued.flatMap(({ access_token: access, refresh_token: refresh }, at) => [
      [`access token ${at}`, access],
      [`refresh token ${at}`, refresh],
    ]);
    const ofClient = clientSecret ? [['the secret of the client', clientSecret]] : [];
    return [['the code verifier', this.#verifier], ...ofClient, ...ofTokens];
  }

  async #exchange(form) {
    const tokens = await json(this.#metadata.token_endpoint, {
      method: 'POST',
      body: new URLSearchParams({ ...form, ...this.#proof, resource: this.#resource }),
    });
    assert.notEqual(tokens.access_token, this.tokens?.access_token);
    this.#issued.push(tokens);
  }

  get #clientId() {
    return this.#credentials.document ?? this.#credentials.clientId;
  }

  /** RFC 6749 §2.3.1 */
  get #proof() {
    const { clientSecret } = this.#credentials;
    return { client_id: this.#clientId, ...(clientSecret && { client_secret: clientSecret }) };
  }
}

async function json(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  assert.ok(response.ok, `${url} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

// Nobody listens there: the browser stops before it.
const REDIRECT_URI = 'http://127.0.0.1:1/callback';
