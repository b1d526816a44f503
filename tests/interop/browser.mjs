// A person's browser, as far as signing in needs one: cookies, redirects, forms and links; no scripts.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';

export class Browser {
  #cookies = new Map();
  /** Every URL that was asked for, in order. */
  trail = [];
  /** Whether to stop where a redirect leads to another origin, before anything there is asked for. */
  staysAtOrigin = false;
  /** Origins whose Secure cookies are taken over http. Chrome and Firefox take them from all of loopback, Safari none. */
  takesSecureCookiesFrom = new Set();

  /** Go to `url` as if it had been typed, or opened by another program. */
  open(url) {
    return this.#navigate({ method: 'GET', url: new URL(url) });
  }

  /** Fill in the form of `page` that has the button `press` (`[name, value]`; '' if it has none), and press it. */
  submit(page, press, values = {}) {
    const form = page.forms.find(({ buttons }) => buttons.some((button) => same(button, press)));
    if (!form) throw new Error(`no button ${press.join('=')} on ${page.url}:\n${page.body}`);
    const filled = form.fields.map(([name, value]) => [name, values[name] ?? value]);
    const fields = new URLSearchParams([...filled, press].filter(([name]) => name));
    const from = { origin: page.url.origin, policy: page.headers['referrer-policy'] };
    if (form.method === 'GET') {
      const url = new URL(form.action);
      url.search = fields;
      return this.#navigate({ method: 'GET', url, from });
    }
    return this.#navigate({ method: 'POST', url: form.action, body: fields.toString(), from });
  }

  async #navigate({ method, url, body, from }) {
    const hops = [];
    while (hops.length < MOST_REDIRECTS) {
      hops.push(url);
      this.trail.push(url.href);
      const response = await this.#send({ method, url, body, from, hops });
      const { location } = response.headers;
      if (!REDIRECTS.has(response.status) || !location) {
        return { ...response, url, forms: readForms(response.body, url), links: readLinks(response.body, url) };
      }
      const target = new URL(location, url);
      if (this.staysAtOrigin && target.origin !== url.origin) return { ...response, url: target, forms: [], links: [] };
      url = target;
      // Fetch standard: 307 and 308 repeat the request, the others turn a POST into a GET.
      if (response.status < 307) [method, body] = ['GET', undefined];
    }
    throw new Error(`more than ${MOST_REDIRECTS} redirects: ${hops.join(' ')}`);
  }

  async #send({ method, url, body, from, hops }) {
    const headers = {
      accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
      'accept-language': 'en',
      'user-agent': 'Mozilla/5.0 (mcp-doorman interop)',
      'upgrade-insecure-requests': '1',
      'sec-fetch-dest': 'document',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-user': '?1',
      'sec-fetch-site': site(from, hops),
      ...this.#cookieHeader(url),
    };
    if (body !== undefined) {
      headers['content-type'] = 'application/x-www-form-urlencoded';
      headers['content-length'] = Buffer.byteLength(body);
      // Fetch standard, "append a request Origin header": a page that forbids referrers posts as `null`.
      headers.origin = from.policy === 'no-referrer' ? 'null' : from.origin;
    }
    const { request: ask } = url.protocol === 'https:' ? https : http;
    const request = ask(url, { method, headers, agent: false, timeout: 20_000 });
    request.on('timeout', () => request.destroy(new Error(`no answer from ${url}`)));
    request.end(body);
    const [response] = await once(request, 'response');
    let text = '';
    for await (const part of response.setEncoding('utf8')) text += part;
    this.#keepCookies(url, response.headers['set-cookie'] ?? []);
    return { status: response.statusCode, headers: response.headers, body: text };
  }

  // Cookies belong to a host and a path, not to a port (RFC 6265 §8.5): the servers of a test share them.
  #keepCookies(url, lines) {
    for (const line of lines) {
      const [pair, ...rest] = line.split(';').map((part) => part.trim());
      const [name, value] = split(pair);
      const attributes = new Map(rest.map((part) => split(part)).map(([key, it]) => [key.toLowerCase(), it]));
      const isOverHttp = url.protocol === 'http:';
      if (isOverHttp && attributes.has('secure') && !this.takesSecureCookiesFrom.has(url.origin)) {
        throw new Error(`a Secure cookie over http from ${url}: ${name}`);
      }
      if (attributes.has('domain')) throw new Error(`a cookie for a whole domain from ${url}: ${name}`);
      const path = attributes.get('path') || url.pathname.replace(/\/[^/]*$/, '') || '/';
      const ends = attributes.has('max-age')
        ? Date.now() + Number(attributes.get('max-age')) * 1000
        : Date.parse(attributes.get('expires') ?? 'Fri, 31 Dec 9999 23:59:59 GMT');
      this.#cookies.set([url.hostname, path, name].join(' '), { host: url.hostname, path, name, value, ends });
    }
  }

  #cookieHeader(url) {
    const fitting = [...this.#cookies.values()].filter(
      ({ host, path, ends }) =>
        host === url.hostname &&
        ends > Date.now() &&
        (url.pathname === path || url.pathname.startsWith(path.replace(/\/?$/, '/'))),
    );
    if (fitting.length === 0) return {};
    return { cookie: fitting.map(({ name, value }) => `${name}=${value}`).join('; ') };
  }
}

