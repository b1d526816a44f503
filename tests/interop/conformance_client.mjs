// A client for the conformance suite's scenarios: `conformance_client.mjs URL` does what the scenario that the suite
// names in the environment wants done at the server there. With MCP_DOORMAN_BIN it puts a doorman before that server,
// logs in, and goes through it. The TypeScript SDK 2.x, in the era that the scenario is of.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { Application } from './client.mjs';
import { startHouse } from './house.mjs';
import { Person } from './person.mjs';

const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_PROTOCOL_VERSION: version, MCP_DOORMAN_BIN } = process.env;
const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const isModern = version >= '2026-07-28';
const url = process.argv[2];

const SCENARIOS = {
  initialize: (mcp) => mcp.listTools(),
  tools_call: async (mcp) => {
    await mcp.listTools();
    await mcp.callTool({ name: 'add_numbers', arguments: { a: 5, b: 3 } });
  },
  'request-metadata': () => {},
  'sse-retry': async (mcp) => {
    await mcp.listTools();
    await mcp.callTool({ name: 'test_reconnection', arguments: {} });
  },
  'http-standard-headers': async (mcp) => {
    const [tool] = (await mcp.listTools()).tools;
    await mcp.callTool({ name: tool.name, arguments: {} });
    const [resource] = (await mcp.listResources()).resources;
    await mcp.readResource({ uri: resource.uri });
    const [prompt] = (await mcp.listPrompts()).prompts;
    await mcp.getPrompt({ name: prompt.name, arguments: {} });
  },
  'http-custom-headers': async (mcp) => {
    await mcp.listTools();
    for (const call of toolCalls) await mcp.callTool(call);
  },
};
// Their servers don't know `server/discover`, with which a client of that era begins.
const DISCOVERED_HERE = ['http-standard-headers', 'http-custom-headers'];

const server = { url, stop() {} };
const house = MCP_DOORMAN_BIN ? await startHouse({ startUpstream: () => server }) : undefined;
try {
  const headers = house ? { authorization: `Bearer ${await logIn(house.doorman)}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL(house?.doorman.resource ?? url), {
    requestInit: { headers },
    ...(DISCOVERED_HERE.includes(scenario) && { fetch: discoverHere }),
  });
  const capabilities = { roots: {}, sampling: {}, elicitation: {} };
  const negotiation = isModern && { versionNegotiation: { mode: 'auto' } };
  const mcp = new Client({ name: 'conformance', version: '1.0.0' }, { capabilities, ...negotiation });
  await mcp.connect(transport);
  await SCENARIOS[scenario](mcp);
  await mcp.close();
} finally {
  await house?.stop();
}

async function logIn({ resource }) {
  const application = await Application.install();
  await application.signIn(new Person(), resource);
  await application.close();
  return application.tokens.access_token;
}

function discoverHere(input, init) {
  const { method, id } = init?.body ? JSON.parse(init.body) : {};
  if (method !== 'server/discover') return fetch(input, init);
  const serverInfo = { name: 'mock', version: '1.0.0' };
  const result = {
    supportedVersions: [version],
    capabilities: { tools: {}, resources: {}, prompts: {} },
    _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo },
  };
  return Response.json({ jsonrpc: '2.0', id, result });
}
