// One replica after the other is told to end and started again, while clients go on calling and refreshing: none of
// them may notice.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startHouse } from './house.mjs';
import { LoginByHand } from './login_by_hand.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const GRANTS = 6;
const ROUNDS = 2;

describe('a rolling restart', { concurrency: 1 }, () => {
  const logins = [];
  let doorman;
  let house;

  before(async () => {
    house = await startHouse({ state: 'redis', replicas: 3 });
    doorman = house.doorman;
    while (logins.length < GRANTS) {
      const login = new LoginByHand({ resource: doorman.resource });
      logins.push(login);
      for (const step of LoginByHand.STEPS) await login[step]();
    }
  });
  after(() => house?.stop());

  it('goes unnoticed by those who call and refresh', async (t) => {
    const done = { calls: 0, refreshes: 0 };
    const failures = [];
    let over = false;
    const load = Promise.all(logins.map(goOn));

    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [at, replica] of doorman.replicas.entries()) {
        await doorman.withdraw(at);
        const from = doorman.turns.length;
        assert.equal(await replica.stop(), 0);
        await replica.startAgain();
        const meanwhile = doorman.turns.slice(from);
        assert.ok(meanwhile.length > 0 && meanwhile.every((turn) => turn.replica !== at));
        doorman.bringBack(at);
        await until('it has its turn again', () => doorman.turns.at(-1).replica === at);
      }
    }
    over = true;
    await load;

    t.diagnostic(`${done.calls} calls, ${done.refreshes} refreshes`);
    assert.deepEqual(failures, []);
    assert.ok(done.calls > 8 * GRANTS && done.refreshes > 2 * GRANTS, JSON.stringify(done));

    /** Four calls, then a refresh. */
    async function goOn(login) {
      while (!over) {
        for (let call = 0; call < 4; call += 1) await attempt('calls', login);
        await attempt('refreshes', login);
      }
    }

    async function attempt(what, login) {
      try {
        await (what === 'calls' ? login.call() : login.refresh());
        done[what] += 1;
      } catch (error) {
        failures.push(`${what}: ${error.message} ${error.cause ?? ''}`);
      }
    }
  });

  it('the log tells no secret', () => {
    return assertLogsTellNoSecret(house, { clients: logins, people: logins.map(({ person }) => person) });
  });
});
