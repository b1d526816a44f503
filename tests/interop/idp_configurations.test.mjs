// What one provider does and another does not, each with npm `oidc-provider`: kinds of access tokens, refresh tokens
// that are replaced or stay, `resource` that is refused, groups that userinfo alone tells.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { errors } from 'oidc-provider';

import { OIDC } from './doorman.mjs';
import { startHouse } from './house.mjs';
import { ALICE, startIdp } from './idp.mjs';
import { Visitor } from './idps/visitor.mjs';
import { Person } from './person.mjs';
import { until } from './processes.mjs';
import { assertLogsTellNoSecret } from './secrets.mjs';

const RECHECK_AFTER = 2;
// For a busy machine, on top of what was promised.
const SLACK = 6;
const API = 'https://api.example.com';

const CONFIGURATIONS = [
  {
    name: 'opaque access tokens, and refresh tokens that are replaced',
    configuration: { rotateRefreshToken: () => true },
    accessToken: /^[\w-]+$/,
    refreshTokens: 'replaced',
  },
  {
    name: 'JWTs as access tokens, and refresh tokens that stay',
    configuration: {
      rotateRefreshToken: () => false,
      features: resources({ defaultResource: () => API, useGrantedResource: () => true, getResourceServerInfo: api }),
    },
    accessToken: /^[\w-]+\.[\w-]+\.[\w-]+$/,
    refreshTokens: 'stay',
  },
  {
    name: '`resource` refused',
    configuration: { features: resources({ defaultResource: () => undefined, getResourceServerInfo: refuse }) },
    accessToken: /^[\w-]+$/,
    refusesResource: true,
  },
  {
    name: 'groups in userinfo alone',
    configuration: { conformIdTokenClaims: true },
    accessToken: /^[\w-]+$/,
    settings: { identity: 'userinfo' },
  },
];

// Each in a house of its own, and mostly waiting.
describe('npm oidc-provider', { concurrency: true }, () => {
  for (const { name, configuration, accessToken, refreshTokens, refusesResource, settings } of CONFIGURATIONS) {
    describe(`a provider with ${name}`, { concurrency: 1 }, () => {
      const alice = new Person();
      const gone = new Set();
      const { groups } = ALICE.claims;
      const added = [];
      let house;
      let visitor;

      before(async () => {
        const claims = () => ({ ...ALICE.claims, groups: [...groups, ...added] });
        const known = {
          issueRefreshToken: () => true,
          findAccount: (_, sub) => (gone.has(sub) ? undefined : { accountId: sub, claims }),
        };
        house = await startHouse({
          openIdp: async ({ redirectUris }) => ({
            ...(await startIdp({ redirectUris, configuration: { ...known, ...configuration } })),
            settings: { ...OIDC, ...settings },
          }),
          accessTtl: '1s',
          tokens: { recheck_after: `${RECHECK_AFTER}s` },
        });
      });
      after(async () => {
        await visitor?.close();
        await house?.stop();
      });

      it('lets her sign in, and the upstream is told who she is', async () => {
        visitor = await Visitor.signIn(alice, house.doorman.resource);

        assert.ok(await visitor.visit());

        const { headers } = house.upstream.requests.at(-1);
        assert.equal(headers['x-forwarded-user'], 'alice');
        assert.equal(headers['x-forwarded-groups'], 'mcp-users');
        assert.match(house.idp.issued().find(isAccessToken), accessToken);
        assert.equal('groups' in claimsOf(house.idp.issued()[0]), settings?.identity !== 'userinfo');
      });

      it('is never told the resource', async () => {
        const pages = alice.browser.trail.map((url) => new URL(url));
        const asked = pages.filter(({ origin }) => origin === house.idp.issuer);

        assert.ok(asked.some(({ searchParams }) => searchParams.has('code_challenge')));
        assert.ok(asked.every(({ searchParams }) => !searchParams.has('resource')));
        if (!refusesResource) return;
        const other = new URL(asked[0]);
        other.searchParams.set('resource', house.doorman.resource);
        const { headers } = await fetch(other, { redirect: 'manual' });
        assert.equal(new URL(headers.get('location')).searchParams.get('error'), 'invalid_target');
      });

      it('is asked about her time and again', async () => {
        const tokens = () => new Set(house.idp.issued().filter(isRefreshToken));
        const before = house.idp.issued().length;

        for (const answers of [1, 2, 3]) {
          await until(`answer ${answers}`, async () => {
            assert.ok(await visitor.visit(), 'let in, all the time');
            return house.idp.issued().length >= before + answers * TOKENS_PER_ANSWER;
          });
        }

        if (refreshTokens === 'replaced') assert.ok(tokens().size >= 4, `${tokens().size} refresh tokens`);
        if (refreshTokens === 'stay') assert.equal(tokens().size, 1);
      });

      it('is asked for her groups anew', async () => {
        added.push('on-call');

        await until('the upstream is told', async () => {
          assert.ok(await visitor.visit(), 'let in, all the time');
          return house.upstream.requests.at(-1).headers['x-forwarded-groups'] === 'mcp-users,on-call';
        });
      });

      it('does not know her any more, and she is out in time', async () => {
        gone.add('alice');

        await visitor.isOutWithin(RECHECK_AFTER + SLACK);
      });

      it('the log tells no secret', () => assertLogsTellNoSecret(house, { clients: [visitor], people: [alice] }));

      // As `issued` has them: ID token, access token, refresh token.
      const isAccessToken = (_, at) => at % TOKENS_PER_ANSWER === 1;
      const isRefreshToken = (_, at) => at % TOKENS_PER_ANSWER === 2;
    });
  }
});

function resources(settings) {
  return { devInteractions: { enabled: false }, resourceIndicators: { enabled: true, ...settings } };
}

function api() {
  return { scope: '', audience: API, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
}

/** RFC 8707 §2 */
function refuse() {
  throw new errors.InvalidTarget();
}

function claimsOf(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
}

const TOKENS_PER_ANSWER = 3;
