// Keycloak behind doorman, with the preset of that name.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Application } from './client.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { ALICE, BOB } from './idp.mjs';
import { EXTRA, TOOLS, startKeycloak } from './idps/keycloak.mjs';
import { Visitor, openSession } from './idps/visitor.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const ACCESS_TTL = 2;
const RECHECK_AFTER = 4;
// For a busy machine, on top of what was promised.
const SLACK = 6;
const PROMPTLY = 5;
// How much longer than it says itself an access token of Keycloak's is taken: clocks may be that far apart.
const LEEWAY = 60;
const SERVICES = 'https://services.example.com';
const MACHINES = {
  machines: { audience: SERVICES, clients: ['nightly', 'rfc-9068', 'astray', 'weekly', 'Yearly'] },
  access: [{ clients: ['nightly', 'rfc-9068', 'astray', 'Yearly'] }],
};
// What clients find that they have to ask for.
const SCOPES = [TOOLS, 'email'];
const ENDED = 'somebody logged out at the IdP';
const WENT_ON = 'a session ended at the IdP, and no grant';

describe('Keycloak', { concurrency: 1 }, () => {
  let keycloak;
  let house;
  let visitors;
  let people;
  let early;

  before(async () => {
    keycloak = await startKeycloak({ folder: await makeFolder() });
    early = await moveInEarly();
  });
  after(() => keycloak?.stop());

  describe('as the preset has it', () => {
    let alice;
    let visitor;

    before(() => moveIn({}, MACHINES));
    after(moveOut);

    it('asks for a login, and the upstream is told who it is and in which groups', async () => {
      [alice, visitor] = await signIn(ALICE);

      assert.equal(await visitor.call(), 200);

      const { headers } = house.upstream.requests.at(-1);
      assert.equal(headers['x-forwarded-user'], await house.idp.idOf(ALICE));
      assert.equal(headers['x-forwarded-email'], 'alice@example.com');
      assert.equal(headers['x-forwarded-groups'], 'mcp-users');
      assert.equal(headers.authorization, undefined);
    });

    it('a wrong password brings nobody back', async () => {
      const person = house.idp.person(ALICE);
      const client = await Application.install();
      await assert.rejects(client.connect(house.doorman.resource));

      const again = await person.logIn(await person.approve(await person.open(client.pagesOpened[0])), {
        password: 'guess',
      });

      assert.ok(again.url.href.startsWith(house.idp.issuer), again.url.href);
      assert.match(again.body, /Invalid username or password/);
      await client.close();
    });

    it('who is in no group that may is told so', async () => {
      const person = house.idp.person(BOB);
      const client = await Application.install();
      await assert.rejects(client.connect(house.doorman.resource));

      const page = await person.signIn(client.pagesOpened[0]);

      assert.equal(page.status, 403);
      assert.ok(page.body.includes('bob@example.com'), page.body);
      assert.equal(client.redirectsWaiting, 0);
      await client.close();
    });

    it('outlives its access token', async () => {
      await until('the access token is refused', async () => (await visitor.call()) === 401);

      assert.equal(await visitor.refresh(), undefined);

      assert.equal(await visitor.call(), 200);
    });

    it('Keycloak is asked again and again', async () => {
      await isRechecked(visitor);
      await isRechecked(visitor);
    });

    it('a new group of hers is passed on', async () => {
      await house.idp.join(ALICE, EXTRA);

      await until(
        'the upstream is told',
        async () => {
          assert.ok(await visitor.visit());
          return house.upstream.requests.at(-1).headers['x-forwarded-groups'] === `mcp-users,${EXTRA}`;
        },
        { seconds: RECHECK_AFTER + SLACK },
      );
    });

    it('its keys change under load, and not one request is refused', async () => {
      const others = await Promise.all([1, 2, 3].map(async () => (await signIn(ALICE))[1]));
      let visits = 0;
      let over = false;
      const load = [visitor, ...others].map(async (one) => {
        while (!over) {
          assert.ok(await one.visit(), 'let in, all the time');
          visits += 1;
        }
      });
      const through = Promise.all(load);
      // Whoever is refused ends the wait too.
      const goOn = (what, enough) => Promise.race([through, until(what, enough)]);
      const loginsAndRechecks = () => house.idp.events('REFRESH_TOKEN');

      try {
        const forgetOldKeys = await house.idp.changeKeys();
        const before = await loginsAndRechecks();
        await goOn('rechecks with the new key', async () => (await loginsAndRechecks()) >= before + others.length);
        await signIn(ALICE);

        await forgetOldKeys();
        const then = await loginsAndRechecks();
        await goOn('rechecks without the old key', async () => (await loginsAndRechecks()) >= then + others.length);
        await signIn(ALICE);
      } finally {
        over = true;
      }

      await through;
      assert.ok(visits > 20, `${visits} visits`);
    });

    it('one client leaves, and the others stay', async () => {
      const [, other] = await signIn(ALICE);

      await visitor.revoke();
      assert.equal(await visitor.call(), 401);

      await isRechecked(other);
      visitor = other;
    });

    // Keycloak has removed the session that the login began: what it would say of its end never comes.
    it('her login leaves no session at Keycloak that could end', async () => {
      await signIn(ALICE);

      assert.equal(await house.idp.sessions(ALICE), 0);
    });

    it('she signs out of a session that she had before, and her client goes on', async () => {
      const [person, other] = await signInFromElsewhere();

      await person.signOut(house.idp);

      await until('doorman is told', () => house.doorman.log().includes(WENT_ON), { seconds: 10 });
      await isRechecked(other);
      assert.ok(!house.doorman.log().includes(ENDED));
    });

    it('an administrator signs her out, and she is out in time', async () => {
      const [, other] = await signIn(ALICE);
      // Keycloak refuses what is older than the second in which that happened, which this login has to be.
      await until('the access token is refused', async () => (await other.call()) === 401);

      await house.idp.signOut(ALICE);

      await other.isOutWithin(RECHECK_AFTER + SLACK);
    });

    it('she is disabled, and out in time', async () => {
      [alice, visitor] = await signIn(ALICE);
      assert.ok(await visitor.visit());

      await house.idp.disable(ALICE);

      await visitor.isOutWithin(RECHECK_AFTER + SLACK);
      assert.equal(await visitor.refresh(), 'invalid_grant');
      await house.idp.enable(ALICE);
    });

    it('she is enabled again, and can sign in', async () => {
      [alice, visitor] = await signIn(ALICE);

      assert.ok(await visitor.visit());
    });

    it('she leaves the group that may, and is out in time', async () => {
      await house.idp.leave(ALICE, 'mcp-users');

      await visitor.isOutWithin(RECHECK_AFTER + SLACK);
    });

    machinesComeIn({ people: 401 });

    it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: visitors, people }));
  });

  describe('with refresh tokens that work once, and logouts that end connections', () => {
    before(() =>
      moveIn({
        realm: { revokeRefreshToken: true, refreshTokenMaxReuse: 0 },
        settings: { preset: 'keycloak', logout_ends_connections: true },
      }),
    );
    after(moveOut);

    it('is asked time and again', async () => {
      const [, visitor] = await signIn(ALICE);

      await isRechecked(visitor);
      await isRechecked(visitor);
    });

    it('a session that ends takes the client along that was connected in it, and no other', async () => {
      const [, stays] = await signInFromElsewhere();
      const [person, goes] = await signInFromElsewhere();

      await person.signOut(house.idp);

      await goes.isOutWithin(PROMPTLY);
      assert.ok(await stays.visit());
      assert.ok(house.doorman.log().includes(ENDED));
    });
  });

  describe('without offline_access, and with logouts that name the person alone', () => {
    before(() =>
      moveIn(
        {
          client: { attributes: { 'backchannel.logout.session.required': 'false' } },
          settings: { preset: 'keycloak', scopes: ['openid', 'profile', 'email'] },
        },
        { tokens: { recheck_after: '1h' }, accessTtl: '1h' },
      ),
    );
    after(moveOut);

    it('she signs out in one browser, and is out everywhere, long before Keycloak would be asked', async () => {
      const [, one] = await signIn(ALICE);
      const [person, another] = await signIn(ALICE);
      assert.equal(await house.idp.sessions(ALICE), 2);

      await person.signOut(house.idp);

      await one.isOutWithin(PROMPTLY);
      await another.isOutWithin(PROMPTLY);
    });

    it('an administrator signs her out, and she is out as soon', async () => {
      const [, visitor] = await signIn(ALICE);
      assert.ok(await visitor.visit());

      await house.idp.signOut(ALICE);

      await visitor.isOutWithin(PROMPTLY);
    });

    it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: visitors, people }));
  });

  // The last, for Keycloak is stopped in it.
  describe('issuing the tokens of clients itself', () => {
    let alice;
    let visitor;
    let first;

    before(() => {
      ({ alice, visitor, first, house, visitors, people } = early);
    });
    after(moveOut);

    it('nothing is known that would stop clients', () =>
      until('doorman has looked', () => house.doorman.log().includes('nothing is known that stops MCP clients')));

    it('a client registers there, and asks for a login there, and the upstream is told who it is', async () => {
      assert.equal(await visitor.callTool('echo', { message: 'hello' }), 'Echo: hello');

      const { headers } = house.upstream.requests.at(-1);
      assert.equal(headers['x-forwarded-user'], await house.idp.idOf(ALICE));
      assert.equal(headers['x-forwarded-email'], 'alice@example.com');
      assert.equal(headers['x-forwarded-groups'], 'mcp-users');
      assert.equal(headers.authorization, undefined);
      const asked = new URL(alice.browser.trail[0]);
      assert.equal(asked.searchParams.get('scope'), SCOPES.join(' '));
      assert.equal(asked.searchParams.get('resource'), house.doorman.resource);
      assert.ok(alice.browser.trail.every((url) => !url.startsWith(house.doorman.issuer)));
    });

    it('outlives its access token, by another one of Keycloak', async () => {
      const { resource } = house.doorman;
      const isRefused = async () => (await openSession(resource, first)) === 401;
      await until('the access token is refused', isRefused, { seconds: LEEWAY + SLACK });

      assert.equal(await visitor.refresh(), undefined);

      assert.equal(await visitor.call(), 200);
    });

    it('its keys change under calls, and not one is refused', async () => {
      const others = await Promise.all([1, 2].map(async () => (await signIn(ALICE))[1]));
      const old = visitor.tokens.access_token;
      let calls = 0;
      let refreshes = 0;
      let over = false;
      const load = [visitor, ...others].map(async (one) => {
        while (!over) {
          for (const _ of [1, 2, 3]) assert.equal(await one.call(), 200);
          assert.equal(await one.refresh(), undefined);
          calls += 3;
          refreshes += 1;
        }
      });
      const through = Promise.all(load);
      // Whoever is refused ends the wait too.
      const more = async (what) => {
        const enough = refreshes + 3 * others.length;
        await Promise.race([through, until(what, () => refreshes >= enough)]);
      };

      try {
        await more('calls with the old key');
        const forgetOldKeys = await house.idp.changeKeys();
        await more('calls with the new key');
        assert.notEqual(keyOf(visitor.tokens.access_token), keyOf(old));
        assert.equal(await openSession(house.doorman.resource, old), 200);

        await forgetOldKeys();
        await more('calls without the old key');
      } finally {
        over = true;
      }

      await through;
      assert.ok(calls > 20, `${calls} calls`);
    });

    it('who is in no group that may is refused', async () => {
      const [, other] = await signIn(BOB);

      assert.equal(await other.call(), 403);
    });

    it('what it issued for something else, or as something else, is refused', async () => {
      const { resource } = house.doorman;
      const here = await house.idp.addClient({ id: 'desk', scopes: [TOOLS] });
      const elsewhere = await house.idp.addClient({ id: 'elsewhere', audience: `${resource}/2` });

      const good = await here.forPerson(ALICE);
      const other = await elsewhere.forPerson(ALICE);

      assert.equal(await openSession(resource, good.access_token), 200);
      assert.equal(await openSession(resource, other.access_token), 401);
      // All that it says is what an access token says, but for what it is.
      assert.equal(await openSession(resource, good.id_token), 401);
      // Signed with a key that Keycloak does not publish: so soon after its keys were asked for, that can't be told.
      assert.ok([401, 503].includes(await openSession(resource, good.refresh_token)));
    });

    machinesComeIn({ scopes: [TOOLS], people: 200 });

    it('what a machine got for itself never passes for what a person got', async () => {
      const { resource } = house.doorman;
      // Keycloak writes the name of its account in lower case.
      const yearly = await house.idp.addClient({ id: 'Yearly', audience: SERVICES, scopes: [TOOLS] });
      const person = await yearly.forPerson(ALICE);
      const machine = await yearly.forItself();

      assert.equal(await openSession(resource, person.access_token), 200);
      assert.equal(await openSession(resource, machine.access_token), 200);
      assert.equal(house.upstream.requests.at(-1).headers['x-forwarded-user'], 'machine,Yearly');
    });

    it('is over for whom Keycloak has disabled when the token is', async () => {
      const [, other] = await signIn(ALICE);
      await house.idp.disable(ALICE);

      assert.equal(await other.refresh(), 'invalid_grant');

      await house.idp.enable(ALICE);
    });

    it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: visitors, people }));

    it('Keycloak is gone: who has a token goes on, and nobody else comes in', async () => {
      const { healthPort, resource } = house.doorman;
      const seen = visitor.tokens.access_token;
      assert.equal(await visitor.call(), 200);
      assert.equal(await visitor.refresh(), undefined);

      await keycloak.stop();

      assert.equal(await openSession(resource, seen), 200);
      assert.equal(await visitor.call(), 200, 'with a token that was never seen before');
      await assert.rejects(visitor.refresh());
      const client = await Application.install();
      await assert.rejects(client.connect(resource), (error) => !client.wantsLogin(error));
      assert.equal(client.pagesOpened.length, 0);
      await client.close();
      assert.equal((await fetch(`http://127.0.0.1:${healthPort}/readyz`)).status, 200);
    });
  });

  /**
   * Machines with tokens that Keycloak issued to them for themselves (RFC 6749 §4.4), as MACHINES lists them; and
   * `people`, what those are answered who come with a machine's client.
   */
  function machinesComeIn({ scopes, people }) {
    it('a machine that is listed comes in where it may, and no other', async () => {
      const { resource } = house.doorman;
      const machine = (id, more) => house.idp.addClient({ id, audience: SERVICES, scopes, ...more });
      const nightly = await machine('nightly');
      const call = async (tokens) => openSession(resource, (await tokens).access_token);

      assert.equal(await call(nightly.forItself()), 200);

      const { headers } = house.upstream.requests.at(-1);
      assert.equal(headers['x-forwarded-user'], 'machine,nightly');
      assert.equal(headers['x-forwarded-email'], undefined);
      assert.equal(headers['x-forwarded-groups'], undefined);
      assert.equal(headers.authorization, undefined);
      assert.equal(await call(nightly.forPerson(ALICE)), people);
      // Keycloak can be told to say `at+jwt`.
      const attributes = { 'access.token.header.type.rfc9068': 'true' };
      assert.equal(await call((await machine('rfc-9068', { attributes })).forItself()), 200);
      // Listed, and no entry names it; not listed; listed, and with a token for something else.
      assert.equal(await call((await machine('weekly')).forItself()), 403);
      assert.equal(await call((await machine('hourly')).forItself()), 401);
      assert.equal(await call((await machine('astray', { audience: resource })).forItself()), 401);
    });
  }

  async function moveIn(options = {}, settings = {}) {
    visitors = [];
    people = [];
    house = await startHouse({
      openIdp: keycloak.realm(options),
      accessTtl: `${ACCESS_TTL}s`,
      tokens: { recheck_after: `${RECHECK_AFTER}s` },
      ...settings,
    });
  }

  /**
   * Into the house where Keycloak issues the tokens of clients. Long before it is looked at: access tokens are taken
   * for a minute more than they say, and a key that is not known is asked for at most once in 30 s.
   */
  async function moveInEarly() {
    await moveIn(
      { realm: { accessTokenLifespan: 1 } },
      { tokens: { issued_by: 'idp' }, scopes: SCOPES, ...MACHINES },
    );
    await house.idp.letClientsRegister(house.doorman);
    const [alice, visitor] = await signIn(ALICE);
    return { alice, visitor, first: visitor.tokens.access_token, house, visitors, people };
  }

  async function moveOut() {
    for (const visitor of visitors) await visitor.close();
    await house?.stop();
  }

  /** A new client, and Alice, who is signed in at Keycloak already. */
  async function signInFromElsewhere() {
    const person = house.idp.person(ALICE);
    await person.signInElsewhere(house.idp);
    return signIn(ALICE, person);
  }

  /** A new client, and the person in a browser of their own. */
  async function signIn(account, person = house.idp.person(account)) {
    const visitor = await Visitor.signIn(person, house.doorman.resource);
    people.push(person);
    visitors.push(visitor);
    return [person, visitor];
  }

  /** The name of the key that signed `token`. */
  function keyOf(token) {
    return JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;
  }

  /** It is let in, and after Keycloak was asked again it still is. */
  async function isRechecked(visitor) {
    const asked = await house.idp.events('REFRESH_TOKEN');
    await until('Keycloak was asked', async () => {
      assert.ok(await visitor.visit(), 'let in, all the time');
      return (await house.idp.events('REFRESH_TOKEN')) > asked;
    });
  }
});
