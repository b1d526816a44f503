// npm `@modelcontextprotocol/conformance`: the project's own judgement of authorization servers, servers and clients.
import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { start, until } from './processes.mjs';

/**
 * Judge the authorization server `issuer`, as a client that has `credentials`, with `port` for the redirect. It
 * has a person log in at a page: `open(page)`. Returns its checks, each with an `id`, a `status`, and an
 * `errorMessage` unless that is SUCCESS.
 */
export async function judge({ issuer, resource, port, credentials, open, folder }) {
  const { clientId, clientSecret, document } = credentials;
  const options = {
    url: issuer,
    resource,
    port,
    'client-id': document ?? clientId,
    ...(clientSecret && { 'client-secret': clientSecret }),
  };
  const words = Object.entries(options).flatMap(([key, value]) => [`--${key}`, String(value)]);
  return run(NEW, ['authorization', ...words], {
    folder,
    async meanwhile(judgement) {
      const asked = () => judgement.output().match(PAGE)?.[0];
      await open(await until('it asks for a login', asked, { process: judgement }));
    },
  });
}

/**
 * Judge the MCP server at `url` with the suite `program` (`OLD` or `NEW`), with all scenarios that `words` name. With
 * `token`, it is sent along. Returns checks as `judge` does, each with its `scenario`.
 */
export function judgeServer({ program, words, url, token, folder }) {
  const authorized = token && {
    NODE_OPTIONS: `--import ${new URL('./conformance_token.mjs', import.meta.url)}`,
    ORIGIN: new URL(url).origin,
    TOKEN: token,
  };
  return run(program, ['server', '--url', url, ...words], { folder, env: { ...authorized } });
}

/** Judge the client that `command` starts, in one `scenario`. It gets `env`, and the URL of a server of the suite. */
export function judgeClient({ scenario, command, env, folder }) {
  return run(NEW, ['client', '--command', command, '--scenario', scenario], { folder, env });
}

/** Run the suite to its end. Returns its checks. */
async function run(program, words, { folder, env = {}, meanwhile = () => {} }) {
  const results = await mkdtemp(`${folder}/conformance-`);
  const judgement = start('conformance', [NODE, program, ...words, '--output-dir', results], {
    env: { PATH: process.env.PATH, ...env },
    log: `${results}/said.log`,
  });
  try {
    await meanwhile(judgement);
    await judgement.ended();
  } finally {
    await judgement.stop();
  }
  return readChecks(results);
}

async function readChecks(results) {
  const files = (await readdir(results, { recursive: true })).filter((name) => name.endsWith('checks.json'));
  const read = async (name) => {
    // The folder is called after the scenario and the time.
    const scenario = name.match(/^(?:server-|client-)?(.*)-\d{4}-\d\d-\d\dT[^/]*\/checks.json$/)?.[1];
    return JSON.parse(await readFile(`${results}/${name}`, 'utf8')).map((check) => ({ ...check, scenario }));
  };
  return (await Promise.all(files.sort().map(read))).flat();
}

function installed(file) {
  return fileURLToPath(new URL(`./node_modules/${file}`, import.meta.url));
}

export const OLD = installed('conformance-0.1/dist/index.js');
export const NEW = installed('@modelcontextprotocol/conformance/dist/index.js');
// It does not start with anything older (see `install`).
const NODE = parseInt(process.versions.node) < 22 ? installed('.node-22/node_modules/.bin/node') : process.execPath;
const PAGE = /^https?:\S+[?&]response_type=code\S*$/m;
