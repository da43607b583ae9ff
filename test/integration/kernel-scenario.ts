/**
 * Scenarios for a pair of seats (kernel-seat.ts): a list of steps, and the trace of what two kernels made of them.
 *
 * test/golden/kernel-steps/NAME.steps is the list, one step in a line:
 *
 *     net OPTIONS, disk OPTIONS      of the resource; `size 64` takes the large disk instead of the 4 MiB one
 *     alice # COMMAND                a shell command; what it prints and its status are compared. both #: on alice, then on bob
 *     until alice PATTERN            waits for that in its line of /proc/drbd: "cs:.. ro:.. ds:.. protocol flags oos:KiB"
 *                                    until any PATTERN: of one of the two
 *     states                         both lines of /proc/drbd are compared
 *     put alice BLOCK COUNT WORD     writes and flushes blocks of 4 KiB, full of the word, through the device; `read alice BLOCK COUNT` compares
 *     gi alice                       the generations, while the resource is up; UUIDs have names A, B, C in their order of appearance
 *     cable down, cable up           silence between the two
 *     power alice off, power alice on
 *     connect, connect-clean         create-md and up on both; the latter then makes alice Primary, without a first sync
 *     note TEXT                      and lines that begin with a semicolon are for the reader
 *
 * At the end both go down, and what Debian's drbdmeta says of the meta-data and the sum of the data are compared.
 * NAME.VERSION.txt is the trace of two kernels that spoke that version of the protocol.
 */
import { createHash } from 'node:crypto';
import { SEATS, type SeatName, type SeatPair } from './kernel-seat.js';

export interface Cables {
  cable(to: 'up' | 'down'): Promise<void>;
}

export interface Scenario {
  readonly name: string;
  readonly net: string;
  readonly disk: string;
  readonly sizeMib: number;
  readonly protocolMax: number;
  readonly steps: readonly string[];
}

const CONNECT = [
  'both # drbdadm create-md --force r0',
  'both # drbdadm up r0',
  'until alice cs:Connected',
  'until bob cs:Connected',
  'states',
];
const CONNECT_CLEAN = [
  ...CONNECT,
  'alice # drbdadm new-current-uuid --clear-bitmap r0',
  'alice # drbdadm primary r0',
  'until bob ro:Secondary/Primary',
  'states',
];
/** Below version 90 a first sync cannot be skipped. */
const CONNECT_FULL = [
  ...CONNECT,
  'alice # drbdadm primary --force r0',
  'until alice cs:Connected.*ds:UpToDate/UpToDate',
  'until bob cs:Connected.*ds:UpToDate/UpToDate',
  'states',
];

export function parseScenario(name: string, text: string, protocolMax: number): Scenario {
  const macros: Readonly<Record<string, readonly string[]>> = {
    connect: CONNECT,
    'connect-clean': protocolMax < 90 ? CONNECT_FULL : CONNECT_CLEAN,
  };
  const options = { net: 'protocol C;', disk: '', size: '4' };
  const steps: string[] = [];
  for (const line of text.split('\n')) {
    const [word = '', ...rest] = line.trim().split(' ');
    if (word === '' || word.startsWith(';')) continue;
    if (word === 'net' || word === 'disk' || word === 'size') options[word] = rest.join(' ');
    else if (word === 'both') for (const seat of SEATS) steps.push([seat, ...rest].join(' '));
    else
      for (const step of macros[line.trim()] ?? [line.trim()]) {
        if (step.startsWith('both ')) for (const s of SEATS) steps.push(step.replace('both', s));
        else steps.push(step);
      }
  }
  const sizeMib = Number(options.size);
  return { name, net: options.net, disk: options.disk, sizeMib, protocolMax, steps };
}

/** What of a line may differ: how far a resync that runs has come. */
export function settledPart(line: string): string {
  return /cs:(Sync|PausedSync|Verify|Ahead|Behind)/.test(line)
    ? line.replace(/oos:\d+/, 'oos:*')
    : line;
}

/**
 * Names for UUIDs, in the order in which they appear. Bit 0 (was Primary) is no part of the identity, and left out: when a Primary that
 * is alone goes down, a kernel may or may not have written the current one once more without it.
 */
export class UuidNames {
  readonly #names = new Map<bigint, string>();

  of(uuid: string): string {
    const identity = BigInt(`0x${uuid}`) & ~1n;
    if (identity < 16n) return identity.toString(); // none, or just created
    const name = this.#names.get(identity) ?? String.fromCharCode(65 + this.#names.size);
    this.#names.set(identity, name);
    return name;
  }

  in(text: string): string {
    return text.replace(/\b[0-9A-F]{16}\b/g, (uuid) => this.of(uuid));
  }
}

/** What of our own follows the original's words when something is refused: the evidence, the rule, what to do. */
const EXPLANATION = /^ {2}(\S+ is cs:|rule: |try: )/;

/** Without the words that tell of the machine and not of DRBD. */
function comparable(out: string): string {
  return out
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => line !== '' && !EXPLANATION.test(line))
    .join('\n')
    .replaceAll(/(127\.0\.0\.1|10\.0\.3\.\d+):\d+/g, 'ADDRESS');
}

export class Play {
  readonly trace: string[] = [];
  readonly #pair: SeatPair;
  readonly #scenario: Scenario;
  readonly #cables: Cables;
  /** The trace of two kernels; null while it is recorded. */
  readonly #expected: readonly string[] | null;
  readonly #uuids = new UuidNames();

  constructor(
    pair: SeatPair,
    scenario: Scenario,
    cables: Cables,
    expected: readonly string[] | null,
  ) {
    this.#pair = pair;
    this.#scenario = scenario;
    this.#cables = cables;
    this.#expected = expected;
  }

