// The tools, resources and prompts of conformance_server.mjs: those that scenarios of the suite ask for by name.
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';

import {
  acceptedContent,
  CLIENT_CAPABILITIES_META_KEY,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  McpServer,
  ResourceTemplate,
} from '@modelcontextprotocol/server';

/** A server for one session, or one request. `leave` breaks off the answer that a session is waiting for. */
export function makeServer({ notify, leave }) {
  const server = new McpServer(
    { name: 'conformance', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: states.verify },
    },
  );

  for (const [name, { takes = NOTHING, run }] of Object.entries({ ...TOOLS, ...ASKING })) {
    server.registerTool(name, { description: name, inputSchema: fromJsonSchema(takes) }, run);
  }
  tell(server, 'test_trigger_tool_change', notify.toolsChanged);
  tell(server, 'test_trigger_prompt_change', notify.promptsChanged);
  const reconnect = async (_, { sessionId, mcpReq }) => {
    leave(sessionId, mcpReq.id);
    await pause(100);
    return says('back again');
  };
  server.registerTool(
    'test_reconnection',
    { description: 'Breaks off', inputSchema: fromJsonSchema(NOTHING) },
    reconnect,
  );

  for (const [name, uri, mimeType, content] of RESOURCES) {
    const read = () => ({ contents: [{ uri, mimeType, ...content }] });
    server.registerResource(name, uri, { title: name, description: name, mimeType }, read);
  }
  const template = new ResourceTemplate('test://template/{id}/data', { list: undefined });
  server.registerResource(
    'template',
    template,
    { description: 'By id', mimeType: 'application/json' },
    (uri, { id }) => {
      return { contents: [{ uri: String(uri), mimeType: 'application/json', text: JSON.stringify({ id }) }] };
    },
  );
  for (const [name, { takes, get }] of Object.entries(PROMPTS)) {
    server.registerPrompt(name, { description: name, ...(takes && { argsSchema: fromJsonSchema(takes) }) }, get);
  }

  for (const method of ['logging/setLevel', 'resources/subscribe', 'resources/unsubscribe']) {
    server.server.setRequestHandler(method, () => ({}));
  }
  server.server.setRequestHandler('completion/complete', () => ({
    completion: { values: [], total: 0, hasMore: false },
  }));
  return server;
}

/** What was sent, for clients that come back with `Last-Event-ID`. */
export class Events {
  #sent = [];

  async storeEvent(stream, message) {
    const id = `${stream}/${this.#sent.length}`;
    this.#sent.push({ id, stream, message });
    return id;
  }

  async replayEventsAfter(last, { send }) {
    const at = this.#sent.findIndex(({ id }) => id === last);
    const { stream } = this.#sent[at];
    for (const event of this.#sent.slice(at + 1)) {
      if (event.stream === stream && event.message?.jsonrpc) await send(event.id, event.message);
    }
    return stream;
  }
}

function tell(server, name, notify) {
  const run = () => (notify(), says('told'));
  server.registerTool(name, { description: name, inputSchema: fromJsonSchema(NOTHING) }, run);
}

const states = createRequestStateCodec({ key: randomBytes(32) });
const text = (said) => ({ type: 'text', text: said });
const says = (said) => ({ content: [text(said)] });
const user = (content) => ({ messages: [{ role: 'user', content }] });
const takes = (types) => {
  const properties = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, { type }]));
  return { type: 'object', properties, required: Object.keys(types) };
};
const NOTHING = { type: 'object', properties: {} };

// One red point; two bytes of silence.
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const IMAGE = { type: 'image', data: PNG, mimeType: 'image/png' };
const AUDIO = {
  type: 'audio',
  data: 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=',
  mimeType: 'audio/wav',
};
const embedded = (uri) => ({ type: 'resource', resource: { uri, mimeType: 'text/plain', text: 'embedded' } });

const logs = async (_, { mcpReq }) => {
  for (const data of ['begun', 'half done', 'done']) {
    await mcpReq.notify({ method: 'notifications/message', params: { level: 'info', data } });
    await pause(50);
  }
  return says('logged');
};

const elicits = (requestedSchema) => ({
  run: async ({ message = 'What do you say?' }, { mcpReq }) => {
    const params = { message, requestedSchema };
    return says(JSON.stringify(await mcpReq.send({ method: 'elicitation/create', params })));
  },
});

const CHOICES = ['one', 'two', 'three'];
const TITLED = CHOICES.map((choice) => ({ const: choice, title: `The ${choice}` }));

