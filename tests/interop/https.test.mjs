// The main job where doorman itself speaks TLS, with a certificate of an authority that the client is told of.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';

import { makeFolder, startHouse } from './house.mjs';
import { ALICE } from './idp.mjs';

const run = promisify(execFile);

describe('doorman over https', () => {
  let certificate;
  let house;

  before(async () => {
    const folder = await makeFolder();
    const key = `${folder}/tls.key`;
    certificate = `${folder}/tls.crt`;
    const pair = ['-x509', '-newkey', 'rsa:2048', '-noenc', '-keyout', key, '-out', certificate];
    const name = ['-subj', '/CN=doorman', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '30'];
    await run('openssl', ['req', ...pair, ...name]);
    house = await startHouse({ tls: { cert: certificate, key: { file: key } } });
  });
  after(() => house?.stop());

  it('the SDK logs in and calls a tool', async () => {
    const said = await visit({ NODE_EXTRA_CA_CERTS: certificate });

    assert.equal(said, 'Echo: over https\n');
  });

  it('who does not know the authority sends nothing', async () => {
    const requests = house.upstream.requests.length;

    await assert.rejects(visit({}), /fetch failed/);

    assert.equal(house.upstream.requests.length, requests);
  });

  /** What Node believes, it is told when it starts: so the visit is a process of its own. */
  async function visit(variables) {
    const { PATH } = process.env;
    const env = { PATH, ...variables };
    const { login, password } = ALICE;
    const { stdout } = await run(process.execPath, [VISIT, house.doorman.resource, login, password], { env });
    return stdout;
  }
});

const VISIT = new URL('./https_visit.mjs', import.meta.url).pathname;
