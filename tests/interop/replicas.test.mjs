// A login whose every step is at another replica than the one before.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startDocumentHost } from './documents.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { LoginByHand } from './login_by_hand.mjs';
import { until } from './processes.mjs';
import { acceptAll, BY_ITSELF, DOCUMENT, WAYS } from './registrations.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

describe('three replicas', { concurrency: 1 }, () => {
  const logins = [];
  let documents;
  let doorman;
  let house;

  before(async () => {
    documents = await startDocumentHost({ folder: await makeFolder(), document: DOCUMENT });
    house = await startHouse({ state: 'redis', replicas: 3, ...acceptAll(documents) });
    doorman = house.doorman;
  });
  after(async () => {
    await house?.stop();
    await documents?.stop();
  });

  for (const way of WAYS) {
    it(`a client that ${way.name} does not notice, wherever it begins`, async () => {
      const from = doorman.turns.length;
      const starts = [];

      for (let begin = 0; begin < 3; begin += 1) {
        await turnTo(begin);
        starts.push(doorman.turns.length);
        await logIn(way);
      }

      for (const start of starts) assert.equal(doorman.turns[start].replica, starts.indexOf(start));
      const taken = doorman.turns.slice(from);
      taken.forEach(({ replica }, at) => at > 0 && assert.notEqual(replica, taken[at - 1].replica));
      for (const step of STEPS) {
        const took = new Set(taken.filter(({ path }) => path === step).map(({ replica }) => replica));
        if (step !== '/register' || way === BY_ITSELF) assert.equal(took.size, 3, `${step} was at ${[...took]}`);
      }
    });
  }

  it('what is revoked at one is refused by all of them', async () => {
    const login = await logIn(BY_ITSELF);

    await login.revoke();

    let refusedInARow = 0;
    await until('all of them refuse it', async () => {
      const { status } = await login.initialize();
      refusedInARow = status === 401 ? refusedInARow + 1 : 0;
      return refusedInARow === 3;
    });
  });

  it('the log tells no secret', () => {
    return assertLogsTellNoSecret(house, { clients: logins, people: logins.map(({ person }) => person) });
  });

  async function logIn(way) {
    const login = new LoginByHand({ resource: doorman.resource, credentials: way.credentials(documents) });
    logins.push(login);
    for (const step of LoginByHand.STEPS) await login[step]();
    return login;
  }

  /** Spend requests until the next one is for `replica`. */
  async function turnTo(replica) {
    for (let spent = 0; spent < 3; spent += 1) {
      const { status } = await fetch(doorman.resource, { method: 'HEAD' });
      assert.equal(status, 401);
      if ((doorman.turns.at(-1).replica + 1) % 3 === replica) return;
    }
    assert.fail(`it is never the turn of ${replica}`);
  }
});

const STEPS = [
  '/.well-known/oauth-protected-resource/mcp',
  '/.well-known/oauth-authorization-server',
  '/register',
  '/authorize',
  '/oauth/consent',
  '/oauth/callback',
  '/token',
  '/mcp',
];
