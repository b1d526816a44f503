// A real browser on the way through the pages: Chromium, as Debian has it. What no test without one can tell:
// whether it follows the redirects to wherever the client is, and that nothing that a client says comes alive.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';

import { chromium } from 'playwright-core';

import { startHouse } from './house.mjs';
import { ALICE } from './idp.mjs';
import { until } from './processes.mjs';

const NAMES = JSON.parse(await readFile(new URL('../hostile_names.json', import.meta.url)));
const CUSTOM_SCHEME = 'cursor://anysphere.cursor-mcp/oauth/callback';

describe('in Chromium', { concurrency: 1 }, () => {
  let browser;
  let desk;
  let doorman;
  let house;
  let web;

  before(async () => {
    house = await startHouse();
    doorman = house.doorman;
    desk = await listen(http.createServer());
    web = await listen(https.createServer(await makeCertificate(house.folder)));
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      // Nothing of this leaves the machine, whatever a page tries.
      args: [`--host-resolver-rules=MAP client.example 127.0.0.1:${web.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`],
    });
  });
  after(async () => {
    await browser?.close();
    await web?.stop();
    await desk?.stop();
    await house?.stop();
  });

  describe('a client on the same machine', () => {
    it('gets the code on loopback after a login', async () => {
      const client = await register(`http://127.0.0.1:${desk.port}/callback`);
      const person = await atBrowser();

      await person.open(client);
      await person.approve();
      await person.logIn();

      await assertRedeemable(client, await desk.arrived(client.state));
    });

    it('gets it when the form leads there without a stop', async () => {
      const person = await atBrowser({ signedIn: true });
      const client = await register(`http://127.0.0.1:${desk.port}/callback`);

      await person.open(client);
      await person.approve();

      await assertRedeemable(client, await desk.arrived(client.state));
    });

    it('gets the code by its own scheme after a login', async () => {
      const client = await register(CUSTOM_SCHEME);
      const person = await atBrowser();

      await person.open(client);
      await person.approve();
      await person.logIn();

      await assertRedeemable(client, await person.sentTo(CUSTOM_SCHEME));
    });

    it('gets it by its own scheme when the form leads there without a stop', async () => {
      const person = await atBrowser({ signedIn: true });
      const client = await register(CUSTOM_SCHEME);

      await person.open(client);
      await person.approve();

      await assertRedeemable(client, await person.sentTo(CUSTOM_SCHEME));
    });

    it('is told of a no by its own scheme', async () => {
      const client = await register(CUSTOM_SCHEME);
      const person = await atBrowser();

      await person.open(client);
      await person.deny();

      const told = await person.sentTo(CUSTOM_SCHEME);
      assert.equal(told.get('error'), 'access_denied');
      assert.equal(told.get('state'), client.state);
    });

    // Why our policy does not have it; and that the tests above would notice.
    it('would hear nothing if the policy had form-action', async () => {
      const person = await atBrowser({ signedIn: true });
      const client = await register(CUSTOM_SCHEME);
      await person.page.route(`${doorman.issuer}/authorize*`, async (route) => {
        const response = await route.fetch();
        const policy = `${response.headers()['content-security-policy']}; form-action 'self'`;
        await route.fulfill({ response, headers: { ...response.headers(), 'content-security-policy': policy } });
      });

      await person.open(client);
      await person.approve();

      await until('the browser complains', () => person.complaints.some((text) => text.includes('form-action')));
      assert.deepEqual(person.visits.filter((url) => url.startsWith(CUSTOM_SCHEME)), []);
    });

    it('is never remembered', async () => {
      const client = await register(`http://127.0.0.1:${desk.port}/callback`);
      const person = await atBrowser({ signedIn: true });
      await person.open(client);
      await person.approve();
      await person.backAt(client);

      await person.open(client.again());

      assert.equal(await person.page.getByText('Continue as').count(), 0);
    });
  });

  describe('a client on the web', () => {
    let client;
    let person;

    before(async () => {
      person = await atBrowser();
      client = await register('https://client.example/callback');
    });

    it('is asked about in full the first time', async () => {
      await person.open(client);
      assert.equal(await person.page.getByText('With permission to').count(), 0, 'there are no scopes');
      assert.ok(await person.page.getByText('Continue only if you have just started this yourself and know').count());
      await person.approve();
      await person.logIn();

      await person.backAt(client);
      await assertRedeemable(client, await web.arrived(client.state));
    });

    it('is asked about in short the second time', async () => {
      client = client.again();
      await person.open(client);
      assert.equal(await person.page.title(), `Continue as ${ALICE.claims.email}?`);
      await person.page.getByRole('button', { name: `Continue as ${ALICE.claims.email}` }).click();

      await person.backAt(client);
      await assertRedeemable(client, await web.arrived(client.state));
    });

    it('is asked about in full if the person likes', async () => {
      client = client.again();
      await person.open(client);
      await person.page.getByRole('link', { name: 'see everything' }).click();
      await person.page.waitForURL(/prompt=consent/);
      assert.equal(await person.page.getByText('Continue as').count(), 0);
      await person.approve();

      await person.backAt(client);
      await assertRedeemable(client, await web.arrived(client.state));
    });

    it('shows the same person a full page in another browser', async () => {
      const other = await atBrowser();

      await other.open(client.again());

      assert.equal(await other.page.getByText('Continue as').count(), 0);
    });

    it('is not asked about in two tabs at the expense of either', async () => {
      const [one, two] = [client.again(), client.again()];
      const second = await person.otherTab();
      await person.open(one);
      await second.open(two);

      await second.approve();
      await person.approve();

      await person.backAt(one);
      await assertRedeemable(one, await web.arrived(one.state));
      await assertRedeemable(two, await web.arrived(two.state));
    });
  });

  it('the page is shown in no frame', async () => {
    const client = await register(CUSTOM_SCHEME);
    const { page, complaints } = await atBrowser();
    desk.show(`<iframe src="${client.url.replaceAll('&', '&amp;')}"></iframe>`);

    await page.goto(`http://127.0.0.1:${desk.port}/`);

    await until('the browser complains', () => complaints.some((text) => text.includes('frame-ancestors')));
    assert.equal(await page.frameLocator('iframe').getByText('Interop client').count(), 0);
  });

  // Without the policy, which would stop most of it: the page itself must be inert.
  it(`nothing comes alive of ${NAMES.length} names`, async () => {
    const person = await atBrowser({ bypassCSP: true });
    let seen = 0;

    for (const name of NAMES) {
      const client = await register(CUSTOM_SCHEME, { name }).catch((error) => assert.match(error.message, /invalid_client_metadata/));
      if (!client) continue;
      await person.open(client);
      const page = await person.page.evaluate(() => ({
        elements: [...document.querySelectorAll('*')].map(({ localName }) => localName),
        handlers: [...document.querySelectorAll('*')].flatMap(({ attributes }) =>
          [...attributes].map((attribute) => attribute.name).filter((attribute) => attribute.startsWith('on')),
        ),
        heading: document.querySelector('h1').innerText,
      }));
      assert.deepEqual(
        page.elements.filter((element) => !PLAIN_ELEMENTS.has(element)),
        [],
        name,
      );
      assert.deepEqual(page.handlers, [], name);
      assert.match(page.heading, /^Let .+ use Everything as you\?$/, name);
      seen += 1;
    }

    assert.ok(NAMES.length >= 40 && seen >= 35, `${seen} of ${NAMES.length}`);
    assert.deepEqual(person.dialogs, []);
    assert.deepEqual(person.visits.filter((url) => !url.startsWith(doorman.issuer)), []);
  });

  /** A person at a new browser, which may already be signed in at the IdP. */
  async function atBrowser({ signedIn = false, ...settings } = {}) {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, ...settings });
    const person = await Person.at(context);
    if (signedIn) {
      const client = await register(`http://127.0.0.1:${desk.port}/callback`);
      await person.open(client);
      await person.approve();
      await person.logIn();
      await person.backAt(client);
    }
    return person;
  }

  async function register(redirectUri, { name = 'Interop client' } = {}) {
    const response = await fetch(`${doorman.issuer}/register`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        client_name: name,
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: 'none',
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
      }),
    });
    const answer = await response.json();
    if (response.status !== 201) throw new Error(JSON.stringify(answer));
    return new Client(doorman, answer.client_id, redirectUri);
  }

  async function assertRedeemable(client, arrived) {
    assert.equal(arrived.get('iss'), doorman.issuer);
    assert.equal(arrived.get('state'), client.state);
    const response = await fetch(`${doorman.issuer}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code: arrived.get('code'),
        redirect_uri: client.redirectUri,
        client_id: client.id,
        code_verifier: client.verifier,
      }),
    });
    assert.equal(response.status, 200, await response.text());
  }
});

/** A registered client, about to have somebody log in. */
class Client {
  verifier = randomBytes(32).toString('base64url');
  state = randomBytes(16).toString('base64url');

  constructor(doorman, id, redirectUri) {
    Object.assign(this, { doorman, id, redirectUri });
  }

  /** The same client, at its next login. */
  again() {
    return new Client(this.doorman, this.id, this.redirectUri);
  }

  get url() {
    const query = new URLSearchParams({
      response_type: 'code',
      client_id: this.id,
      redirect_uri: this.redirectUri,
      code_challenge: createHash('sha256').update(this.verifier).digest('base64url'),
      code_challenge_method: 'S256',
      resource: this.doorman.resource,
      state: this.state,
    });
    return `${this.doorman.issuer}/authorize?${query}`;
  }
}

/** A person at one tab of a browser. `visits` is every URL that was asked for, redirects included. */
class Person {
  visits = [];
  dialogs = [];
  complaints = [];

  static async at(context) {
    const person = new Person();
    person.context = context;
    person.page = await context.newPage();
    person.page.on('dialog', (dialog) => {
      person.dialogs.push(dialog.message());
      dialog.dismiss();
    });
    person.page.on('console', (message) => person.complaints.push(message.text()));
    const protocol = await context.newCDPSession(person.page);
    protocol.on('Network.requestWillBeSent', ({ request }) => person.visits.push(request.url));
    await protocol.send('Network.enable');
    return person;
  }

  otherTab() {
    return Person.at(this.context);
  }

  open({ url }) {
    return this.page.goto(url);
  }

  approve() {
    return this.page.locator('button[value=approve]').click({ noWaitAfter: true });
  }

  deny() {
    return this.page.locator('button[value=deny]').click({ noWaitAfter: true });
  }

  async logIn() {
    await this.page.locator('input[name=login]').fill(ALICE.login);
    await this.page.locator('input[name=password]').fill(ALICE.password);
    await this.page.locator('button[value=login]').click({ noWaitAfter: true });
  }

  /** The browser shows what the client shows after a login. */
  backAt({ redirectUri, state }) {
    return this.page.waitForURL((url) => url.href.startsWith(redirectUri) && url.searchParams.get('state') === state);
  }

  /** The parameters with which the browser was sent to `uri`. */
  async sentTo(uri) {
    const url = await until(`the browser is sent to ${uri}`, () => this.visits.find((visit) => visit.startsWith(uri)), {
      seconds: 10,
    });
    return new URL(url).searchParams;
  }
}

/** Let `server` wait for redirects on a free port. */
async function listen(server) {
  const redirects = [];
  let shown = 'Signed in';
  server.on('request', ({ url }, response) => {
    redirects.push(new URL(url, 'http://client.example').searchParams);
    response.writeHead(200, { 'content-type': 'text/html' }).end(`<!doctype html>${shown}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    show: (html) => (shown = html),
    arrived(state) {
      const found = () => redirects.find((parameters) => parameters.get('state') === state);
      return until('the browser comes to the client', found, { seconds: 10 });
    },
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function makeCertificate(folder) {
  const [key, certificate] = [`${folder}/web.key.pem`, `${folder}/web.pem`];
  const wanted = ['-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=client.example', '-days', '1'];
  await promisify(execFile)('openssl', ['req', '-x509', ...wanted, '-keyout', key, '-out', certificate]);
  return { key: await readFile(key), cert: await readFile(certificate) };
}

/** What our own pages are made of. */
const PLAIN_ELEMENTS = new Set(
  'html head meta title style body main h1 strong p dl dt dd br span form input div button'.split(' '),
);
