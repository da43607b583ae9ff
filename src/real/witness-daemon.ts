/**
 * The witness on a UDP socket: datagrams to the machine (host/witness-server.ts), its answers back. It reads its keys and writes
 * nothing but its log. SIGHUP reads the keys again; a file that is refused leaves those in force that are.
 */
import { createSocket, type RemoteInfo } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { parseWitnessKeys } from '../config/witness-keys.js';
import { type WitnessEffect, type WitnessKeys, WitnessServer } from '../host/witness-server.js';
import { nodeDigests } from './node-ports.js';

export interface WitnessOptions {
  readonly address: string;
  readonly port: number; // 0: any
  readonly keyFile: string;
  readonly leaseMs: number; // the longest that is granted
}

export type WitnessLog = (level: 'info' | 'WARN' | 'ERROR', text: string) => void;

/** Keys, or why there are none. */
export function readWitnessKeys(file: string): {
  readonly keys: WitnessKeys | null;
  readonly errors: readonly string[];
} {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (e) {
    return { keys: null, errors: [`${file}: ${e instanceof Error ? e.message : String(e)}`] };
  }
  return parseWitnessKeys(text, file);
}

/** Runs until SIGTERM or SIGINT. The result is the exit status. */
export function runWitness(
  options: WitnessOptions,
  keys: WitnessKeys,
  log: WitnessLog,
): Promise<number> {
  const nowMs = () => performance.now(); // monotonic
  const server = new WitnessServer(options.leaseMs, keys, nodeDigests, nowMs());
  const socket = createSocket({ type: isIPv6(options.address) ? 'udp6' : 'udp4' });
  return new Promise((resolve) => {
    const end = (status: number): void => {
      process.off('SIGHUP', reload);
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, stop);
      socket.close();
      resolve(status);
    };
    const stop = (): void => end(0);
    const reload = (): void => {
      const read = readWitnessKeys(options.keyFile);
      for (const text of read.errors) log('ERROR', text);
      if (!read.keys) return;
      server.setKeys(read.keys, nowMs());
      log('info', `${read.keys.size} cluster(s)`);
    };
    socket.on('error', (e) => {
      log('ERROR', e.message);
      end(1);
    });
    socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
      const out: WitnessEffect[] = [];
      server.receive(bytes, { address: from.address, port: from.port }, nowMs(), out);
      for (const effect of out) {
        if (effect.type === 'log') log(effect.level, effect.text);
        else socket.send(effect.datagram, effect.to.port, effect.to.address, () => undefined);
      }
    });
    process.on('SIGHUP', reload);
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, stop);
    socket.bind(options.port, options.address, () => {
      const { address, port } = socket.address();
      const silentS = options.leaseMs / 1000;
      log('info', `${keys.size} cluster(s), listening on ${address} port ${port}`);
      log('info', `silent for ${silentS} s: what was granted before is not known`);
    });
  });
}
