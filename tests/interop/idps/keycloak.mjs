// The identity provider: Keycloak, as it is distributed (install), in memory and on loopback. One server, and in it a
// realm for each house.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { ALICE, BOB } from '../idp.mjs';
import { Person } from '../person.mjs';
import { adopt, freePort, start, until } from '../processes.mjs';

/** Start the server. `realm` is what startHouse takes to open an IdP. */
export async function startKeycloak({ folder }) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const password = random();
  const server = start('keycloak', ['sh', `${await home()}/bin/kc.sh`, 'start', '--optimized', ...optionsFor(port)], {
    env: {
      PATH: process.env.PATH,
      // The MCP server and the browser need their share.
      JAVA_OPTS_KC_HEAP: '-Xms128m -Xmx512m',
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN,
      KC_BOOTSTRAP_ADMIN_PASSWORD: password,
    },
    log: `${folder}/keycloak.log`,
  });
  // Its script has it as a child, which would outlive a script that is killed.
  const forget = adopt(await until('Java is started', () => javaOf(server.pid), { process: server }));
  const answers = async () => (await fetch(`${origin}/realms/master`)).ok;
  await until('Keycloak answers', answers, { seconds: 120, process: server });

  /** The admin API, below `/admin/realms`. */
  async function admin(method, path, body) {
    const login = { grant_type: 'password', client_id: 'admin-cli', username: ADMIN, password };
    const token = await fetch(`${origin}/realms/master/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams(login),
    });
    const { access_token: access } = await token.json();
    const response = await fetch(`${origin}/admin/realms${path}`, {
      method,
      headers: { authorization: `Bearer ${access}`, 'content-type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${path} answered ${response.status}: ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  return {
    /**
     * Opens a realm with Alice and Bob. `realm` and `client` are settings of these, besides those that any needs;
     * `settings` is doorman's stanza about the IdP.
     */
    realm:
      ({ realm = {}, client = {}, settings = { preset: 'keycloak' } } = {}) =>
      ({ redirectUris }) =>
        openRealm({ origin, admin, redirectUris, realm, client, settings }),
    async stop() {
      await server.stop();
      forget();
    },
  };
}

async function openRealm({ origin, admin, redirectUris, realm, client, settings }) {
  const name = `staff-${randomBytes(4).toString('hex')}`;
  const issuer = `${origin}/realms/${name}`;
  const clientId = 'mcp-doorman';
  const clientSecret = random();
  const [redirectUri] = redirectUris;
  await admin('POST', '', {
    realm: name,
    enabled: true,
    eventsEnabled: true,
    // Refreshes are not counted by themselves.
    enabledEventTypes: ['LOGIN', 'LOGOUT', 'REFRESH_TOKEN', 'REFRESH_TOKEN_ERROR'],
    groups: [...new Set(PEOPLE.flatMap(({ claims }) => claims.groups)), EXTRA].map((group) => ({ name: group })),
    users: PEOPLE.map(asUser),
    clients: [
      {
        clientId,
        secret: clientSecret,
        redirectUris,
        ...client,
        attributes: {
          'backchannel.logout.url': new URL('/oauth/backchannel-logout', redirectUri).href,
          // As the admin console has it. Without, Keycloak names the person alone, whichever session ends.
          'backchannel.logout.session.required': 'true',
          ...client.attributes,
        },
        protocolMappers: [GROUPS],
      },
      { clientId: INTRANET, publicClient: true, redirectUris: [NOBODY] },
    ],
    ...realm,
  });
  const here = (method, path, body) => admin(method, `/${name}${path}`, body);
  const idOf = async ({ login }) => (await here('GET', `/users?exact=true&username=${login}`))[0].id;
  const idOfGroup = async (group) => (await here('GET', `/groups?exact=true&search=${group}`))[0].id;

  return {
    issuer,
    clientId,
    clientSecret,
    settings,
    faults: [],
    issued: () => [],
    stop: () => {},
    person: (account) => new PersonAtKeycloak(account, origin),
    idOf,
    enable: async (person) => here('PUT', `/users/${await idOf(person)}`, { enabled: true }),
    disable: async (person) => here('PUT', `/users/${await idOf(person)}`, { enabled: false }),
    join: async (person, group) => here('PUT', `/users/${await idOf(person)}/groups/${await idOfGroup(group)}`),
    leave: async (person, group) => here('DELETE', `/users/${await idOf(person)}/groups/${await idOfGroup(group)}`),
    /** "Sign out" of all sessions, as an administrator can. */
    signOut: async (person) => here('POST', `/users/${await idOf(person)}/logout`),
    /** How many sessions they have at browsers. */
    sessions: async (person) => (await here('GET', `/users/${await idOf(person)}/sessions`)).length,
    /**
     * Let MCP clients of this machine register themselves, and ask with the scope TOOLS for tokens for `resource`. Of
     * the realm's scopes a client has those alone that it named when it registered: what all need must be in these.
     */
    async letClientsRegister({ resource }) {
      const protocolMappers = [GROUPS, audienceOf(resource)];
      await here('POST', '/client-scopes', { name: TOOLS, protocol: 'openid-connect', protocolMappers });
      const { id } = (await here('GET', '/client-scopes')).find(({ name }) => name === TOOLS);
      await here('PUT', `/default-optional-client-scopes/${id}`);
      const policies = await here('GET', `/components?type=${POLICY}`);
      const hosts = policies.find(({ providerId }) => providerId === 'trusted-hosts');
      const config = { ...hosts.config, 'trusted-hosts': ['127.0.0.1'] };
      await here('PUT', `/components/${hosts.id}`, { ...hosts, config });
    },
    /** A client of the company's own, whose tokens are for `audience` too: how it gets them. */
    async addClient({ id, audience, scopes = [], attributes = {} }) {
      const secret = random();
      await here('POST', '/clients', {
        clientId: id,
        secret,
        standardFlowEnabled: false,
        serviceAccountsEnabled: true,
        directAccessGrantsEnabled: true,
        defaultClientScopes: ['basic', 'profile', 'email', 'service_account', ...scopes],
        protocolMappers: audience ? [GROUPS, audienceOf(audience)] : [GROUPS],
        attributes,
      });
      const ask = async (form) => {
        const response = await fetch(`${issuer}/protocol/openid-connect/token`, {
          method: 'POST',
          headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
          body: new URLSearchParams(form),
        });
        const answer = await response.json();
        assert.equal(response.status, 200, JSON.stringify(answer));
        return answer;
      };
      return {
        /** RFC 6749 §4.4 */
        forItself: () => ask({ grant_type: 'client_credentials' }),
        forPerson: ({ login, password }) =>
          ask({ grant_type: 'password', username: login, password, scope: 'openid' }),
      };
    },
    /** How often this happened. */
    events: async (type) => (await here('GET', `/events?max=1000&type=${type}`)).length,
    /** Sign with a new key, and say so from now on. Returns how to have the old ones forgotten. */
    async changeKeys() {
      const old = await here('GET', '/components?type=org.keycloak.keys.KeyProvider');
      const before = await signingKey(here);
      await here('POST', '/components', {
        name: 'new key',
        providerId: 'rsa-generated',
        providerType: 'org.keycloak.keys.KeyProvider',
        config: { priority: ['200'] },
      });
      assert.notEqual(await signingKey(here), before);
      const ofRsa = old.filter(({ providerId }) => providerId === 'rsa-generated');
      assert.ok(ofRsa.length > 0);
      return () => Promise.all(ofRsa.map(({ id }) => here('DELETE', `/components/${id}`)));
    },
  };
}

/** Somebody at the forms of Keycloak. */
class PersonAtKeycloak extends Person {
  #account;
  #origin;

  constructor(account, origin) {
    super(account);
    this.#account = account;
    this.#origin = origin;
    this.browser.takesSecureCookiesFrom.add(origin);
  }

  /** Where the page is Keycloak's own, that asks for consent too. */
  async signIn(page) {
    if (page.origin !== this.#origin) return super.signIn(page);
    return this.browser.submit(await this.logIn(await this.open(page)), ['accept', '']);
  }

  logIn(form, { password = this.#account.password } = {}) {
    return this.browser.submit(form, ['login', ''], { username: this.#account.login, password });
  }

  /** Sign in to something that has nothing to do with doorman. */
  async signInElsewhere({ issuer }) {
    const page = new URL(`${issuer}/protocol/openid-connect/auth`);
    page.search = new URLSearchParams({
      response_type: 'code',
      client_id: INTRANET,
      redirect_uri: NOBODY,
      scope: 'openid',
    });
    this.browser.staysAtOrigin = true;
    const end = await this.logIn(await this.open(page));
    this.browser.staysAtOrigin = false;
    assert.ok(end.url.href.startsWith(NOBODY), end.body);
  }

  /** Sign out in the browser, at the realm of `issuer`. */
  async signOut({ issuer, clientId }) {
    const page = await this.open(`${issuer}/protocol/openid-connect/logout?client_id=${clientId}`);
    const button = page.forms.flatMap(({ buttons }) => buttons)[0];
    assert.ok(button, page.body);
    const end = await this.browser.submit(page, button);
    assert.equal(end.status, 200, end.body);
  }
}

async function signingKey(here) {
  const { active } = await here('GET', '/keys');
  return active.RS256;
}

function asUser({ login, password, claims }) {
  return {
    username: login,
    enabled: true,
    email: claims.email,
    emailVerified: true,
    // Without a name Keycloak asks for one at the first login.
    firstName: login,
    lastName: 'Example',
    groups: claims.groups,
    // Who is imported has none of the roles that people get who are added by hand; `offline_access` needs one.
    realmRoles: ['offline_access'],
    credentials: [{ type: 'password', value: password }],
  };
}

/** In ID tokens too, which is not usual: then the audience is not what tells them from access tokens. */
function audienceOf(audience) {
  return {
    name: `audience ${audience}`,
    protocol: 'openid-connect',
    protocolMapper: 'oidc-audience-mapper',
    config: { 'included.custom.audience': audience, 'access.token.claim': 'true', 'id.token.claim': 'true' },
  };
}

function optionsFor(port) {
  return [
    '--http-enabled=true',
    '--http-host=127.0.0.1',
    `--http-port=${port}`,
    `--hostname=http://127.0.0.1:${port}`,
    // One node: it looks for no others.
    '--cache=local',
  ];
}

