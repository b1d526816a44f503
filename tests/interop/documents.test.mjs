// Clients that are known by a document at the URL that is their client id.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { Application } from './client.mjs';
import { Application2 } from './client_2.mjs';
import { startDocumentHost, startProxy } from './documents.mjs';
import { makeFolder, startHouse } from './house.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';

const DOCUMENT = {
  client_name: 'Interop client',
  // As clients publish it, who don't know their port before.
  redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback'],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
  logo_uri: 'https://localhost:1/logo.png',
};

describe('clients with a metadata document', { concurrency: 1 }, () => {
  const clients = [];
  let documents;
  let house;
  let proxy;

  before(async () => {
    documents = await startDocumentHost({ folder: await makeFolder(), document: DOCUMENT });
    proxy = await startProxy();
    house = await startHouse({
      registration: { probed_documents: [documents.clientId], allow_private_metadata_hosts: true },
      env: {
        SSL_CERT_FILE: documents.certificate,
        HTTPS_PROXY: proxy.url,
        HTTP_PROXY: proxy.url,
        ALL_PROXY: proxy.url,
        https_proxy: proxy.url,
      },
    });
  });
  after(async () => {
    for (const client of clients) await client.close();
    await house?.stop();
    await documents?.stop();
    await proxy?.stop();
  });

  it('find that documents are supported, because theirs can be fetched', async () => {
    await until('it is advertised', isAdvertised);

    await until('the log says so', () => /documents are advertised/.test(house.doorman.log()));
    assert.equal(documents.asked.length, 1);
    const { method, headers } = documents.asked[0];
    assert.equal(method, 'GET');
    assert.equal(headers.host, new URL(documents.clientId).host);
  });

  for (const [name, Kind] of [
    ['the TypeScript SDK 1.x', Application],
    ['the TypeScript SDK 2.x', Application2],
  ]) {
    it(`${name} logs in by it, and does not register`, async () => {
      const client = await install(Kind);
      const person = new Person();

      await client.signIn(person, house.doorman.resource);

      const page = client.pagesOpened.at(-1);
      assert.equal(page.searchParams.get('client_id'), documents.clientId);
      const consent = await new Person().open(page);
      assert.match(consent.body, /<strong>localhost<\/strong> says that this is Interop client/);
      const mcp = await client.connect(house.doorman.resource);
      const { content } = await client.callTool(mcp, { name: 'echo', arguments: { message: 'hello' } });
      assert.equal(content[0].text, 'Echo: hello');
      assert.doesNotMatch(house.doorman.log(), /client registered/);
    });
  }

  it('are fetched without the proxies that the environment names', () => {
    assert.equal(proxy.visitors(), 0);
    assert.ok(documents.asked.every(({ url }) => url === '/client.json'));
  });

  it('register where documents are not within reach', async () => {
    documents.withdraw();
    const other = await startHouse({
      registration: { probed_documents: [documents.clientId], allow_private_metadata_hosts: true },
      env: { SSL_CERT_FILE: documents.certificate },
    });
    try {
      await until('it is decided', () => /documents are not advertised.*404/.test(other.doorman.log()));
      const client = await install(Application2);

      await client.signIn(new Person(), other.doorman.resource);

      assert.match(client.pagesOpened.at(-1).searchParams.get('client_id'), /^doorman_ci_/);
    } finally {
      await other.stop();
    }
  });

  async function install(Kind) {
    const client = await Kind.install({ document: documents.clientId });
    clients.push(client);
    return client;
  }

  async function isAdvertised() {
    const answer = await fetch(`${house.doorman.issuer}/.well-known/oauth-authorization-server`);
    return (await answer.json()).client_id_metadata_document_supported;
  }
});
