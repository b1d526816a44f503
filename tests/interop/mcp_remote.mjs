// npm `mcp-remote` as a desktop application starts it: MCP over stdio to its user, HTTP and OAuth to the server.
import assert from 'node:assert/strict';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';

import { ABOUT, handleOneATurn } from './client.mjs';
import { adopt, freePort } from './processes.mjs';

/** One installation, with a home of its own. A client in the words of kinds.mjs. */
export class McpRemote {
  #home;
  #flags;
  #mcp;
  #secrets = new Map();

  static async install({ folder, flags, credentials }) {
    const remote = new McpRemote();
    remote.#home = await mkdtemp(`${folder}/mcp-remote-`);
    if (credentials?.clientSecret) remote.#secrets.set(credentials.clientSecret, 'the secret of the client');
    remote.#flags = [...(await flagsOf(credentials)), ...flags];
    await mkdir(remote.#bin);
    await writeFile(`${remote.#bin}/open`, '#!/bin/sh\n', { mode: 0o755 });
    return remote;
  }

  async connect(resource, open) {
    const transport = new StdioClientTransport({
      command: process.execPath,
      args: [PROGRAM, resource, ...this.#flags],
      env: {
        HOME: this.#home,
        MCP_REMOTE_CONFIG_DIR: this.#store,
        // It starts a browser, and writes the page to stderr too. The browser is a program that does nothing:
        // macOS starts `open`, others what BROWSER names.
        PATH: `${this.#bin}:${process.env.PATH}`,
        BROWSER: 'open',
      },
      stderr: 'pipe',
    });
    const client = new Client(ABOUT);
    const failed = new Promise((_, reject) => this.#watch(transport.stderr, open, reject));
    const connected = client.connect(transport);
    const forget = adopt(transport.pid);
    client.onclose = forget;
    this.#mcp = client;
    await Promise.race([connected, failed]);
    handleOneATurn(transport);
  }

  async listTools() {
    const { tools } = await this.#mcp.listTools();
    return tools.map(({ name }) => name);
  }

  async callTool(name, input, onStep) {
    const options = { onprogress: onStep && (({ progress }) => onStep(progress)) };
    const { content } = await this.#mcp.callTool({ name, arguments: input }, undefined, options);
    return content[0].text;
  }

  async accessToken() {
    const { access_token: access, refresh_token: refresh } = JSON.parse(await this.#read('_tokens.json'));
    this.#secrets.set(access, 'an access token').set(refresh, 'a refresh token');
    return access;
  }

  disconnect() {
    return this.#mcp.close();
  }

  close() {
    return this.#mcp?.close();
  }

  secrets() {
    return [...this.#secrets].map(([secret, what]) => [what, secret]);
  }

  get #bin() {
    return `${this.#home}/bin`;
  }

  get #store() {
    return `${this.#home}/store`;
  }

  /** Have each page that it asks for opened. */
  #watch(stderr, open, fail) {
    const log = createWriteStream(`${this.#home}/stderr.log`, { flags: 'a' });
    let said = '';
    stderr.setEncoding('utf8').on('data', (text) => {
      log.write(text);
      said += text;
      for (let page; (page = PAGE.exec(said)); said = said.slice(page.index + page[0].length)) {
        this.#open(new URL(page[1]), open).catch(fail);
      }
    });
  }

  async #open(page, open) {
    // It forgets this one when it has its tokens.
    this.#secrets.set(await this.#read('_code_verifier'), 'the code verifier');
    await open(page);
  }

  /** Read the file of its store that has `part` in its name. */
  async #read(part) {
    const files = (await readdir(this.#store, { recursive: true })).filter((name) => name.includes(part));
    assert.equal(files.length, 1, `${part} is in one of ${files.join()}`);
    return readFile(`${this.#store}/${files[0]}`, 'utf8');
  }
}

/**
 * It has a port for the redirect: the one that it would derive from the URL is the same for all of its kind, and among
 * those that the system gives away. If that is taken when it comes back, it registers again.
 */
async function flagsOf({ clientId, clientSecret, document } = {}) {
  const port = String(await freePort());
  if (document) return [port, '--client-metadata-url', document];
  if (!clientId) return [port];
  const information = { client_id: clientId, client_secret: clientSecret };
  return [port, '--static-oauth-client-info', JSON.stringify(information)];
}

const PROGRAM = fileURLToPath(new URL('./node_modules/mcp-remote/dist/proxy.js', import.meta.url));
const PAGE = /visiting:\s+(http\S+)\n/;
