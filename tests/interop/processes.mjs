// Processes, ports and waiting. Whatever is started here is stopped here, by its own process id.
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

const running = new Set();

/**
 * Start `command`. Its output is kept, and written to `log` for whoever looks for a fault later. With `input`
 * it has a stdin to `write` to.
 */
export function start(name, [command, ...args], { env, log, ipc = false, input = false }) {
  const child = spawn(command, args, {
    env,
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe', ...(ipc ? ['ipc'] : [])],
  });
  const file = createWriteStream(log, { flags: 'a' });
  const exited = once(child, 'close');
  let output = '';
  let failure;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      file.write(text);
    });
  }
  running.add(child);
  exited.then(
    () => running.delete(child),
    (error) => {
      failure = error;
      running.delete(child);
    },
  );

  return {
    pid: child.pid,
    onMessage: (listener) => child.on('message', listener),
    onLine: (listener) => createInterface({ input: child.stdout }).on('line', listener),
    write: (text) => child.stdin.write(text),
    output: () => output,
    /** Throws if the process is gone: nothing that waits for it needs to wait longer. */
    assertRunning() {
      if (running.has(child)) return;
      const how = failure?.message ?? child.exitCode ?? child.signalCode;
      throw new Gone(`${name} has ended (${how}):\n${output}`);
    },
    /** Wait until it has ended by itself. */
    ended: () => exited,
    /** Ask it to end; insist after ten seconds. Returns its exit code, `null` if a signal ended it. */
    async stop() {
      if (running.has(child)) {
        child.kill('SIGTERM');
        const patience = setTimeout(() => child.kill('SIGKILL'), 10_000);
        await exited;
        clearTimeout(patience);
      }
      return child.exitCode;
    },
    /** End it as a fault of the machine would: it can neither finish nor tidy up. */
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Somebody else has started process `pid`: it must not outlive the test either. Returns how to forget it. */
export function adopt(pid) {
  const child = { kill: (signal) => attempt(() => process.kill(pid, signal)) };
  running.add(child);
  return () => running.delete(child);
}

/** Wait until `check` returns something truthy, and return that. An error thrown by it means "not yet". */
export async function until(what, check, { seconds = 30, process } = {}) {
  const deadline = Date.now() + seconds * 1000;
  let cause;
  while (Date.now() < deadline) {
    process?.assertRunning();
    try {
      const result = await check();
      if (result) return result;
    } catch (error) {
      if (error instanceof Gone) throw error;
      cause = error;
    }
    await pause(50);
  }
  throw new Error(`waited ${seconds} s in vain: ${what}`, { cause });
}

/**
 * A port of 127.0.0.1 that was free a moment ago. Below those that the system gives away by itself: one of
 * these could be gone to some connection before it is used. Each test file is a process and has ports of its
 * own, one after the other, for the same reason.
 */
export async function freePort() {
  for (;;) {
    const port = 10_000 + (process.pid % FILES) * PORTS + (nextPort++ % PORTS);
    const server = net.createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch (error) {
      if (error.code === 'EADDRINUSE') continue;
      throw error;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

const FILES = 40;
const PORTS = 550;
let nextPort = randomInt(PORTS);

function attempt(action) {
  try {
    return action();
  } catch {
    return false;
  }
}

class Gone extends Error {}

// A test that was cut short must not leave anything behind.
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(1));
}