const TOOLS = {
  test_simple_text: { run: () => says('some text') },
  test_image_content: { run: () => ({ content: [IMAGE] }) },
  test_audio_content: { run: () => ({ content: [AUDIO] }) },
  test_embedded_resource: { run: () => ({ content: [embedded('test://embedded-resource')] }) },
  test_multiple_content_types: {
    run: () => ({ content: [text('some text'), IMAGE, embedded('test://mixed-content-resource')] }),
  },
  test_tool_with_logging: { run: logs },
  test_logging_tool: { run: async (_, { mcpReq }) => (await mcpReq.log('info', 'ran'), says('logged if wanted')) },
  test_streaming_elicitation: { run: () => says('nothing was asked') },
  test_error_handling: {
    run: () => {
      throw new Error('This tool always fails');
    },
  },
  test_tool_with_progress: {
    run: async (_, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
        await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
        await pause(50);
      }
      return says(String(progressToken));
    },
  },
  test_sampling: {
    takes: takes({ prompt: 'string' }),
    run: async ({ prompt }, { mcpReq }) => {
      const params = { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 };
      return says(JSON.stringify(await mcpReq.send({ method: 'sampling/createMessage', params })));
    },
  },
  test_elicitation: { takes: takes({ message: 'string' }), ...elicits(takes({ response: 'string' })) },
  test_elicitation_sep1034_defaults: elicits({
    type: 'object',
    properties: {
      name: { type: 'string', default: 'John Doe' },
      age: { type: 'integer', default: 30 },
      score: { type: 'number', default: 95.5 },
      status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
      verified: { type: 'boolean', default: true },
    },
  }),
  test_elicitation_sep1330_enums: elicits({
    type: 'object',
    properties: {
      untitledSingle: { type: 'string', enum: CHOICES },
      titledSingle: { type: 'string', oneOf: TITLED },
      legacyEnum: { type: 'string', enum: CHOICES, enumNames: ['One', 'Two', 'Three'] },
      untitledMulti: { type: 'array', items: { type: 'string', enum: CHOICES } },
      titledMulti: { type: 'array', items: { anyOf: TITLED } },
    },
  }),
  test_x_mcp_header: {
    takes: {
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, level: { type: 'integer' } },
    },
    run: ({ region }) => says(`region ${region}`),
  },
  json_schema_2020_12_tool: {
    takes: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: {
          $anchor: 'address',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { required: ['address'] },
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    run: (input) => says(JSON.stringify(input)),
  },
};

const elicit = (name, type) =>
  inputRequired.elicit({ message: `Your ${name}?`, requestedSchema: takes({ [name]: type }) });
const sample = (asked) =>
  inputRequired.createMessage({ messages: [{ role: 'user', content: text(asked) }], maxTokens: 50 });
const state = (said = {}) => states.mint({ ...said, nonce: randomUUID() });

/** Done as soon as each of `inputs` was answered; `withState`: and the state came back unharmed. */
const asks = (inputs, { withState = false } = {}) => ({
  run: async (_, { mcpReq }) => {
    const { inputResponses: given } = mcpReq;
    const isGiven = (name) =>
      inputs[name].method === 'elicitation/create' ? acceptedContent(given, name) : given?.[name];
    if (Object.keys(inputs).every(isGiven) && (!withState || mcpReq.requestState())) {
      return says(`state-ok: ${JSON.stringify(given)}`);
    }
    return inputRequired({ inputRequests: inputs, ...(withState && { requestState: await state() }) });
  },
});

// What SEP-2322 made of requests by the server: the answer says what is missing, and the client asks again.
const ASKING = {
  test_missing_capability: asks({ llm_answer: sample('Say pong') }),
  test_input_required_result_elicitation: asks({ user_name: elicit('name', 'string') }),
  test_input_required_result_sampling: asks({ capital_question: sample('What is the capital of France?') }),
  test_input_required_result_list_roots: asks({ client_roots: inputRequired.listRoots() }),
  test_input_required_result_request_state: asks({ confirm: elicit('ok', 'boolean') }, { withState: true }),
  test_input_required_result_tampered_state: asks({ confirm: elicit('ok', 'boolean') }, { withState: true }),
  test_input_required_result_multiple_inputs: asks(
    { user_name: elicit('name', 'string'), greeting: sample('Greet'), client_roots: inputRequired.listRoots() },
    { withState: true },
  ),
  test_input_required_result_multi_round: {
    run: async (_, { mcpReq }) => {
      const { round = 0 } = mcpReq.requestState() ?? {};
      if (round === 2) return says('both rounds are over');
      const step = { [`step${round + 1}`]: round === 0 ? elicit('name', 'string') : elicit('color', 'string') };
      return inputRequired({ inputRequests: step, requestState: await state({ round: round + 1 }) });
    },
  },
  test_input_required_result_capabilities: {
    run: (_, { mcpReq }) => {
      if (mcpReq.inputResponses) return says('answered');
      const { elicitation, sampling, roots } = mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
      const inputRequests = {
        ...(elicitation && { user_name: elicit('name', 'string') }),
        ...(sampling && { greeting: sample('Greet') }),
        ...(roots && { client_roots: inputRequired.listRoots() }),
      };
      return Object.keys(inputRequests).length > 0 ? inputRequired({ inputRequests }) : says('nothing can be asked');
    },
  },
};

const RESOURCES = [
  ['static-text', 'test://static-text', 'text/plain', { text: 'some text' }],
  ['static-binary', 'test://static-binary', 'image/png', { blob: PNG }],
  ['watched-resource', 'test://watched-resource', 'text/plain', { text: 'watched' }],
];

const PROMPTS = {
  test_simple_prompt: { get: () => user(text('a prompt')) },
  test_prompt_with_image: { get: () => user(IMAGE) },
  test_prompt_with_arguments: {
    takes: takes({ arg1: 'string', arg2: 'string' }),
    get: ({ arg1, arg2 }) => user(text(`with '${arg1}' and '${arg2}'`)),
  },
  test_prompt_with_embedded_resource: {
    takes: takes({ resourceUri: 'string' }),
    get: ({ resourceUri }) => user(embedded(resourceUri)),
  },
  test_input_required_result_prompt: {
    get: ({ mcpReq }) => {
      const answered = acceptedContent(mcpReq.inputResponses, 'user_context');
      if (answered) return user(text(answered.context));
      return inputRequired({ inputRequests: { user_context: elicit('context', 'string') } });
    },
  },
};