  /** The trace, as far as it is what was expected, and what was different. */
  async run(): Promise<readonly string[]> {
    const { net, disk, sizeMib, steps, protocolMax } = this.#scenario;
    await this.#pair.begin({ net, disk }, sizeMib === 64 ? 1 : 0, protocolMax);
    for (const step of steps) {
      await this.#step(step);
      if (this.#differs()) return this.trace; // what comes after would only take time
    }
    await this.#finish();
    return this.trace;
  }

  #differs(): boolean {
    return this.#expected !== null && this.trace.some((line, i) => line !== this.#expected?.[i]);
  }

  async #step(step: string): Promise<void> {
    const [word = '', ...rest] = step.split(' ');
    if (word === 'alice' || word === 'bob') await this.#command(word, step.slice(word.length + 3));
    else if (word === 'until') await this.#until(rest[0], new RegExp(rest.slice(1).join(' ')));
    else if (word === 'states') await this.#states();
    else if (word === 'put') await this.#put(step, rest);
    else if (word === 'read') await this.#read(step, rest);
    else if (word === 'gi') await this.#gi(seatOf(rest[0]));
    else if (word === 'cable') {
      this.trace.push(step);
      await this.#cables.cable(rest[0] === 'up' ? 'up' : 'down');
    } else if (word === 'power') {
      this.trace.push(step);
      const seat = this.#pair.seats[seatOf(rest[0])];
      await (rest[1] === 'on' ? seat.powerOn() : seat.powerOff());
    } else if (word === 'note') this.trace.push(`(${rest.join(' ')})`);
    else throw new Error(`no such step: ${step}`);
  }

  async #command(name: SeatName, command: string): Promise<void> {
    this.trace.push(`[${name}] # ${command}`);
    const { status, out } = await this.#pair.seats[name].run(command);
    const said = comparable(out);
    if (said !== '') this.trace.push(...said.split('\n').map((line) => `  ${line}`));
    if (status !== 0) this.trace.push(`  (status ${status})`);
  }

  async #until(word: string | undefined, pattern: RegExp): Promise<void> {
    if (word !== 'any') await this.#pair.until(seatOf(word), pattern);
    else await Promise.any(SEATS.map((name) => this.#pair.until(name, pattern)));
  }

  async #states(): Promise<void> {
    // What two kernels came to is waited for; something else that stays shows in the trace.
    const wanted = this.#expected?.slice(this.trace.length, this.trace.length + 2) ?? null;
    let now: string[] = [];
    const look = async () => {
      const lines = await this.#pair.lines();
      now = SEATS.map((name) => `[${name}] ${settledPart(lines[name])}`);
      return wanted === null || wanted.every((line, i) => line === now[i]);
    };
    const lastMs = Date.now() + 20_000;
    while (!(await look()) && Date.now() < lastMs) await new Promise((go) => setTimeout(go, 30));
    this.trace.push(...now);
  }

  /** Flushed: what is in the epoch that is open is marked when the connection breaks, and when an epoch ends is not the same (docs/decisions/epochs.md). */
  async #put(step: string, rest: readonly string[]): Promise<void> {
    const [seat, block = '', count = '', word = ''] = rest;
    const bytes = 4096 * Number(count);
    const { status, out } = await this.#pair.seats[seatOf(seat)].run(
      `yes '${word}' | head -c ${bytes} >/tmp/put.$$ && dd if=/tmp/put.$$ of=/dev/drbd0 bs=${bytes} count=1 oflag=direct,seek_bytes seek=${4096 * Number(block)} conv=notrunc,fsync; s=$?; rm /tmp/put.$$; exit $s`,
    );
    this.trace.push(status === 0 ? step : `${step}: status ${status}`);
    if (status !== 0) this.trace.push(`  ${out.trim().split('\n').at(-1)}`);
  }

  async #read(step: string, rest: readonly string[]): Promise<void> {
    const [seat, block = '', count = ''] = rest;
    const { out } = await this.#pair.seats[seatOf(seat)].run(
      `dd if=/dev/drbd0 bs=4096 skip=${block} count=${count} iflag=direct 2>/dev/null | md5sum`,
    );
    this.trace.push(`${step}: ${out.slice(0, 32)}`);
  }

  async #gi(name: SeatName): Promise<void> {
    const { out } = await this.#pair.seats[name].run('drbdadm get-gi r0');
    this.trace.push(`[${name}] ${this.#uuids.in(out.trim())}`);
  }

  async #finish(): Promise<void> {
    await this.#cables.cable('up');
    for (const name of SEATS) {
      await this.#command(name, 'drbdadm down r0');
      if (name === 'alice') await this.#pair.until('bob', /cs:(WFConnection|StandAlone)|^-/);
    }
    for (const name of SEATS) {
      const seat = this.#pair.seats[name];
      const gi = await seat.meta('get-gi');
      this.trace.push(`[${name}] ${this.#uuids.in(gi.out.trim())}`);
      await seat.meta('apply-al');
      const dump = (await seat.meta('dump-md')).out;
      const sectors = Number(/la-size-sect (\d+);/.exec(dump)?.[1] ?? 0);
      const bits = /# bits-set (\d+);/.exec(dump)?.[1] ?? dump;
      const sum = createHash('md5')
        .update(seat.onDisk(sectors * 512))
        .digest('hex');
      this.trace.push(`[${name}] ${sectors} sectors, bits-set ${bits}, data ${sum}`);
    }
  }
}

function seatOf(word: string | undefined): SeatName {
  if (word !== 'alice' && word !== 'bob') throw new Error(`no such seat: ${word}`);
  return word;
}