async function javaOf(script) {
  const children = (await readFile(`/proc/${script}/task/${script}/children`, 'utf8')).split(' ').filter(Boolean);
  const commands = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8')));
  return Number(children[commands.findIndex((command) => command.includes(`-Dkc.script.pid=${script}`))]);
}

async function home() {
  const { stdout } = await promisify(execFile)(fileURLToPath(new URL('./install', import.meta.url)), ['keycloak']);
  return stdout.trim();
}

function random() {
  return randomBytes(24).toString('base64url');
}

/** A group that nobody is in at first, and that opens nothing. */
export const EXTRA = 'on-call';
/** What MCP clients ask for. */
export const TOOLS = 'mcp:tools';
const ADMIN = 'admin';
const INTRANET = 'intranet';
// Nobody listens there: the browser stops before it.
const NOBODY = 'http://127.0.0.1:1/';
const PEOPLE = [ALICE, BOB];
const POLICY = 'org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy';
// As the admin console makes it, but for the full path: names of groups without a slash.
const GROUPS = {
  name: 'groups',
  protocol: 'openid-connect',
  protocolMapper: 'oidc-group-membership-mapper',
  config: { 'claim.name': 'groups', 'full.path': 'false', 'id.token.claim': 'true', 'access.token.claim': 'true' },
};
