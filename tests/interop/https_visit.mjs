// One visit for https.test.mjs: a login, and a call. The command line names the resource, then login and password.
import { Application } from './client.mjs';
import { Person } from './person.mjs';

const [resource, login, password] = process.argv.slice(2);
const client = await Application.install();
await client.signIn(new Person({ login, password }), resource);
const mcp = await client.connect(resource);
const answer = await mcp.callTool({ name: 'echo', arguments: { message: 'over https' } });
console.log(answer.content[0].text);
await client.close();
process.exit();
