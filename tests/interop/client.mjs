// An MCP client: the official TypeScript SDK 1.x, with what every application has to bring along: a place to
// keep its credentials, and a web server for the redirect. With the SDK 2.x: client_2.mjs.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { until } from './processes.mjs';

/** One installation of an MCP client: it registers once, and remembers its tokens. */
export class Application {
  /** Every token response that was saved, and every page that the person was sent to, in order. */
  tokensSaved = [];
  pagesOpened = [];
  #server;
  #redirects = [];
  #interrupted;
  #connected = [];

  /** `clientId`, `clientSecret` and `document` as in kinds.mjs. */
  static async install({ clientId, clientSecret, document } = {}) {
    const application = new this();
    application.#server = http.createServer((request, response) => application.#receive(request, response));
    application.#server.listen(0, '127.0.0.1');
    await once(application.#server, 'listening');
    application.provider = application.makeProvider();
    application.provider.clientMetadataUrl = document;
    if (clientId) application.provider.saveClientInformation({ client_id: clientId, client_secret: clientSecret });
    return application;
  }

  get redirectUrl() {
    return `http://127.0.0.1:${this.#server.address().port}/callback`;
  }

  get tokens() {
    return this.tokensSaved.at(-1);
  }

  /** The redirects that arrived and were not taken yet. */
  get redirectsWaiting() {
    return this.#redirects.length;
  }

  /** The parameters of the next redirect that arrives. */
  takeRedirect() {
    return until('the browser comes back to the client', () => this.#redirects.shift(), { seconds: 10 });
  }

  /**
   * Connect to the MCP server at `resource`. Throws `UnauthorizedError` if somebody has to log in first: the
   * page to open is then the last of `pagesOpened`, and `finishSignIn` goes on from there.
   */
  async connect(resource, { headers } = {}) {
    const transport = this.makeTransport(new URL(resource), {
      authProvider: this.provider,
      requestInit: { headers },
    });
    const client = this.makeClient();
    this.#interrupted = transport;
    await client.connect(transport);
    this.#connected.push(client);
    return client;
  }

  /** Take the redirect that the login ended with, or another in its place, and buy tokens for its code. */
  async finishSignIn(other) {
    const redirect = other ?? (await this.takeRedirect());
    await this.redeem(redirect, this.#interrupted);
    return redirect;
  }

  /** Have `person` log in, to have tokens for `resource`. */
  async signIn(person, resource) {
    await assert.rejects(this.connect(resource), (error) => this.wantsLogin(error));
    await person.signIn(this.pagesOpened.at(-1));
    await this.finishSignIn();
  }

  /** What nobody else may know of this client, as `[what it is, the secret]`. */
  secrets() {
    const ofTokens = this.tokensSaved.flatMap((tokens, at) => [
      [`access token ${at}`, tokens.access_token],
      [`refresh token ${at}`, tokens.refresh_token],
    ]);
    const { client_secret: secret } = this.provider.clientInformation();
    const ofClient = secret ? [['the secret of the client', secret]] : [];
    return [['the code verifier', this.provider.codeVerifier()], ...ofClient, ...ofTokens];
  }

  async close() {
    for (const client of this.#connected) await client.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  // What depends on the version of the SDK.

  wantsLogin(error) {
    return error instanceof UnauthorizedError;
  }

  callTool(mcp, call, onStep) {
    return mcp.callTool(call, undefined, { onprogress: onStep && (({ progress }) => onStep(progress)) });
  }

  makeProvider() {
    return new MemoryProvider(this);
  }

  makeTransport(url, options) {
    return new StreamableHTTPClientTransport(url, options);
  }

  makeClient() {
    const client = new Client(ABOUT, { capabilities: { sampling: {} } });
    client.setRequestHandler(CreateMessageRequestSchema, () => SAMPLE);
    return client;
  }

  redeem(redirect, transport) {
    return transport.finishAuth(redirect.get('code'));
  }

  #receive(request, response) {
    const url = new URL(request.url, this.redirectUrl);
    if (url.pathname === '/callback') this.#redirects.push(url.searchParams);
    response.end('You can close this window.');
  }
}

/** The same with the transport of 2024-11-05. */
export class LegacyApplication extends Application {
  async connect(resource, options) {
    const client = await super.connect(resource, options);
    handleOneATurn(client.transport);
    return client;
  }

  makeTransport(url, options) {
    return new SSEClientTransport(url, options);
  }
}

/** The SDK's `OAuthClientProvider`, in memory. */
export class MemoryProvider {
  #application;
  #client;
  #tokens;
  #verifier;

  constructor(application) {
    const { redirectUrl } = application;
    this.#application = application;
    this.redirectUrl = redirectUrl;
    this.clientMetadata = {
      client_name: 'Interop client',
      redirect_uris: [redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  state() {
    return (this.lastState = randomBytes(16).toString('base64url'));
  }

  clientInformation() {
    return this.#client;
  }

  saveClientInformation(client) {
    this.#client = client;
  }

  tokens() {
    return this.#tokens;
  }

  saveTokens(tokens) {
    this.#tokens = tokens;
    this.#application.tokensSaved.push(tokens);
  }

  redirectToAuthorization(url) {
    this.#application.pagesOpened.push(url);
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }

  codeVerifier() {
    return this.#verifier;
  }

  invalidateCredentials(scope) {
    if (scope === 'all' || scope === 'client') this.#client = undefined;
    if (scope === 'all' || scope === 'tokens') this.#tokens = undefined;
  }
}

/** Of two messages in one chunk the SDK would handle an answer before a progress: one a turn, then. */
export function handleOneATurn(transport) {
  const handle = transport.onmessage;
  transport.onmessage = (message) => setImmediate(handle, message);
}

export const ABOUT = { name: 'interop', version: '1.0.0' };
// What the model of this application says, whatever it is asked.
const SAMPLE = { model: 'interop', role: 'assistant', content: { type: 'text', text: 'a sampled answer' } };
