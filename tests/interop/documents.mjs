// Where a client publishes its client ID metadata document: a web server with TLS. And a proxy that nobody
// should use to get there.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { promisify } from 'node:util';

/** Start one that publishes `document` at /client.json. `asked` are the requests that came. */
export async function startDocumentHost({ folder, document }) {
  const [key, certificate] = [`${folder}/documents.key.pem`, `${folder}/documents.pem`];
  await makeCertificate({ key, certificate });
  const asked = [];
  let published = document;
  const server = https.createServer(
    { key: await readFile(key), cert: await readFile(certificate) },
    ({ method, url, headers }, response) => {
      asked.push({ method, url, headers });
      const found = url === '/client.json' && published;
      response.writeHead(found ? 200 : 404, { 'content-type': 'application/json', 'cache-control': 'max-age=300' });
      response.end(JSON.stringify(found ? { client_id: clientId, ...published } : {}));
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const clientId = `https://localhost:${server.address().port}/client.json`;
  return {
    clientId,
    certificate,
    asked,
    withdraw: () => (published = undefined),
    async stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Start a listener that counts its visitors and serves none of them. */
export async function startProxy() {
  let visitors = 0;
  const server = net.createServer((socket) => {
    visitors += 1;
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    visitors: () => visitors,
    stop: async () => server.close(),
  };
}

async function makeCertificate({ key, certificate }) {
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', key, '-out', certificate],
  ]);
}
