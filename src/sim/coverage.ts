/** Which states, transitions, role pairs, rules of uuid_compare and handlers the runs have reached. */
import { connName, diskName, roleName, type State } from '../drbd/state.js';

export type Counts = Readonly<Record<string, number>>;

export interface CoverageReport {
  readonly cstate: Counts;
  readonly dstate: Counts;
  readonly pdsk: Counts;
  readonly roles: Counts;
  readonly uuidRule: Counts;
  readonly transition: Counts; // of the connection
  readonly handler: Counts;
  readonly step: Counts; // faults and operator's steps by kind
}

export class Coverage {
  readonly #counts = new Map<string, Map<string, number>>();

  #count(kind: string, what: string): void {
    let counts = this.#counts.get(kind);
    if (!counts) {
      counts = new Map();
      this.#counts.set(kind, counts);
    }
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }

  state(s: State): void {
    this.#count('cstate', connName(s.conn));
    this.#count('dstate', diskName(s.disk));
    this.#count('pdsk', diskName(s.pdsk));
    this.#count('roles', `${roleName(s.role)}/${roleName(s.peer)}`);
  }

  log(text: string): void {
    const rule = /^uuid_compare\(\)=(-?\d+) by rule (\d+)/.exec(text);
    if (rule) this.#count('uuidRule', `${rule[2]} (${rule[1]})`);
    const conn = /conn\( (\S+ -> \S+) \)/.exec(text);
    if (conn?.[1]) this.#count('transition', conn[1]);
  }

  handler(event: string, exit: number): void {
    this.#count('handler', `${event} ${exit}`);
  }

  step(kind: string): void {
    this.#count('step', kind);
  }

  report(): CoverageReport {
    const of = (kind: string): Counts =>
      Object.fromEntries([...(this.#counts.get(kind) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)));
    return {
      cstate: of('cstate'),
      dstate: of('dstate'),
      pdsk: of('pdsk'),
      roles: of('roles'),
      uuidRule: of('uuidRule'),
      transition: of('transition'),
      handler: of('handler'),
      step: of('step'),
    };
  }
}

/** The sum over several runs. */
export function addCoverage(a: CoverageReport | null, b: CoverageReport): CoverageReport {
  if (a === null) return b;
  const sum = (x: Counts, y: Counts): Counts => {
    const out: Record<string, number> = { ...x };
    for (const [what, n] of Object.entries(y)) out[what] = (out[what] ?? 0) + n;
    return out;
  };
  return {
    cstate: sum(a.cstate, b.cstate),
    dstate: sum(a.dstate, b.dstate),
    pdsk: sum(a.pdsk, b.pdsk),
    roles: sum(a.roles, b.roles),
    uuidRule: sum(a.uuidRule, b.uuidRule),
    transition: sum(a.transition, b.transition),
    handler: sum(a.handler, b.handler),
    step: sum(a.step, b.step),
  };
}
