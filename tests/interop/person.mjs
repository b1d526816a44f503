// What a person does at the browser to sign in.
import assert from 'node:assert/strict';

import { Browser } from './browser.mjs';
import { ALICE } from './idp.mjs';

export const APPROVE = ['decision', 'approve'];
export const LOG_IN = ['do', 'login'];
export const CANCEL = ['do', 'cancel'];

/** Somebody whom the IdP knows, at a browser of their own. */
export class Person {
  browser = new Browser();
  #account;

  constructor(account = ALICE) {
    this.#account = account;
  }

  /**
   * Open doorman's page, approve of the client, and log in at the IdP unless it remembers this browser. Ends
   * where the client is listening.
   */
  async signIn(page) {
    const next = await this.approve(await this.open(page));
    return next.forms.some(({ buttons }) => buttons.length > 0) ? this.logIn(next) : next;
  }

  async open(url) {
    const page = await this.browser.open(url);
    assert.equal(page.status, 200, `${page.url} answered ${page.status}: ${page.body}`);
    return page;
  }

  approve(consent) {
    return this.browser.submit(consent, APPROVE);
  }

  /** Press whichever button of the consent page does not approve. */
  deny(consent) {
    const form = consent.forms.find(({ buttons }) => buttons.some(([, value]) => value === APPROVE[1]));
    const refusal = form?.buttons.find(([name, value]) => name === APPROVE[0] && value !== APPROVE[1]);
    assert.ok(refusal, `no way to say no: ${consent.body}`);
    return this.browser.submit(consent, refusal);
  }

  logIn(form, { password = this.#account.password } = {}) {
    return this.browser.submit(form, LOG_IN, { login: this.#account.login, password });
  }
}
