/**
 * Packets that belong to what is not there (a verify or a block that nobody asked for, WRITE_SAME, two Primaries): no peer sends
 * them, since what would lead to them is refused or not offered. One that does is cut off, and met again. Those of 8.3 without a meaning are let pass.
 * docs/COMPATIBILITY.md, packets.
 */
import test from 'ava';
import { COMMANDS, type CommandName } from '../../src/wire/constants.js';
import type { Codec } from '../../src/wire/packet.js';
import { block, inSync } from '../support/sim-pair.js';

const ZEROES: Codec<null> = {
  decode: () => null,
  encode: () => {},
};

/** From `alpha`: a packet of zeroes of its least size. True: `beta` has named it and broken off. */
function sent(name: CommandName, socket: 'data' | 'meta', bytes: number): boolean {
  const pair = inSync(1);
  const { alpha, beta } = pair;
  const before = beta.log.length;
  alpha.loop.enter(() => {
    const link = alpha.resource.link;
    if (!link) throw new Error('no connection');
    const send =
      socket === 'data' ? link.out.onData.bind(link.out) : link.out.onMeta.bind(link.out);
    send(COMMANDS[name], 0, bytes, ZEROES, null);
  });
  pair.run(500);
  const broke = beta.log.slice(before).some((line) => line.includes(name));
  pair.settled();
  if (alpha.write(8, block(1)) !== 0) throw new Error(`${name}: the next write failed`);
  return broke;
}

const CUT_OFF: readonly (readonly [CommandName, 'data' | 'meta', number])[] = [
  ['P_OV_REQUEST', 'data', 24],
  ['P_OV_REPLY', 'data', 24],
  ['P_OV_RESULT', 'meta', 24],
  ['P_RETRY_WRITE', 'meta', 24],
  ['P_RS_DEALLOCATED', 'data', 16],
  ['P_SUPERSEDED', 'meta', 24],
  ['P_WSAME', 'data', 28],
];

test('packets of what is not there end the connection, and both nodes meet again', (t) => {
  for (const [name, socket, bytes] of CUT_OFF) t.true(sent(name, socket, bytes), name);
});

test('P_UNPLUG_REMOTE and P_DELAY_PROBE pass without a trace', (t) => {
  t.false(sent('P_UNPLUG_REMOTE', 'data', 0));
  t.false(sent('P_DELAY_PROBE', 'data', 8));
});
