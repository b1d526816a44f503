// One client that a person has signed in with, and what it is told at each step: the SDK gets it there, and after
// that it asks by hand, where the SDK would hide what was answered.
import assert from 'node:assert/strict';

import { discoverOAuthServerInfo } from '@modelcontextprotocol/sdk/client/auth.js';

import { Application } from '../client.mjs';
import { until } from '../processes.mjs';

export class Visitor {
  #client;
  #resource;
  #metadata;
  tokens;

  /** Have `person` sign in at the doorman who guards `resource`. */
  static async signIn(person, resource) {
    const visitor = new this();
    visitor.#resource = resource;
    visitor.#client = await Application.install();
    try {
      await visitor.#client.signIn(person, resource);
    } catch (error) {
      await visitor.close();
      throw error;
    }
    visitor.tokens = visitor.#client.tokens;
    ({ authorizationServerMetadata: visitor.#metadata } = await discoverOAuthServerInfo(resource));
    return visitor;
  }

  /** Open a session at the MCP server: the status of the answer. */
  call() {
    return openSession(this.#resource, this.tokens.access_token);
  }

  /** Have the SDK call a tool: the text that it answered. */
  async callTool(name, input) {
    const mcp = await this.#client.connect(this.#resource);
    const { content } = await this.#client.callTool(mcp, { name, arguments: input });
    return content[0].text;
  }

  /** Refresh once: undefined if that went well, else the error that was answered. */
  async refresh() {
    const response = await this.#post(this.#metadata.token_endpoint, {
      grant_type: 'refresh_token',
      refresh_token: this.tokens.refresh_token,
      resource: this.#resource,
    });
    const answer = await response.json();
    if (response.status !== 200) return answer.error;
    this.tokens = answer;
    return undefined;
  }

  /** What a client does that wants to call: refresh if its token is not good any more. True if it got through. */
  async visit() {
    const status = await this.call();
    if (status === 200) return true;
    assert.equal(status, 401);
    const error = await this.refresh();
    if (error === undefined) return (await this.call()) === 200;
    assert.equal(error, 'invalid_grant');
    return false;
  }

  /** Wait until it is out, visiting all the while, for `seconds` at most. */
  isOutWithin(seconds) {
    return until(`the client is out`, async () => !(await this.visit()), { seconds });
  }

  /** RFC 7009 */
  async revoke() {
    const { status } = await this.#post(this.#metadata.revocation_endpoint, { token: this.tokens.refresh_token });
    assert.equal(status, 200);
  }

  secrets() {
    const { access_token: access, refresh_token: refresh } = this.tokens;
    return [...this.#client.secrets(), ['an access token', access], ['a refresh token', refresh]];
  }

  close() {
    return this.#client.close();
  }

  #post(url, form) {
    const { client_id: client } = this.#client.provider.clientInformation();
    return fetch(url, { method: 'POST', body: new URLSearchParams({ ...form, client_id: client }) });
  }
}

/** Open a session at the MCP server with this token: the status of the answer. */
export async function openSession(resource, token) {
  const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'visitor', version: '1' } };
  const response = await fetch(resource, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }),
  });
  await response.text();
  return response.status;
}
