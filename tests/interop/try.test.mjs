// `mcp-doorman try`: a newcomer's first minutes, with nothing but the program itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';

import { Browser } from './browser.mjs';
import { Application } from './client.mjs';
import { startEverything } from './everything.mjs';
import { makeFolder } from './house.mjs';
import { MCP_REMOTE, MCP_REMOTE_PROBING, SDK_2, SDK_2_PROBING } from './kinds.mjs';
import { APPROVE, LOG_IN } from './person.mjs';
import { start, until } from './processes.mjs';

describe('try', () => {
  const browser = new Browser();
  let client;
  let demo;
  let login;
  let mcp;

  before(async () => {
    // Proxies of the environment are not for this machine.
    demo = await startTry({ env: { HTTP_PROXY: 'http://127.0.0.1:9', ALL_PROXY: 'http://127.0.0.1:9' } });
    client = await Application.install();
  });
  after(async () => {
    await client?.close();
    await demo?.stop();
  });

  it('prints one line of JSON, and nothing else, on its standard output', () => {
    assert.deepEqual(Object.keys(demo.told).sort(), ['password', 'upstream', 'url', 'username']);
    assert.match(demo.told.url, /^http:\/\/127\.0\.0\.1:\d+\/mcp$/);
  });

  it('the client registers and is sent to a page that asks', async () => {
    await assert.rejects(client.connect(demo.told.url), UnauthorizedError);
    const consent = await browser.open(client.pagesOpened.at(-1));
    assert.equal(consent.status, 200);

    login = await browser.submit(consent, APPROVE);

    assert.equal(login.status, 200);
    assert.match(login.body, /for trying only/i);
  });

  it('a wrong password is told, and the login goes on', async () => {
    login = await browser.submit(login, LOG_IN, { username: demo.told.username, password: 'guess' });

    assert.equal(login.status, 401);
    assert.match(login.body, /role="alert"/);
  });

  it('the login that it printed works', async () => {
    const { username, password } = demo.told;
    await browser.submit(login, LOG_IN, { username, password: ` ${password} ` });
    await client.finishSignIn();

    mcp = await client.connect(demo.told.url);

    const { tools } = await mcp.listTools();
    assert.deepEqual(tools.map(({ name }) => name).sort(), ['add', 'count', 'echo', 'whoami']);
  });

  it('its tools work', async () => {
    assert.equal(await call('echo', { message: 'hello' }), 'hello');
    assert.equal(await call('add', { a: 2, b: 40.5 }), '42.5');
  });

  it('the server behind is told who is calling', async () => {
    assert.match(await call('whoami'), /email: demo@example\.com\ngroups: demo$/);
  });

  it('a slow call tells its progress', async () => {
    const steps = [];

    const { content } = await mcp.callTool({ name: 'count', arguments: { to: 3 } }, undefined, {
      onprogress: ({ progress, total }) => steps.push([progress, total]),
    });

    assert.equal(content[0].text, 'counted to 3');
    assert.deepEqual(steps, [[1, 3], [2, 3], [3, 3]]);
  });

  it('its log tells neither password nor token', () => {
    const { access_token: access, refresh_token: refresh } = client.tokens;
    for (const secret of [demo.told.password, access, refresh]) {
      assert.ok(!demo.output().replace(demo.line, '').includes(secret));
    }
  });

  it('ends at once when it is told to', async () => {
    const { body } = await fetch(demo.told.url, { headers: { authorization: `Bearer ${client.tokens.access_token}` } });
    await body?.cancel();

    assert.equal(await demo.stop(), 0);
  });

  async function call(name, args = {}) {
    const { content } = await mcp.callTool({ name, arguments: args });
    return content[0].text;
  }
});

describe('try, with other kinds of clients', { concurrency: true }, () => {
  let demo;
  let folder;

  before(async () => {
    folder = await makeFolder();
    demo = await startTry();
  });
  after(() => demo?.stop());

  for (const kind of [SDK_2, SDK_2_PROBING, MCP_REMOTE, MCP_REMOTE_PROBING]) {
    it(`${kind.name} logs in and calls its tools`, async (t) => {
      const client = await kind.install({ folder });
      t.after(() => client.close());
      const steps = [];

      await client.connect(demo.told.url, (page) => logIn(demo, page));

      assert.ok((await client.listTools()).includes('echo'));
      assert.equal(await client.callTool('echo', { message: 'hello' }), 'hello');
      assert.equal(await client.callTool('count', { to: 2 }, (step) => steps.push(step)), 'counted to 2');
      assert.deepEqual(steps, [1, 2]);
    });
  }
});

describe('try --upstream', () => {
  let client;
  let demo;
  let everything;

  before(async () => {
    everything = await startEverything({ folder: await makeFolder() });
    demo = await startTry({ args: ['--upstream', everything.url] });
    client = await Application.install();
  });
  after(async () => {
    await client?.close();
    await demo?.stop();
    await everything?.stop();
  });

  it("puts the same in front of one's own server", async () => {
    await assert.rejects(client.connect(demo.told.url), UnauthorizedError);
    await logIn(demo, client.pagesOpened.at(-1));
    await client.finishSignIn();
    const mcp = await client.connect(demo.told.url);

    const { content } = await mcp.callTool({ name: 'echo', arguments: { message: 'mine' } });

    assert.equal(content[0].text, 'Echo: mine');
  });
});

describe('try, where nobody hears the password', () => {
  it('does not go on', () => {
    const { status, stderr } = spawnSync(process.env.MCP_DOORMAN_BIN, ['try'], {
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      timeout: 30_000,
    });

    assert.equal(status, 1);
    assert.match(String(stderr), /the password can't be told/);
  });
});

/** Approve of the client at its page, and log in as the demo said. */
async function logIn({ told: { username, password } }, page) {
  const browser = new Browser();
  const login = await browser.submit(await browser.open(page), APPROVE);
  await browser.submit(login, LOG_IN, { username, password });
}

/** Start `try --json`; `told` is what it printed. */
async function startTry({ args = [], env = {} } = {}) {
  const folder = await makeFolder();
  const process_ = start('try', [process.env.MCP_DOORMAN_BIN, 'try', '--json', ...args], {
    env: { PATH: process.env.PATH, ...env },
    log: `${folder}/try.log`,
  });
  const line = await until('try has printed its line', () => process_.output().match(/^\{.*\}$/m)?.[0], {
    process: process_,
  });
  return { told: JSON.parse(line), line, output: process_.output, stop: process_.stop };
}
