/** The tap lowers what is offered, however TCP cuts it, and nothing else. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import test from 'ava';
import { COMMANDS } from '../../../src/wire/constants.js';
import { putHeader } from '../../../src/wire/hot.js';
import { encodePacket } from '../../../src/wire/packets.js';
import { Lowering, NEWEST, Tap } from './tap.js';

const OLD = { protocolMax: 95, features: 1 };

function first(command: number): Buffer {
  const bytes = new Uint8Array(8);
  putHeader(new DataView(bytes.buffer), 0, 80, command, 0, 0);
  return Buffer.from(bytes);
}
function features(protocolMax: number, flags: number): Buffer {
  const body = { protocolMin: 86, features: flags, protocolMax, pad: 0 };
  return Buffer.from(
    encodePacket({ type: 'P_CONNECTION_FEATURES', volume: 0, body }, { apv: 80, features: 0 }),
  );
}
const AFTER = features(101, 15); // looks like one, but is behind the first: not to be touched

test('version and flags are lowered once, in any pieces, with and without P_INITIAL_DATA', (t) => {
  for (const head of [Buffer.alloc(0), first(COMMANDS.P_INITIAL_DATA)]) {
    const sent = Buffer.concat([head, features(101, 15), AFTER]);
    const wanted = Buffer.concat([head, features(95, 1), AFTER]);
    for (let at = 0; at <= sent.length; at++) {
      const lowering = new Lowering(OLD);
      const passed = [sent.subarray(0, at), sent.subarray(at)].map((piece) =>
        lowering.pass(Buffer.from(piece)),
      );
      t.deepEqual(Buffer.concat(passed), wanted, `cut at ${at}`);
    }
    const lowering = new Lowering(OLD);
    const single = [...sent].map((byte) => lowering.pass(Buffer.from([byte])));
    t.deepEqual(Buffer.concat(single), wanted, 'byte by byte');
  }
});

test('a node that offers less stays as it is, and so does the socket for acknowledgements', (t) => {
  t.deepEqual(new Lowering(OLD).pass(features(90, 0)), features(90, 0));
  const meta = Buffer.concat([first(COMMANDS.P_INITIAL_META), features(101, 15)]);
  t.deepEqual(new Lowering(OLD).pass(Buffer.from(meta)), meta);
  t.deepEqual(new Lowering(NEWEST).pass(features(101, 15)), features(101, 15));
});

test('a connection passes the tap in both directions, and can be reset', async (t) => {
  const called: Socket[] = [];
  const server = createServer((socket) => called.push(socket));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', () => done()));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const tap = await Tap.before(address.port);
  t.teardown(() => {
    tap.close();
    server.close();
  });
  tap.dialect = OLD;
  const caller = connect(tap.port, '127.0.0.1');
  await once(server, 'connection');
  const [other] = called;
  if (other === undefined) throw new Error('nobody was called');
  caller.write(features(101, 15));
  const [there] = await once(other, 'data');
  t.deepEqual(there, features(95, 1));
  other.write(features(100, 3));
  const [back] = await once(caller, 'data');
  t.deepEqual(back, features(95, 1));
  const ends = [caller, other].map((socket) => once(socket, 'error'));
  tap.reset();
  for (const [error] of await Promise.all(ends)) t.is(error.code, 'ECONNRESET');
});
