// Whom doorman does not let in.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { IssuerMismatchError } from '@modelcontextprotocol/client';

import { Application } from './client.mjs';
import { Application2 } from './client_2.mjs';
import { startHouse } from './house.mjs';
import { ALICE, BOB } from './idp.mjs';
import { CANCEL, Person } from './person.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

describe('two doormen with one sealing key', () => {
  const clients = [];
  const people = [];
  let ours;
  let theirs;
  let house;

  before(async () => {
    house = await startHouse({ doors: 2 });
    [ours, theirs] = house.doormen;
  });
  after(async () => {
    for (const client of clients) await client.close();
    await house?.stop();
  });

  it('a wrong password buys no code', async () => {
    const { client, person, consent } = await askForLogin();
    const form = await person.approve(consent);

    const again = await person.logIn(form, { password: 'guess' });

    assert.equal(again.status, 401);
    assert.equal(again.url.origin, house.idp.issuer);
    assert.equal(client.redirectsWaiting, 0);
    assert.ok(!person.browser.trail.some((url) => new URL(url).searchParams.has('code')));
  });

  it('who turns back at the IdP is denied, and the client is told by whom', async () => {
    const { client, person, consent } = await askForLogin();
    const form = await person.approve(consent);

    await person.browser.submit(form, CANCEL);

    await assertDenied(client);
  });

  it('who says no on the consent page is denied, and never gets to the IdP', async () => {
    const { client, person, consent } = await askForLogin();

    await person.deny(consent);

    await assertDenied(client);
    assert.ok(!person.browser.trail.some((url) => url.startsWith(house.idp.issuer)));
  });

  it('who logs in but is in no group that may is told so, and can send the client away', async () => {
    const { client, person, consent } = await askForLogin({ account: BOB });

    const page = await person.logIn(await person.approve(consent));

    assert.equal(page.status, 403);
    assert.equal(page.url.origin, ours.issuer);
    assert.ok(page.body.includes('bob@example.com'), page.body);
    assert.equal(client.redirectsWaiting, 0);
    await person.open(page.links.find(({ href }) => href.startsWith(client.redirectUrl)));
    await assertDenied(client);
  });

  it('a token of one is of no use at the other', async () => {
    const atOurs = await tokenFor(ours);
    const atTheirs = await tokenFor(theirs);

    assert.equal((await call(ours, atOurs)).status, 200);
    assert.equal((await call(theirs, atTheirs)).status, 200);
    for (const refused of [await call(ours, atTheirs), await call(theirs, atOurs)]) {
      assert.equal(refused.status, 401);
      assert.match(refused.headers.get('www-authenticate'), /error="invalid_token"/);
    }
  });

  // RFC 9207 §2.4
  it('a code under the issuer of the other, or under none, is not redeemed by the SDK 2.x', async () => {
    const { client, person, consent } = await askForLogin({ Kind: Application2 });
    people.push(person);
    await person.logIn(await person.approve(consent));
    const redirect = await client.takeRedirect();
    const elsewhere = new URLSearchParams(redirect);
    elsewhere.set('iss', theirs.issuer);
    const nowhere = new URLSearchParams(redirect);
    nowhere.delete('iss');

    await assert.rejects(client.finishSignIn(elsewhere), IssuerMismatchError);
    await assert.rejects(client.finishSignIn(nowhere), IssuerMismatchError);

    assert.equal(client.tokens, undefined);
    await client.finishSignIn(redirect);
    assert.equal((await call(ours, client.tokens.access_token)).status, 200);
  });

  it('a damaged token is of no use', async () => {
    const token = await tokenFor(ours);
    const middle = Math.floor(token.length / 2);
    const other = token[middle] === 'A' ? 'B' : 'A';

    const refused = await call(ours, token.slice(0, middle) + other + token.slice(middle + 1));

    assert.equal(refused.status, 401);
  });

  it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients, people }));

  /** A new client that wants to connect, and a person who looks at the consent page. */
  async function askForLogin({ account = ALICE, Kind = Application } = {}) {
    const client = await Kind.install();
    clients.push(client);
    await assert.rejects(client.connect(ours.resource), (error) => client.wantsLogin(error));
    const person = new Person(account);
    return { client, person, consent: await person.open(client.pagesOpened[0]) };
  }

  async function tokenFor(door) {
    const client = await Application.install();
    clients.push(client);
    const person = new Person();
    people.push(person);
    await client.signIn(person, door.resource);
    return client.tokens.access_token;
  }

  /** RFC 6749 §4.1.2.1, RFC 9207 §2 */
  async function assertDenied(client) {
    const redirect = await client.takeRedirect();
    assert.equal(redirect.get('error'), 'access_denied');
    assert.equal(redirect.get('iss'), ours.issuer);
    assert.equal(redirect.get('state'), client.provider.lastState);
    assert.equal(redirect.get('code'), null);
  }

  function call(door, token) {
    const initialize = {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 'interop', version: '1.0.0' },
    };
    return fetch(door.resource, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: initialize }),
    });
  }
});
