// Every way to be known as a client, over every place where logins can be kept: the life of a login must not tell
// the difference, nor that it is several replicas that it meets.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { startDocumentHost } from './documents.mjs';
import { makeFolder, startHouse, STATES } from './house.mjs';
import { MCP_REMOTE, SDK_1, SDK_2 } from './kinds.mjs';
import { describeLife } from './life.mjs';
import { acceptAll, DOCUMENT, WAYS } from './registrations.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const KINDS = [SDK_1, SDK_2, MCP_REMOTE];
// Long enough for another call to fit in, with all of them at work.
const LONG = { name: 'trigger-long-running-operation', input: { duration: 6, steps: 6 }, steps: 6 };

// Most of it is waiting: they wait together.
describe('logins are kept in', { concurrency: STATES.length }, () => {
  for (const { name, settings } of STATES) {
    describe(name, { concurrency: 1 }, () => {
      const clients = [];
      const people = [];
      let documents;
      let house;

      before(async () => {
        documents = await startDocumentHost({ folder: await makeFolder(), document: DOCUMENT });
        house = await startHouse({ ...settings, ...acceptAll(documents), scopes: ['tools'], accessTtl: '3s' });
        house.documents = documents;
      });
      after(async () => {
        await house?.stop();
        await documents?.stop();
      });

      describe('a life of', { concurrency: WAYS.length * KINDS.length }, () => {
        for (const way of WAYS) {
          for (const kind of KINDS) describeLife(kind, { way, enter: () => house, long: LONG, clients, people });
        }
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients, people }));

      it('the IdP had no fault of its own', () => assert.deepEqual(house.idp.faults, []));
    });
  }
});
