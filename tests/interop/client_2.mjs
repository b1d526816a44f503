// An MCP client: the official TypeScript SDK 2.x in the place of the 1.x.
import assert from 'node:assert/strict';

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

import { ABOUT, Application, MemoryProvider } from './client.mjs';

/** As the SDK comes: it speaks the protocol that begins with `initialize`. */
export class Application2 extends Application {
  wantsLogin(error) {
    return error instanceof UnauthorizedError;
  }

  callTool(mcp, call, onStep) {
    return mcp.callTool(call, { onprogress: onStep && (({ progress }) => onStep(progress)) });
  }

  makeProvider() {
    return new DiscoveryProvider(this);
  }

  makeTransport(url, options) {
    return new StreamableHTTPClientTransport(url, options);
  }

  makeClient(options) {
    return new Client(ABOUT, options);
  }

  /** The SDK takes all that came back, to look at `iss` (RFC 9207); `state` is left to the application. */
  redeem(redirect, transport) {
    assert.equal(redirect.get('state'), this.provider.lastState);
    return transport.finishAuth(redirect);
  }
}

/** The same, but it first asks whether the server speaks 2026-07-28, which knows no sessions. */
export class ProbingApplication2 extends Application2 {
  makeClient() {
    return super.makeClient({ versionNegotiation: { mode: 'auto' } });
  }
}

/** It remembers where the person was sent, for the SDK to redeem the code there and nowhere else. */
class DiscoveryProvider extends MemoryProvider {
  #discovery;

  saveDiscoveryState(state) {
    this.#discovery = state;
  }

  discoveryState() {
    return this.#discovery;
  }
}
