// The search for secrets in what doorman wrote.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';

import { ALICE, BOB } from './idp.mjs';

/** Every log of `house` has something to say, in JSON, and none of what nobody else may know. */
export async function assertLogsTellNoSecret(house, { clients, people }) {
  const secrets = [
    ['the client secret', house.idp.clientSecret],
    ["Alice's password", ALICE.password],
    ["Bob's password", BOB.password],
    ['the sealing key', (await readFile(house.sealingKey, 'utf8')).trim()],
  ];
  house.idp.issued().forEach((token, at) => secrets.push([`token ${at} of the IdP`, token]));
  for (const client of clients) secrets.push(...client.secrets());
  for (const { browser } of people) {
    const codes = browser.trail.map((url) => new URL(url).searchParams.get('code')).filter(Boolean);
    assert.ok(codes.length > 0, 'this journey was to see codes');
    codes.forEach((code, at) => secrets.push([`code ${at}`, code]));
  }

  for (const { issuer, log } of house.doormen) {
    const lines = log().trim().split('\n');
    for (const line of lines) assert.doesNotThrow(() => JSON.parse(line), `not JSON: ${line}`);
    assert.ok(lines.length > 1, `the doorman of ${issuer} told nothing`);
    for (const [what, secret] of secrets) {
      assert.ok(secret?.length > 8, `${what} is a secret`);
      const told = lines.find((line) => line.includes(secret));
      assert.equal(told, undefined, `${what} is in the log of ${issuer}`);
    }
  }
}
