/**
 * A control socket that answers as a test says and notes what it was asked: for the command line's side of the
 * protocol of host/control.ts. The root is a new directory; its /run/twinbeat/drbdd.sock is served.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ExecutionContext } from 'ava';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';

export interface ScriptedDrbdd {
  readonly root: string;
  readonly requests: ControlRequest[];
}

/** `answer` gives the reply, or the value of a good one; undefined is a good reply without value. */
export async function scriptedDrbdd(
  t: ExecutionContext,
  answer: (request: ControlRequest) => ControlReply | undefined,
): Promise<ScriptedDrbdd> {
  const root = mkdtempSync(join(tmpdir(), 'drbdd-'));
  mkdirSync(join(root, 'run/twinbeat'), { recursive: true });
  const requests: ControlRequest[] = [];
  const server = createServer((socket) => {
    createInterface({ input: socket }).on('line', (line) => {
      const { id, request } = JSON.parse(line) as { id: number; request: ControlRequest };
      requests.push(request);
      const reply = answer(request) ?? { ok: true, value: null };
      socket.write(`${JSON.stringify({ id, reply })}\n`);
    });
    socket.on('error', () => {});
  });
  t.teardown(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(root, { recursive: true });
  });
  await new Promise<void>((resolve) => {
    server.listen(join(root, 'run/twinbeat/drbdd.sock'), resolve);
  });
  return { root, requests };
}
