// The conformance suite's scenarios for clients, of those about the wire: they look at the headers and requests that
// reach a server of theirs. A client that is found good straight at it has to be found as good through doorman.
// (Those about authorization bring an authorization server along: nothing of ours would be in them.)
import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { judgeClient } from './conformance.mjs';
import { makeFolder } from './house.mjs';

// With how many checks the client passes.
const SCENARIOS = {
  initialize: 1,
  tools_call: 2,
  'sse-retry': 3,
  'request-metadata': 8,
  'http-standard-headers': 9,
  'http-custom-headers': 18,
};

describe('through doorman, a client passes as without it', { concurrency: 2 }, () => {
  let folder;

  before(async () => {
    folder = await makeFolder();
  });

  for (const [scenario, passing] of Object.entries(SCENARIOS)) {
    it(scenario, async () => {
      const { MCP_DOORMAN_BIN } = process.env;
      assert.ok(MCP_DOORMAN_BIN, 'MCP_DOORMAN_BIN does not say where mcp-doorman is');

      const direct = await judgeClient({ scenario, command: CLIENT, folder });
      const through = await judgeClient({ scenario, command: CLIENT, env: { MCP_DOORMAN_BIN }, folder });

      assert.equal(direct.filter(({ status }) => status === 'SUCCESS').length, passing, told(direct));
      assert.deepEqual(verdicts(through), verdicts(direct), told(through));
    });
  }
});

/** INFO is none: it tells of single events, and how many there were may be chance. */
function verdicts(checks) {
  return checks
    .filter(({ status }) => status !== 'INFO')
    .map(verdict)
    .sort();
}

function verdict({ id, name, status }) {
  return `${id}: ${name}: ${status}`;
}

function told(checks) {
  return checks.map((check) => `${verdict(check)}: ${check.errorMessage ?? ''}`).join('\n');
}

const CLIENT = [process.execPath, fileURLToPath(new URL('./conformance_client.mjs', import.meta.url))].join(' ');
