/**
 * twinbeat agent: tells load balancers whether this node serves. A process of its own: whoever connects to it cannot hold up the daemon,
 * which it asks by the control socket each time anew. twinbeat maint: takes this node out, for them alone.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import { type AgentAnswer, agentAnswer, agentHttp, agentLine } from '../host/agent-answer.js';
import {
  type AgentAddress,
  type AgentKind,
  parseAgentAddress,
  serveAgent,
} from '../real/agent-server.js';
import { exitNow } from '../real/native-addon.js';
import { hasHangingThread, within } from '../real/within.js';
import { heartbeatReport } from './heartbeat-client.js';
import { rooted, UsageError, type World } from './world.js';

/** Outlives a restart of the machine: it is an operator's word. */
const MAINT = '/var/lib/twinbeat/agent.maint';

export interface AgentFlags {
  readonly agent?: string;
  readonly http?: string;
  readonly group?: string;
}

/** Why an operator has taken this node out; null: not. */
async function maintOf(root: string): Promise<string | null> {
  try {
    return (await readFile(rooted(root, MAINT), 'utf8')).trim() || 'by an operator';
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
    return `${MAINT} cannot be read`; // rather out than in
  }
}

/**
 * An answer that took longer may be of a time when this node ran something that it does not run any more: it stood still. And nobody waits
 * longer: HAProxy's agent-check gives up after agent-inter, and what it was told before holds on.
 */
const OLD_MS = 1000;

/** Asked once for all that want to know at the same time. Who comes after OLD_MS of it hears at once that nothing is known. */
class Asked {
  readonly #root: string;
  readonly #group: string | null;
  #underWay: { readonly begun: number; readonly answer: Promise<AgentAnswer> } | null = null;

  constructor(root: string, group: string | null) {
    this.#root = root;
    this.#group = group;
  }

  async answer(): Promise<AgentAnswer> {
    if (!this.#underWay) {
      const answer = this.#ask().finally(() => {
        this.#underWay = null;
      });
      this.#underWay = { begun: performance.now(), answer };
    }
    const { begun, answer } = this.#underWay;
    let known: AgentAnswer | null = null;
    const done = answer.then((each) => {
      known = each;
    });
    await within(Math.max(0, begun + OLD_MS - performance.now()), done);
    return known ?? this.#unknown(`no answer within ${OLD_MS} ms`);
  }

  #unknown(reason: string): AgentAnswer {
    return agentAnswer({ report: null, reason }, this.#group, null);
  }

  async #ask(): Promise<AgentAnswer> {
    const begun = performance.now();
    try {
      const [found, maint] = await Promise.all([heartbeatReport(this.#root), maintOf(this.#root)]);
      const tookMs = Math.round(performance.now() - begun);
      if (tookMs > OLD_MS && found.report) return this.#unknown(`answered after ${tookMs} ms`);
      return agentAnswer(found, this.#group, maint);
    } catch (e) {
      return this.#unknown(`heartbeat: ${(e as Error).message}`); // of another version, perhaps
    }
  }
}

function addressOf(kind: AgentKind, text: string | undefined): AgentAddress[] {
  if (text === undefined) return [];
  const address = parseAgentAddress(kind, text);
  if (address) return [address];
  throw new UsageError(
    `twinbeat agent: --${kind}: expected ADDRESS:PORT or [ADDRESS]:PORT, got '${text}'`,
    2,
  );
}

/** On the ports of `flags`, until TERM or INT: 0. 1: a port cannot be had. */
export async function agentMain(flags: AgentFlags, world: World): Promise<number> {
  const addresses = [...addressOf('agent', flags.agent), ...addressOf('http', flags.http)];
  const asked = new Asked(world.root, flags.group ?? null);
  const servers: Server[] = [];
  const close = (): void => {
    for (const server of servers) server.close();
  };
  for (const address of addresses) {
    const { kind, host } = address;
    try {
      const server = await serveAgent(address, async (hasBody) => {
        const answer = await asked.answer();
        return kind === 'agent' ? agentLine(answer) : agentHttp(answer, hasBody);
      });
      servers.push(server);
      const bound = server.address();
      const port = typeof bound === 'object' && bound ? bound.port : address.port;
      world.out(`${kind}: listening on ${host.includes(':') ? `[${host}]` : host}:${port}\n`);
    } catch (e) {
      close();
      world.err(`twinbeat agent: ${(e as Error).message}\n`);
      return 1;
    }
  }
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  close();
  return ended(0);
}

/** The file of the operator may hang, and with it a thread that nobody can end. */
function ended(status: number): number {
  if (hasHangingThread()) exitNow(status);
  return status;
}

/** What the balancers are told; 0 up, 1 drain or maint, 2 down. */
export async function agentOnce(group: string | null, world: World): Promise<number> {
  const { word, why } = await new Asked(world.root, group).answer();
  world.out(`${word}: ${why}\n`);
  return ended({ up: 0, drain: 1, maint: 1, down: 2 }[word]);
}

export function maintMain(action: string, why: readonly string[], world: World): number {
  const path = rooted(world.root, MAINT);
  if (action !== 'on' && action !== 'off') {
    throw new UsageError(`twinbeat maint: expected on or off, got '${action}'`, 2);
  }
  try {
    if (action === 'off') rmSync(path, { force: true });
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, `${why.join(' ').replace(/\s+/g, ' ')}\n`);
    }
  } catch (e) {
    world.err(`twinbeat maint: ${(e as Error).message}\n`);
    return 1;
  }
  return 0;
}
