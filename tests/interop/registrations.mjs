// The ways in which doorman comes to know a client, for the kinds of kinds.mjs. A way has a `name`, what the client
// has of it: `credentials(documents)`, where `documents` is the host of its document, and what it `isKnownAs`.
export const BY_ITSELF = {
  name: 'registers itself',
  credentials: () => ({}),
  isKnownAs: (id) => id.startsWith('doorman_ci_'),
};

export const BY_DOCUMENT = {
  name: 'has a metadata document',
  credentials: ({ clientId }) => ({ document: clientId }),
  isKnownAs: (id, { clientId }) => id === clientId,
};

export const DECLARED = {
  name: 'was declared',
  credentials: () => ({ clientId: 'interop' }),
  isKnownAs: (id) => id === 'interop',
};

export const DECLARED_WITH_SECRET = {
  name: 'was declared with a secret',
  credentials: () => ({ clientId: 'interop-confidential', clientSecret: SECRET }),
  isKnownAs: (id) => id === 'interop-confidential',
};

export const WAYS = [BY_ITSELF, BY_DOCUMENT, DECLARED, DECLARED_WITH_SECRET];

// As clients publish it, who don't know their port before.
const REDIRECT_URIS = ['http://127.0.0.1/callback', 'http://localhost/oauth/callback'];
const NAME = 'Interop client';

/** What the clients with a document publish (documents.mjs). */
export const DOCUMENT = {
  client_name: NAME,
  redirect_uris: REDIRECT_URIS,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
};

/** The settings of a doorman that knows a client in each of the ways, with `documents` where theirs is. */
export function acceptAll(documents) {
  return {
    registration: { metadata_documents: true, allow_private_metadata_hosts: true },
    declared: [
      { id: 'interop', name: NAME, redirect_uris: REDIRECT_URIS },
      { id: 'interop-confidential', name: NAME, redirect_uris: REDIRECT_URIS, secret: { env: 'CLIENT_SECRET' } },
    ],
    env: { SSL_CERT_FILE: documents.certificate, CLIENT_SECRET: SECRET },
  };
}

const SECRET = 'a-secret-that-the-operator-made-up';
