/**
 * /etc/ha.d/OnlyForTesting: what is to be lost on purpose. Read at the start and at SIGHUP; without the file nothing is.
 *
 *     rcvloss=0.3              so many of the datagrams that come
 *     xmitloss=0.3             so many of those that go, on each medium for itself
 *     allownodes=node-a;b;     the others are not heard
 *
 * Words and parameters: heartbeat 3.0.6 observed.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { decodeHaMessage, fieldOf } from '../wire/hamsg.js';

const FILE = '/etc/ha.d/OnlyForTesting';

interface Losses {
  readonly receive: number; // probability
  readonly transmit: number;
  readonly allowed: ReadonlySet<string> | null; // null: every node
}

const NOTHING: Losses = { receive: 0, transmit: 0, allowed: null };

type Log = (level: 'info' | 'ERROR', text: string) => void;

export class TestingLoss {
  readonly #path: string;
  readonly #log: Log;
  readonly #random: () => number;
  #losses: Losses | null = null; // null: no file

  /** `random`: from 0 to 1, without 1. */
  constructor(root: string, log: Log, random: () => number = Math.random) {
    this.#path = root + FILE;
    this.#log = log;
    this.#random = random;
  }

  /** At the start. */
  read(): void {
    let text: string | null = null;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch {
      // usual
    }
    this.#take(text);
  }

  /** Later: nobody waits for a file that hangs. */
  async readAgain(): Promise<void> {
    this.#take(await readFile(this.#path, 'utf8').catch(() => null));
  }

  isReceived(datagram: Uint8Array): boolean {
    const { receive, allowed } = this.#losses ?? NOTHING;
    if (receive > 0 && this.#random() < receive) return false;
    if (!allowed) return true;
    const decoded = decodeHaMessage(datagram);
    return decoded.ok && allowed.has((fieldOf(decoded.message, 'src') ?? '').toLowerCase());
  }

  isSent(): boolean {
    const { transmit } = this.#losses ?? NOTHING;
    return transmit === 0 || this.#random() >= transmit;
  }

  #take(text: string | null): void {
    if (text === null) {
      if (this.#losses) this.#log('info', 'Test Code Now disabled.');
      this.#losses = null;
      return;
    }
    this.#log('info', 'WARNING: Enabling Test Code');
    let losses = NOTHING;
    for (const line of text.split('\n')) {
      const [, name = '', value = ''] = /^([a-zA-Z_]+)=(.*)$/.exec(line.trim()) ?? [];
      if (name !== '') losses = this.#parameter(losses, name, value.trim());
    }
    this.#log('info', 'WARNING: Above Options Now Enabled.');
    this.#losses = losses;
  }

  #parameter(losses: Losses, name: string, value: string): Losses {
    if (name === 'allownodes') {
      this.#log('info', `Allow nodes = ${value}`);
      const nodes = value.split(';').filter((node) => node !== '');
      return { ...losses, allowed: new Set(nodes.map((node) => node.toLowerCase())) };
    }
    const probability = Number(value);
    if ((name !== 'rcvloss' && name !== 'xmitloss') || !(probability >= 0 && probability <= 1)) {
      this.#log('ERROR', `Cannot recognize test param [${name}] in [/etc/ha.d//OnlyForTesting]`);
      return losses;
    }
    const isReceive = name === 'rcvloss';
    const what = isReceive ? 'Receive' : 'Xmit';
    this.#log('info', `${what} loss probability = ${probability.toFixed(3)}`);
    return isReceive ? { ...losses, receive: probability } : { ...losses, transmit: probability };
  }
}
