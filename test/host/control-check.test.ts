/** What comes over the control socket is a request with all its fields, or is refused by name; the engine never sees another. */
import test from 'ava';
import { DEFAULT_DISK_OPTIONS, DEFAULT_NET_OPTIONS } from '../../src/config/drbd-options.js';
import type { ControlRequest } from '../../src/host/control.js';
import { withDefaults, wrongField } from '../../src/host/control-check.js';
import { inSync } from '../support/sim-pair.js';

const ATTACH = {
  verb: 'attach',
  minor: 0,
  disk: '/dev/lower',
  metaDisk: '/dev/lower',
  metaIndex: 'internal',
  options: DEFAULT_DISK_OPTIONS,
} as const;
const ADDRESS = { family: 'ipv4', host: '10.0.0.1', port: 7788 };

test('a message that is no request is refused by what it lacks', (t) => {
  const rows: readonly (readonly [unknown, string])[] = [
    [null, 'an object'],
    [[], 'an object'],
    [{}, 'verb'],
    [{ verb: 'toString' }, 'verb'],
    [{ verb: 'secondary' }, 'minor: a whole number from 0 to 1048575'],
    [{ ...ATTACH, disk: 5 }, 'disk: a name'],
    [{ ...ATTACH, metaIndex: 256 }, 'metaIndex: a whole number from 0 to 255'],
    [{ ...ATTACH, options: null }, 'options'],
    [
      { ...ATTACH, options: { ...DEFAULT_DISK_OPTIONS, alExtents: 0 } },
      'alExtents: a whole number from 1 to 65534',
    ],
    [{ ...ATTACH, options: { alUpdates: 'yes' } }, 'alUpdates: as true'],
    [{ ...ATTACH, options: { sizeSectors: 1.5 } }, 'sizeSectors: a number'],
    [{ verb: 'expose', minor: 0, generations: ['x'], users: true }, 'generations: UUIDs in hex'],
    [
      { verb: 'set-handlers', resource: 'r', handlers: { a: 1 }, environment: {} },
      'handlers: names and texts',
    ],
    [
      {
        verb: 'connect',
        resource: 'r',
        local: ADDRESS,
        remote: { ...ADDRESS, port: 0 },
        options: {},
        discardMyData: false,
        tentative: false,
      },
      'remote: an address',
    ],
    [
      { verb: 'net-options', resource: 'r', options: { verifyAlg: 'x\n' } },
      'verifyAlg: up to 63 plain characters',
    ],
  ];
  for (const [message, wrong] of rows) t.is(wrongField(message), wrong);
  t.is(wrongField(ATTACH), null);
});

test('options of another version: what is missing has its default', (t) => {
  const { alExtents: _, ...older } = DEFAULT_DISK_OPTIONS;
  const request = { ...ATTACH, options: older } as unknown as ControlRequest;
  t.is(wrongField(request), null);
  t.deepEqual(withDefaults(request), ATTACH);
  const { verifyAlg: __, ...net } = DEFAULT_NET_OPTIONS;
  const change = { verb: 'net-options', resource: 'r', options: net } as unknown as ControlRequest;
  t.deepEqual(withDefaults(change), { ...change, options: DEFAULT_NET_OPTIONS });
});

test('the engine goes on behind messages that would have ended it', (t) => {
  const { alpha } = inSync(1);
  for (const message of [
    { verb: 'disk-options', minor: 0 },
    { verb: 'expose', minor: 0, generations: ['x'], users: true },
  ]) {
    const reply = alpha.control(message as unknown as ControlRequest);
    t.is(reply.ok ? null : reply.kind, 'usage');
  }
  t.true(alpha.control({ verb: 'status' }).ok);
});
