// Preloaded into the conformance suite, which can't be told a token: adds TOKEN to whatever it sends to ORIGIN, by
// undici (`fetch` too) and by node:http.
import { createRequire } from 'node:module';
import http from 'node:http';

const { ORIGIN, TOKEN } = process.env;
const bearer = `Bearer ${TOKEN}`;

// The one that the suite uses.
const { Agent, setGlobalDispatcher } = createRequire(process.argv[1])('undici');
const authorize = (dispatch) => (options, handler) => {
  const headers = String(options.origin) === ORIGIN ? withBearer(options.headers) : options.headers;
  return dispatch({ ...options, headers }, handler);
};
setGlobalDispatcher(new Agent().compose(authorize));

const send = http.request;
http.request = (options, ...rest) => {
  const request = send(options, ...rest);
  if (`http://${options.hostname}:${options.port}` === ORIGIN) request.setHeader('authorization', bearer);
  return request;
};

/** Headers come as an object, as pairs, or as names and values in turn. */
function withBearer(headers) {
  if (!headers?.[Symbol.iterator]) return { ...headers, authorization: bearer };
  const list = [...headers];
  return typeof list[0] === 'string' ? [...list, 'authorization', bearer] : [...list, ['authorization', bearer]];
}
