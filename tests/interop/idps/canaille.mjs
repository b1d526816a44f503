// The identity provider: Canaille, written in Python by other people than any other one here. Two forms for a login, a
// consent page of its own, every refresh token replaced, and no ID token with the new ones.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { ALICE, BOB } from '../idp.mjs';
import { Person } from '../person.mjs';
import { freePort, start, until } from '../processes.mjs';

/** What startHouse takes to open an IdP. */
export function startCanaille({ folder }) {
  return async ({ redirectUris }) => {
    const port = await freePort();
    const issuer = `http://127.0.0.1:${port}`;
    const clientId = 'mcp-doorman';
    const clientSecret = random();
    const { stdout: python } = await promisify(execFile)(local('./install'), ['canaille']);
    const server = start('canaille', [python.trim(), local('./canaille_server.py')], {
      env: { PATH: process.env.PATH },
      log: `${folder}/canaille.log`,
      input: true,
    });
    const people = [ALICE, BOB].map(({ login, password, claims: { email, groups } }) => {
      return { login, password, email, groups };
    });
    const known = { client_id: clientId, client_secret: clientSecret, redirect_uris: redirectUris, people };
    server.write(`${JSON.stringify({ port, secret: random(), ...known })}\n`);
    const metadata = async () => (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
    const locked = new Set();
    server.onLine((line) => locked.add(line));
    await until('Canaille answers', metadata, { process: server });

    return {
      issuer,
      clientId,
      clientSecret,
      issued: () => [],
      person: (account) => new PersonAtCanaille(account),
      /** How many answers its token endpoint has given. */
      answers: () => server.output().split('"POST /oauth/token HTTP').length - 1,
      async lock({ login }) {
        server.write(`${login}\n`);
        await until(`${login} is locked out`, () => locked.has(login));
      },
      stop: server.stop,
    };
  };
}

class PersonAtCanaille extends Person {
  #account;

  constructor(account) {
    super(account);
    this.#account = account;
  }

  async logIn(form, { password = this.#account.password } = {}) {
    const next = await this.browser.submit(form, CONTINUE, { login: this.#account.login });
    const page = await this.browser.submit(next, SIGN_IN, { password });
    return page.forms.length > 0 ? this.browser.submit(page, ACCEPT) : page;
  }
}

function local(name) {
  return fileURLToPath(new URL(name, import.meta.url));
}

function random() {
  return randomBytes(24).toString('base64url');
}

const CONTINUE = ['answer', ''];
const SIGN_IN = ['', ''];
const ACCEPT = ['answer', 'accept'];
