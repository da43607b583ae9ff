/** on-congestion is taken where a kernel takes it, and refused as by a kernel elsewhere: the file is that of both nodes. */
import test from 'ava';
import {
  DEFAULT_NET_OPTIONS,
  DEFAULT_RESOURCE_OPTIONS,
  type NetOptions,
} from '../../src/config/drbd-options.js';
import { SimPair } from '../support/sim-pair.js';

test('on-congestion: other than block only under protocol A, where a write waits as with block', (t) => {
  const { alpha } = new SimPair(1, { sizeBytes: 2 << 20 });
  const resource = 'r0';
  alpha.control({ verb: 'down', resource });
  alpha.control({ verb: 'new-resource', resource, options: DEFAULT_RESOURCE_OPTIONS });
  const connect = (net: Partial<NetOptions>) =>
    alpha.control({
      verb: 'connect',
      resource,
      local: { family: 'ipv4', host: '10.1.0.1', port: 7788 },
      remote: { family: 'ipv4', host: '10.1.0.2', port: 7788 },
      options: { ...DEFAULT_NET_OPTIONS, ...net },
      discardMyData: false,
      tentative: false,
    });
  for (const protocol of ['B', 'C'] as const) {
    t.like(connect({ protocol, onCongestion: 'pull-ahead' }), {
      ok: false,
      code: 155,
      text: 'on-congestion policy pull-ahead only with prot A allowed',
    });
  }
  t.deepEqual(connect({ protocol: 'A', onCongestion: 'disconnect' }), { ok: true, value: null });
});
