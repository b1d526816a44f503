// Canaille behind doorman, as any OpenID provider (preset `oidc`).
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Application } from './client.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { ALICE, BOB } from './idp.mjs';
import { startCanaille } from './idps/canaille.mjs';
import { Visitor } from './idps/visitor.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const RECHECK_AFTER = 4;
const RECHECK_GRACE = 4;
// For a busy machine, on top of what was promised.
const SLACK = 6;

describe('Canaille', { concurrency: 1 }, () => {
  let alice;
  let house;
  let visitor;

  before(async () => {
    house = await startHouse({
      openIdp: startCanaille({ folder: await makeFolder() }),
      accessTtl: '2s',
      tokens: { recheck_after: `${RECHECK_AFTER}s`, recheck_grace: `${RECHECK_GRACE}s` },
    });
  });
  after(async () => {
    await visitor?.close();
    await house?.stop();
  });

  it('asks for a login, and the upstream is told who it is and in which groups', async () => {
    alice = house.idp.person(ALICE);
    visitor = await Visitor.signIn(alice, house.doorman.resource);

    assert.equal(await visitor.call(), 200);

    const { headers } = house.upstream.requests.at(-1);
    assert.equal(headers['x-forwarded-user'], 'alice');
    // Canaille does not say whether an address was verified.
    assert.equal(headers['x-forwarded-email'], undefined);
    assert.equal(headers['x-forwarded-groups'], 'mcp-users');
  });

  it('who is in no group that may is told so', async () => {
    const client = await Application.install();
    await assert.rejects(client.connect(house.doorman.resource));

    const page = await house.idp.person(BOB).signIn(client.pagesOpened[0]);

    assert.equal(page.status, 403);
    assert.equal(client.redirectsWaiting, 0);
    await client.close();
  });

  it('outlives its access token', async () => {
    await until('the access token is refused', async () => (await visitor.call()) === 401);

    assert.equal(await visitor.refresh(), undefined);

    assert.equal(await visitor.call(), 200);
  });

  it('is asked again and again, and what it does not say anew stays', async () => {
    const before = house.idp.answers();

    await until('two answers', async () => {
      assert.ok(await visitor.visit(), 'let in, all the time');
      return house.idp.answers() >= before + 2;
    });

    assert.equal(house.upstream.requests.at(-1).headers['x-forwarded-groups'], 'mcp-users');
  });

  // Authlib, of which it is made, says `invalid_request` where others say `invalid_grant`. That reads as if doorman had
  // asked wrongly, for which nobody is logged out at once: the login ends with the grace.
  it('she is locked out there, and out when the grace is over', async () => {
    await house.idp.lock(ALICE);

    const isOut = async () => (await visitor.call()) === 401 && (await visitor.refresh()) === 'invalid_grant';
    await until('the client is out', isOut, { seconds: RECHECK_AFTER + RECHECK_GRACE + SLACK });
    assert.match(house.doorman.log(), /answered 400 \\"invalid_request\\"/);
  });

  it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: [visitor], people: [alice] }));
});
