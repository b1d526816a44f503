// The kinds of clients that live through life.mjs. A kind has a `name` and `install({ folder, credentials })`,
// which gives one installation of the client, with
//
//   connect(resource, open)          connect. `open(page)` has a person log in there, and resolves when the
//                                    browser is back; it is called if, and only if, somebody has to.
//   listTools()                      the names of the tools
//   callTool(name, input, onStep)    the text that the tool answered; `onStep` is called with each progress
//   accessToken()                    the one that it would send now
//   disconnect()                     end the connection, and keep the credentials
//   close()                          stop whatever is still running
//   secrets()                        what no log may tell, as `[what it is, the secret]`
//
// It registers itself unless `credentials` are those of registrations.mjs: a `clientId`, perhaps a `clientSecret`,
// or the URL of a `document`.
//
// A client that is a program of its own is one of these too: see mcp_remote.mjs.
import { Application, LegacyApplication } from './client.mjs';
import { Application2, ProbingApplication2 } from './client_2.mjs';
import { McpRemote } from './mcp_remote.mjs';

export const SDK_1 = withSdk('the TypeScript SDK 1.x', Application);
export const SDK_2 = withSdk('the TypeScript SDK 2.x', Application2);
export const SDK_2_PROBING = withSdk('the TypeScript SDK 2.x that would rather speak 2026-07-28', ProbingApplication2);

export const SDK_1_SSE = withSdk('the TypeScript SDK 1.x over HTTP+SSE', LegacyApplication);

export const MCP_REMOTE = mcpRemote('mcp-remote', []);
export const MCP_REMOTE_PROBING = mcpRemote('mcp-remote --protocol auto', ['--protocol', 'auto']);
export const MCP_REMOTE_SSE = mcpRemote('mcp-remote --transport sse-only', ['--transport', 'sse-only']);

function withSdk(name, Kind) {
  return { name, install: async ({ credentials }) => new SdkClient(await Kind.install(credentials)) };
}

function mcpRemote(name, flags) {
  return { name, install: ({ folder, credentials }) => McpRemote.install({ folder, flags, credentials }) };
}

/** An `Application`, in the words above. */
class SdkClient {
  #application;
  #mcp;

  constructor(application) {
    this.#application = application;
  }

  async connect(resource, open) {
    try {
      this.#mcp = await this.#application.connect(resource);
    } catch (error) {
      if (!this.#application.wantsLogin(error)) throw error;
      await open(this.#application.pagesOpened.at(-1));
      await this.#application.finishSignIn();
      this.#mcp = await this.#application.connect(resource);
    }
  }

  async listTools() {
    const { tools } = await this.#mcp.listTools();
    return tools.map(({ name }) => name);
  }

  async callTool(name, input, onStep) {
    const { content } = await this.#application.callTool(this.#mcp, { name, arguments: input }, onStep);
    return content[0].text;
  }

  accessToken() {
    return this.#application.tokens.access_token;
  }

  async disconnect() {
    // The old transport has none to end but the stream.
    await this.#mcp.transport.terminateSession?.();
    await this.#mcp.close();
  }

  close() {
    return this.#application.close();
  }

  secrets() {
    return this.#application.secrets();
  }
}
