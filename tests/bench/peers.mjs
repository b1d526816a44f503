// What is measured: the bare proxy and mcp-doorman, in front of the same upstream; and what drives them.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';

import { Application } from '../interop/client.mjs';
import { makeSealingKey, planDoorman, startDoorman } from '../interop/doorman.mjs';
import { makeFolder } from '../interop/house.mjs';
import { startIdp } from '../interop/idp.mjs';
import { Person } from '../interop/person.mjs';
import { freePort, start, until } from '../interop/processes.mjs';

const examples = process.env.BENCH_EXAMPLES;

/** Where everything of one run is: an upstream, an IdP, and a folder. `pinned` puts proxies on a CPU of their own. */
export class Ground {
  #started = [];
  #apart;
  #beside;
  #sealingKey;
  /** What each doorman says. */
  logs = [];

  static async prepare({ pinned = false, eventsEach = 5000 } = {}) {
    const ground = new Ground();
    ground.#apart = pinned ? ['taskset', '-c', '0'] : [];
    ground.#beside = pinned ? ['taskset', '-c', '1'] : [];
    ground.folder = await makeFolder();
    ground.#sealingKey = await makeSealingKey(ground);
    const command = [...ground.#beside, `${examples}/bench_upstream`, String(eventsEach)];
    ground.upstream = await ground.startListener('upstream', command);
    return ground;
  }

  async startBare({ under = this.#apart } = {}) {
    const listen = `127.0.0.1:${await freePort()}`;
    return this.startListener('bare-proxy', [...under, `${examples}/bench_bare_proxy`, this.upstream.address, listen]);
  }

  /** With the settings that it has by default, but one worker. `idp` is one that runs; else it gets one of its own. */
  async startDoorman({ under = this.#apart, ...settings } = {}) {
    const plan = settings.plan ?? (await planDoorman());
    const idp = settings.idp ?? this.#keep(await startIdp({ redirectUris: [plan.callback] }));
    const upstream = `http://${this.upstream.address}/mcp`;
    const told = { logLevel: 'info', folder: this.folder, upstream, sealingKey: this.#sealingKey, under };
    const doorman = this.#keep(await startDoorman({ ...told, ...settings, plan, idp }));
    this.logs.push(doorman.log);
    return { ...doorman, address: `127.0.0.1:${plan.port}` };
  }

  /** Start a program that writes the address it listens on. */
  async startListener(name, command) {
    let program;
    const startAgain = async () => {
      program = this.#start(name, command);
      const line = () => program.output().match(/^(127\.0\.0\.1:\d+)$/m);
      return until(`${name} listens`, line, { process: program });
    };
    const [, address] = await startAgain();
    return this.#keep({ address, pid: () => program.pid, stop: () => program.stop(), startAgain });
  }

  /** Send `requests`; throws unless the answer to each was right. `tokens` is a file of them, `kind` of what load.rs. */
  async load({ address }, { requests, connections, tokens, kind }) {
    const words = [address, requests, connections, tokens, ...(kind ? [kind] : [])].map(String);
    const [command, ...rest] = [...this.#beside, `${examples}/bench_load`, ...words];
    const { stdout } = await promisify(execFile)(command, rest, { timeout: 300_000 });
    return JSON.parse(stdout);
  }

  /** Open event streams and listen; `whileOpen` is called with what was measured while they are all still there. */
  async listen({ address }, { streams, seconds, tokens }, whileOpen) {
    const words = [address, streams, tokens, seconds].map(String);
    const listener = this.#start('listen', [...this.#beside, `${examples}/bench_listen`, ...words]);
    const line = () => listener.output().match(/^\{.*\}$/m)?.[0];
    const measured = await until('it has listened', line, { process: listener, seconds: seconds + 120 });
    const result = await whileOpen(JSON.parse(measured));
    assert.equal(await listener.stop(), 0, listener.output());
    return result;
  }

  /** Put `tokens` where `load` finds them. */
  async write(name, tokens) {
    const file = `${this.folder}/${name}.tokens`;
    await writeFile(file, tokens.join('\n'), { mode: 0o600 });
    return file;
  }

  async end() {
    while (this.#started.length > 0) await this.#started.pop().stop();
  }

  #start(name, command) {
    return start(name, command, { env: {}, log: `${this.folder}/${name}.log` });
  }

  #keep(part) {
    this.#started.push(part);
    return part;
  }
}

/** Somebody logs in with a client of their own. Returns the client. */
export async function signIn(doorman) {
  const client = await Application.install();
  await client.signIn(new Person(), doorman.resource);
  await client.close();
  return client;
}
