// Loaded into the MCP server's process before the server, which it leaves as it is. It tells the test what
// arrived, and keeps the server, which would listen on every address, on loopback.
import { subscribe } from 'node:diagnostics_channel';
import net from 'node:net';

subscribe('http.server.request.start', ({ request: { method, url, headers } }) => {
  process.send({ method, url, headers });
});

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, Number(port), '127.0.0.1', ...rest);
};
