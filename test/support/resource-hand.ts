/** A node's resource state and permission machines in the hand of a test, which speaks as the peer `b`, ends the jobs and fences. */
import type { FenceAnswer } from '../../src/resource-manager/answers.js';
import type { Hold } from '../../src/resource-manager/hold.js';
import { Permission, type PermissionEffect } from '../../src/resource-manager/permission.js';
import type { ResourceEffect } from '../../src/resource-manager/resource-machine.js';
import { ResourceState } from '../../src/resource-manager/resource-state.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';

export interface HandOptions {
  readonly autoFailback?: boolean;
  readonly resume?: Hold;
  readonly stonith?: boolean;
  readonly delayMs?: number; // of fail-back
  readonly needsData?: boolean;
  readonly movesPerHour?: number;
  readonly onDisks?: Hold;
}

/** One node; own messages come back as the membership delivers them. */
export class Hand {
  readonly state: ResourceState;
  readonly sent: string[] = [];
  readonly jobs: { id: number; what: string }[] = [];
  readonly logs: string[] = [];
  readonly others: string[] = [];
  readonly permission: Permission;
  readonly fences: number[] = []; // resets that were asked for
  looks = 0; // at our own disks: the id of the latest
  nowMs = 0;

  constructor({
    autoFailback,
    resume,
    stonith,
    delayMs,
    needsData,
    movesPerHour,
    ...more
  }: HandOptions) {
    this.state = new ResourceState({
      node: 'a',
      peer: 'b',
      failBack: {
        wanted: autoFailback ?? false,
        delayMs: delayMs ?? 0,
        needsData: needsData ?? false,
      },
      movesPerHour: movesPerHour ?? 0,
      onDisks: more.onDisks ?? 'none',
      resume: resume ?? 'none',
      homes: '',
    });
    this.permission = new Permission({ peer: 'b', stonith: stonith ?? false, fenceDelayMs: 0 });
  }

  apply(effects: readonly ResourceEffect[]): void {
    for (const e of effects) {
      if (e.type === 'send') {
        this.sent.push(text(e.message));
        this.say(e.message, true);
      } else if (e.type === 'job') this.jobs.push({ id: e.id, what: `${e.kind} ${e.scope}` });
      else if (e.type === 'log') this.logs.push(e.text);
      else if (e.type === 'permission') {
        const { id, needed } = e;
        this.#door((p, out) => p.ask(id, needed, true, this.nowMs, out));
      } else if (e.type === 'own-data') this.looks = e.id;
      else if (e.type === 'withdraw') this.permission.withdraw();
      else this.others.push(e.type);
    }
  }

  #door(action: (permission: Permission, out: PermissionEffect[]) => void): void {
    const out: PermissionEffect[] = [];
    action(this.permission, out);
    for (const e of out) {
      if (e.type === 'fence') this.fences.push(e.id);
      else if (e.type === 'permitted') this.call((s, more) => s.permitted(e.id, this.nowMs, more));
      else if (e.type === 'told') this.sent.push(`stonith(${e.node},${e.result})`);
      else if (e.type === 'log') this.logs.push(e.text);
    }
  }

  /** The oldest reset that was asked for ends. */
  fenced(answer: FenceAnswer): void {
    const id = this.fences.shift() ?? 0;
    this.#door((p, out) => p.fenced(id, answer, this.nowMs, out));
  }

  say(message: HaMessage, own = false): void {
    const out: ResourceEffect[] = [];
    const src = { name: 'src', value: own ? 'a' : 'b' };
    this.state.receive([...message, src], own, this.nowMs, out);
    this.apply(out);
  }

  /** The peer says R(hold, stable) or anything else. */
  hear(fields: Readonly<Record<string, string>>): void {
    this.say(haFields(fields));
  }

  resource(hold: string, isstable: string, more: Readonly<Record<string, string>> = {}): void {
    this.hear({ t: 'resource', rsc_hold: hold, rtype: 'full', isstable, ...more });
  }

  ask(rsc: string, info: string): void {
    this.hear({ t: 'ask_resources', rsc_hold: rsc, info });
  }

  call(action: (state: ResourceState, out: ResourceEffect[]) => void): void {
    const out: ResourceEffect[] = [];
    action(this.state, out);
    this.apply(out);
  }

  until(ms: number): void {
    this.nowMs = ms;
    this.#door((p, out) => p.tick(ms, out));
    this.call((s, out) => s.tick(ms, out));
  }

  finishJobs(): void {
    for (let job = this.jobs.shift(); job; job = this.jobs.shift()) {
      const { id } = job;
      this.call((s, out) => s.jobDone(id, this.nowMs, out));
    }
  }

  clear(): void {
    this.sent.length = 0;
    this.logs.length = 0;
  }

  /** Both started, each with its own groups. */
  static stable(options: HandOptions = {}): Hand {
    const hand = new Hand(options);
    hand.call((s, out) => s.active(0, out));
    hand.hear({ t: 'starting' });
    hand.resource('none', '0');
    hand.resource('local', '1');
    hand.finishJobs();
    hand.clear();
    return hand;
  }
}

/** R(hold,stable[,info]), ASK(rsc,info), or the type. */
function text(message: HaMessage): string {
  const f = (name: string) => fieldOf(message, name);
  if (f('t') === 'resource') {
    return `R(${[f('rsc_hold'), f('isstable'), f('info')].filter((v) => v !== null).join(',')})`;
  }
  if (f('t') === 'ask_resources') return `ASK(${f('rsc_hold')},${f('info')})`;
  if (f('t') === 'stonith') return `stonith(${f('node')},${f('result')})`;
  return f('t') ?? '';
}
