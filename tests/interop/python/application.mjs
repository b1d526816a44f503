// An MCP client made with the official Python SDK: the test's side of `client_1.py` and `client_2.py`.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';

import { start, until } from '../processes.mjs';

/** One installation of an application: it registers once, and its tokens are in a file. */
export class PythonApplication {
  /** Every token response saved, every page that the person was sent to, every request sent, in order. */
  tokensSaved = [];
  pagesOpened = [];
  requests = [];
  #sdk;
  #mode;
  #program;
  #folder;
  #name;
  #process;
  #pagesTaken = 0;
  #calls = new Map();
  #lastCall = 0;

  /**
   * `sdk` is a major version; `mode`, from 2 on, is how that agrees on a protocol version with the server;
   * `program` is another than that version's usual one.
   */
  constructor({ sdk, mode, folder, program = `client_${sdk}.py` }) {
    this.#sdk = sdk;
    this.#program = program;
    this.#mode = mode;
    this.#folder = folder;
    installed += 1;
    this.#name = `python-client-${installed}`;
    this.#start();
  }

  get tokens() {
    return this.tokensSaved.at(-1);
  }

  /** What nobody else may know of this application, as `[what it is, the secret]`. */
  secrets() {
    const { form } = this.requests.findLast((request) => request.form?.code_verifier);
    const ofTokens = this.tokensSaved.flatMap((tokens, at) => [
      [`access token ${at}`, tokens.access_token],
      [`refresh token ${at}`, tokens.refresh_token],
    ]);
    return [['the code verifier', form.code_verifier], ...ofTokens];
  }

  /**
   * Connect to the MCP server at `resource`, however long it takes somebody to log in. Says which version of
   * the `sdk` that was, which version of the `protocol` was agreed on, and the name of the `server`. An
   * application that `knowsExpiry` has kept the time at which its token expires.
   */
  connect(resource, { headers = {}, knowsExpiry = false } = {}) {
    return this.#do('connect', { resource, headers, mode: this.#mode, knows_expiry: knowsExpiry });
  }

  /** Connect, and have `person` log in on the way. */
  async signIn(person, resource, options) {
    const connecting = this.connect(resource, options);
    await person.signIn(await this.takePage(connecting));
    return connecting;
  }

  /** The next page that the client opens while it is `connecting`. */
  takePage(connecting) {
    const at = this.#pagesTaken;
    this.#pagesTaken += 1;
    const page = until('the client opens a page', () => this.pagesOpened[at]);
    const noPage = connecting.then(() => assert.fail('it is connected, and nobody had to log in'));
    return Promise.race([page, noPage]);
  }

  listTools() {
    return this.#do('list_tools');
  }

  callTool(name, args, { onprogress } = {}) {
    return this.#do('call_tool', { name, arguments: args, progress: Boolean(onprogress) }, { onprogress });
  }

  /** Listen until the server says that something has changed; `onlistening` is called once it will be heard. */
  waitForChange({ onlistening }) {
    return this.#do('wait_for_change', {}, { onlistening });
  }

  /** What the SDK believes: is its access token `valid`, could it be refreshed? */
  tokenState() {
    return this.#do('token_state');
  }

  /** End the process as if the machine had been switched off, and start another with the same storage. */
  async restart() {
    await this.#process.stop();
    this.#start();
  }

  /** End the connection, as an application does that is closed, and then the process. */
  async close() {
    await this.#do('close');
    await this.#process.stop();
  }

  /** End the process, whatever it is doing. */
  stop() {
    return this.#process.stop();
  }

  #start() {
    const program = fileURLToPath(new URL(this.#program, import.meta.url));
    const storage = `${this.#folder}/${this.#name}.json`;
    this.#process = start(this.#name, [pythonOf(this.#sdk), '-B', program, storage], {
      env: { PATH: process.env.PATH },
      log: `${this.#folder}/${this.#name}.log`,
      input: true,
    });
    this.#process.onLine((line) => this.#hear(JSON.parse(line)));
  }

  #hear({ event, id, call, ...details }) {
    switch (event) {
      case 'answer':
        return this.#calls.get(id).answer(details);
      case 'page':
        return this.pagesOpened.push(new URL(details.url));
      case 'tokens':
        return this.tokensSaved.push(details.tokens);
      case 'request':
        return this.requests.push(details);
      case 'progress':
        return this.#calls.get(call).onprogress(details.progress);
      case 'listening':
        return this.#calls.get(call).onlistening();
    }
  }

  async #do(what, parameters, listeners) {
    const id = (this.#lastCall += 1);
    let answered;
    this.#calls.set(id, { ...listeners, answer: (it) => (answered = it) });
    this.#process.write(`${JSON.stringify({ id, do: what, ...parameters })}\n`);
    await until(`${this.#name} has done ${what}`, () => answered, { process: this.#process });
    if (answered.error) throw new Error(`${what}: ${answered.error}`);
    return answered.result;
  }
}

/** The interpreter that has the SDK of that major version. */
export function pythonOf(sdk) {
  return fileURLToPath(new URL(`./.sdk-${sdk}/bin/python`, import.meta.url));
}

let installed = 0;
