// npm `@modelcontextprotocol/conformance`: the project's own judgement of an authorization server.
import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { start, until } from './processes.mjs';

/**
 * Judge the authorization server `issuer`, as a client that has `credentials`, with `port` for the redirect. It
 * has a person log in at a page: `open(page)`. Returns its checks, each with an `id`, a `status`, and an
 * `errorMessage` unless that is SUCCESS.
 */
export async function judge({ issuer, resource, port, credentials, open, folder }) {
  const results = await mkdtemp(`${folder}/conformance-`);
  const { clientId, clientSecret, document } = credentials;
  const options = {
    url: issuer,
    resource,
    port,
    'client-id': document ?? clientId,
    ...(clientSecret && { 'client-secret': clientSecret }),
    'output-dir': results,
  };
  const words = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]);
  const judgement = start('conformance', [NODE, PROGRAM, 'authorization', ...words], {
    env: { PATH: process.env.PATH },
    log: `${results}/said.log`,
  });
  try {
    const asked = () => judgement.output().match(PAGE)?.[0];
    await open(await until('it asks for a login', asked, { process: judgement }));
    await judgement.ended();
  } finally {
    await judgement.stop();
  }
  return readChecks(results);
}

async function readChecks(results) {
  const files = (await readdir(results, { recursive: true })).filter((name) => name.endsWith('checks.json'));
  const read = async (name) => JSON.parse(await readFile(`${results}/${name}`, 'utf8'));
  return (await Promise.all(files.sort().map(read))).flat();
}

function installed(file) {
  return fileURLToPath(new URL(`./node_modules/${file}`, import.meta.url));
}

const PROGRAM = installed('@modelcontextprotocol/conformance/dist/index.js');
// It does not start with anything older (see `install`).
const NODE = parseInt(process.versions.node) < 22 ? installed('.node-22/node_modules/.bin/node') : process.execPath;
const PAGE = /^https?:\S+[?&]response_type=code\S*$/m;
