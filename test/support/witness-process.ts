/** A real witness on loopback, and a client that asks it by hand. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { witnessKeyBytes } from '../../src/config/witness-keys.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import {
  decodeWitness,
  encodeWitness,
  isAnswerTo,
  type WitnessMessage,
  type WitnessRequestVerb,
} from '../../src/wire/witness.js';
import { until } from './until.js';

export const WITNESS_KEY = 'a-key-of-the-tests-0123456789';

export class WitnessProcess {
  readonly keyFile: string;
  readonly #child: ChildProcess;
  #said = '';
  status: number | null = null;

  private constructor(keyFile: string, leaseS: number, port: number) {
    this.keyFile = keyFile;
    const args = ['build/src/bin/twinbeat.js', 'witness', '--listen', `127.0.0.1:${port}`];
    const more = ['--key-file', keyFile, '--lease', String(leaseS)];
    this.#child = spawn(process.execPath, [...args, ...more]);
    const say = (chunk: Buffer) => {
      this.#said += chunk.toString();
    };
    this.#child.stdout?.on('data', say);
    this.#child.stderr?.on('data', say);
    this.#child.on('exit', (status) => {
      this.status = status ?? -1;
    });
  }

  /** `keys`: the file's text. Ends with the test. */
  static async start(
    t: ExecutionContext,
    leaseS: number,
    keys = `shop ${WITNESS_KEY}\n`,
    port = 0,
  ): Promise<WitnessProcess> {
    const dir = mkdtempSync(join(tmpdir(), 'witness-'));
    const keyFile = join(dir, 'keys');
    writeFileSync(keyFile, keys, { mode: 0o600 });
    const witness = new WitnessProcess(keyFile, leaseS, port);
    t.teardown(async () => {
      witness.signal('SIGKILL');
      await until(() => witness.status !== null, 'the end of the witness');
      rmSync(dir, { recursive: true });
    });
    await until(
      () => /silent for/.test(witness.said) || witness.status !== null,
      () => witness.said,
    );
    return witness;
  }

  get said(): string {
    return this.#said;
  }

  get port(): number {
    return Number(/listening on \S+ port (\d+)/.exec(this.#said)?.[1] ?? 0);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

export class WitnessClient {
  readonly #socket: Socket = createSocket('udp4');
  readonly #port: number;
  #count = 0;

  constructor(t: ExecutionContext, port: number) {
    this.#port = port;
    t.teardown(() => this.#socket.close());
  }

  /** Sent again every 50 ms, each time as a new request, until one is answered. */
  async ask(
    node: string,
    verb: WitnessRequestVerb,
    leaseMs: number,
    cluster = 'shop',
  ): Promise<WitnessMessage> {
    let answer: WitnessMessage | null = null;
    const sent: WitnessMessage[] = [];
    const listen = (bytes: Uint8Array): void => {
      const decoded = decodeWitness(bytes, () => witnessKeyBytes(WITNESS_KEY), nodeDigests);
      if (!decoded.ok) return;
      const { message } = decoded;
      if (sent.some((request) => isAnswerTo(message, request))) answer ??= message;
    };
    this.#socket.on('message', listen);
    const timer = setInterval(() => send(), 50);
    const send = (): void => {
      const request: WitnessMessage = {
        verb,
        generation: 1,
        count: ++this.#count,
        salt: 0n,
        leaseMs,
        released: 0,
        cluster,
        node,
        holder: '',
      };
      sent.push(request);
      const datagram = encodeWitness(request, witnessKeyBytes(WITNESS_KEY), nodeDigests);
      this.#socket.send(datagram, this.#port, '127.0.0.1');
    };
    send();
    await until(() => answer !== null, `an answer to ${node} ${verb}`);
    clearInterval(timer);
    this.#socket.off('message', listen);
    return answer as unknown as WitnessMessage;
  }
}
