// Between any two steps of a login everything is stopped, or killed, and started again: what was handed out must
// still be good. (With `state: memory` nobody promises that.)
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startDocumentHost } from './documents.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { LoginByHand } from './login_by_hand.mjs';
import { acceptAll, DOCUMENT, WAYS } from './registrations.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const HOUSES = [
  { name: 'a doorman with a file', settings: { state: 'dir' } },
  { name: 'three replicas with Redis', settings: { state: 'redis', replicas: 3 } },
];
const { STEPS } = LoginByHand;

describe('after a restart of', { concurrency: HOUSES.length }, () => {
  for (const { name, settings } of HOUSES) {
    describe(`${name}, of the IdP and of whatever else there is`, { concurrency: 1 }, () => {
      const logins = [];
      let documents;
      let house;

      before(async () => {
        documents = await startDocumentHost({ folder: await makeFolder(), document: DOCUMENT });
        house = await startHouse({ ...settings, ...acceptAll(documents) });
      });
      after(async () => {
        await house?.stop();
        await documents?.stop();
      });

      for (const [at, next] of STEPS.entries()) {
        if (at === 0) continue;
        it(`a login goes on from ${STEPS[at - 1]} to ${next}`, async () => {
          const { resource } = house.doorman;
          const underWay = WAYS.map((way) => new LoginByHand({ resource, credentials: way.credentials(documents) }));
          logins.push(...underWay);
          await takeAll(underWay, STEPS.slice(0, at));

          await restart(house, at);

          await takeAll(underWay, STEPS.slice(at));
        });
      }

      it('the log tells no secret', () => {
        return assertLogsTellNoSecret(house, { clients: logins, people: logins.map(({ person }) => person) });
      });

      it('the IdP had no fault of its own', () => assert.deepEqual(house.idp.faults, []));
    });
  }
});

function takeAll(logins, steps) {
  return Promise.all(
    logins.map(async (login) => {
      for (const step of steps) await login[step]();
    }),
  );
}

/** Of two processes, and of two times, one is killed and the other told to end. */
async function restart({ doorman, idp, redis }, time) {
  const doormen = doorman.replicas ?? [doorman];
  const processes = redis ? [...doormen, redis] : doormen;
  await Promise.all(processes.map((part, at) => ((at + time) % 2 ? part.kill() : part.stop())));
  await idp.stop();

  await idp.startAgain();
  await redis?.startAgain();
  await Promise.all(doormen.map((part) => part.startAgain()));
}
