/** The packets of a simulated pair as they arrive: what each node has sent. */
import { newHeader, readHeader } from '../../src/wire/hot.js';
import type { SimPair } from './sim-pair.js';

export interface SentPacket {
  readonly from: string; // address
  readonly command: number;
  readonly body: DataView;
}

/** From the next connection on; of version 100 and above from now on, in a connection that rests. */
export function packetsSent(pair: SimPair, apv = 99): SentPacket[] {
  const sent: SentPacket[] = [];
  const rest = new Map<string, Uint8Array>();
  pair.net.tap = ({ kind, from, fromPort, to, toPort, bytes }) => {
    const stream = `${from}:${fromPort} ${to}:${toPort}`;
    if (kind !== 'tcp-data') {
      rest.delete(stream);
      return;
    }
    const all = Buffer.concat([rest.get(stream) ?? new Uint8Array(0), bytes]);
    const view = new DataView(all.buffer, all.byteOffset, all.length);
    const header = newHeader();
    let at = 0;
    for (;;) {
      const size = readHeader(view, at, all.length, apv, header);
      if (size <= 0 || at + size + header.length > all.length) break;
      const body = new DataView(all.buffer, all.byteOffset + at + size, header.length);
      sent.push({ from, command: header.command, body });
      at += size + header.length;
    }
    rest.set(stream, all.subarray(at));
  };
  return sent;
}
