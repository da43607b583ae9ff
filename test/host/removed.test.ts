/**
 * A resource that is removed leaves nothing: no socket that listens at its address, which its successor would be refused. Real engines in
 * virtual time.
 */
import test from 'ava';
import { DEFAULT_NET_OPTIONS, DEFAULT_RESOURCE_OPTIONS } from '../../src/config/drbd-options.js';
import { Err } from '../../src/drbd/return-codes.js';
import { Conns } from '../../src/drbd/state.js';
import type { ControlReply, ControlRequest } from '../../src/host/control.js';
import { SimPair, type SimPairNode } from '../support/sim-pair.js';

const RESOURCE = 'r0';
const address = (host: string) => ({ family: 'ipv4', host, port: 7788 }) as const;
const CONNECT: ControlRequest = {
  verb: 'connect',
  resource: RESOURCE,
  local: address('10.1.0.1'),
  remote: address('10.1.0.2'),
  options: DEFAULT_NET_OPTIONS,
  discardMyData: false,
  tentative: false,
};
const NEW: ControlRequest = {
  verb: 'new-resource',
  resource: RESOURCE,
  options: DEFAULT_RESOURCE_OPTIONS,
};
const NEW_MINOR: ControlRequest = {
  verb: 'new-minor',
  resource: RESOURCE,
  minor: 0,
  volume: 0,
  device: '/dev/drbd0',
};

const codeOf = (reply: ControlReply): number => (reply.ok ? 0 : reply.code);

/** It listens, or would say why not and give up. */
function connects(node: SimPairNode): boolean {
  const codes = [NEW, NEW_MINOR, CONNECT].map((request) => codeOf(node.control(request)));
  const [v] = node.loop.engine.resource(RESOURCE)?.volumes ?? [];
  return codes.every((code) => code === 0) && v?.state.conn === Conns.WFConnection;
}

// As the kernel's DRBD 8.4 does: 125, "use disconnect first".
test('del-resource of what is connecting and has no volume is refused', (t) => {
  const { alpha } = new SimPair(1);
  alpha.connect();
  t.is(codeOf(alpha.control({ verb: 'del-minor', minor: 0 })), 0);
  t.is(codeOf(alpha.control({ verb: 'del-resource', resource: RESOURCE })), Err.NET_CONFIGURED);
  t.is(codeOf(alpha.control({ verb: 'disconnect', resource: RESOURCE, force: false })), 0);
  t.is(codeOf(alpha.control({ verb: 'del-resource', resource: RESOURCE })), 0);
  t.true(connects(alpha));
});
