// The conformance suite of MCP, as far as it is about authorization servers: all of it, for each way to be known as
// a client. (Its `client` scenarios about authorization bring a server of their own: nothing of ours is in them.)
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { judge } from './conformance.mjs';
import { startDocumentHost } from './documents.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { LoginByHand } from './login_by_hand.mjs';
import { Person } from './person.mjs';
import { freePort } from './processes.mjs';
import { acceptAll, DECLARED_WITH_SECRET, DOCUMENT, WAYS } from './registrations.mjs';

const CHECKS = ['authorization-code-grant', 'authorization-server-metadata', 'authorization-server-metadata-cimd'];

// What has to fail, with what it then says, and why we want that.
const EXPECTED_FAILURES = new Map([
  // The suite leaves out the secret of a client where the server has clients without (`none`). Of a client that has
  // one we insist on it (RFC 6749 §3.2.1).
  [DECLARED_WITH_SECRET, { 'authorization-code-grant': 'Invalid status code: 401' }],
]);

describe('the conformance suite finds nothing wrong for', { concurrency: WAYS.length }, () => {
  let documents;
  let house;

  before(async () => {
    documents = await startDocumentHost({ folder: await makeFolder(), document: DOCUMENT });
    house = await startHouse(acceptAll(documents));
  });
  after(async () => {
    await house?.stop();
    await documents?.stop();
  });

  for (const way of WAYS) {
    it(`a client that ${way.name}`, async (t) => {
      const { issuer, resource } = house.doorman;
      const login = new LoginByHand({ resource, credentials: way.credentials(documents) });
      await login.findOut();
      await login.becomeKnown();

      const checks = await judge({
        issuer,
        resource,
        port: await freePort(),
        credentials: login.credentials,
        open: (page) => new Person().signIn(page),
        folder: house.folder,
      });

      for (const { id, status, errorMessage } of checks) t.diagnostic([status, id, errorMessage].join(' '));
      assert.deepEqual(checks.map(({ id }) => id).sort(), CHECKS);
      // A WARNING is one too.
      const failed = checks.filter(({ status }) => status !== 'SUCCESS');
      const failures = Object.fromEntries(failed.map(({ id, errorMessage }) => [id, errorMessage]));
      assert.deepEqual(failures, EXPECTED_FAILURES.get(way) ?? {});
    });
  }
});