/** `Sec-Fetch-Site`: the farthest that any hop is from the page that the person came from. */
function site(from, hops) {
  if (!from) return 'none';
  if (hops.every(({ origin }) => origin === from.origin)) return 'same-origin';
  const { hostname } = new URL(from.origin);
  return hops.every((hop) => hop.hostname === hostname) ? 'same-site' : 'cross-site';
}

function readForms(html, base) {
  return [...html.matchAll(/<form\b([^>]*)>(.*?)<\/form>/gis)].map(([, tag, inside]) => {
    const form = attributesOf(tag);
    const inputs = [...inside.matchAll(/<(input|button)\b([^>]*)>/gi)].map(([, element, text]) => {
      const attributes = attributesOf(text);
      const preset = element.toLowerCase() === 'button' ? 'submit' : 'text';
      return { type: preset, value: '', ...attributes };
    });
    const named = inputs.filter(({ name }) => name);
    const pairs = (list) => list.map(({ name, value }) => [name, value]);
    const unticked = ({ type, checked }) => ['checkbox', 'radio'].includes(type) && checked === undefined;
    return {
      action: new URL(form.action || base, base),
      method: (form.method ?? 'get').toUpperCase(),
      fields: pairs(named.filter((input) => input.type !== 'submit' && !unticked(input))),
      buttons: inputs.filter(({ type }) => type === 'submit').map(({ name = '', value }) => [name, value]),
    };
  });
}

function readLinks(html, base) {
  const targets = [...html.matchAll(/<a\b([^>]*)>/gi)].map(([, tag]) => attributesOf(tag).href);
  return targets.filter(Boolean).map((target) => new URL(target, base));
}

function attributesOf(tag) {
  const found = tag.matchAll(/([^\s=/]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g);
  const pairs = [...found].map(([, name, ...values]) => {
    const value = values.find((it) => it !== undefined) ?? '';
    return [name.toLowerCase(), unescape(value)];
  });
  return Object.fromEntries(pairs);
}

function unescape(text) {
  return text.replace(/&(?:#(\d+)|#x([\da-f]+)|(amp|lt|gt|quot|apos));/gi, (_, decimal, hex, name) =>
    name ? ENTITIES[name.toLowerCase()] : String.fromCodePoint(decimal ?? Number.parseInt(hex, 16)),
  );
}

function split(pair) {
  const at = pair.indexOf('=');
  return at < 0 ? [pair, ''] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
}

function same([name, value], [wantedName, wantedValue]) {
  return name === wantedName && value === wantedValue;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const MOST_REDIRECTS = 20;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
