import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';

const challenge = Uint8Array.from({ length: 64 }, (_, i) => i);
const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

test('HMAC of the handshake: the vectors of docs/PROTOCOL.md', (t) => {
  const key = Buffer.from('secret');
  t.is(hex(nodeDigests.hmac('sha1', key, challenge)), 'afe9485a34cf04a78c4f0101a2a08974b912de08');
  t.is(hex(nodeDigests.hmac('md5', key, challenge)), '333142ba1db44c59d756a2bee16b906b');
});

test('crc32c is stored little-endian, as the kernel does', (t) => {
  const out = new Uint8Array(8);
  nodeDigests.digest('crc32c', Buffer.from('x123456789'), 1, 10, out, 2);
  t.is(hex(out), '0000839206e30000');
  t.is(nodeDigests.digestBytes('crc32c'), 4);
  t.is(nodeDigests.digestBytes('no-such'), 0);
  t.false(nodeDigests.hasHmac('crc32c'));
});
