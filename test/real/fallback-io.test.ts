import net from 'node:net';
import test from 'ava';
import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { FallbackIo } from '../../src/real/fallback-io.js';
import { ioConformance } from '../host/io-conformance.js';
import { realRig } from './real-rig.js';

ioConformance('fallback', (t) => realRig(t, new FallbackIo({ pool: SMALL_POOL, streams: 8 })));

// A connection that has come and not been told: its listener and itself are closed by `destroy` in between.
test('destroy between a connection and its being told', async (t) => {
  const rig = await realRig(t, new FallbackIo({ pool: SMALL_POOL, streams: 8 }));
  const at = await rig.tcp();
  rig.io.listen(at, { sendBufferBytes: 0, receiveBufferBytes: 0 }, { accepted: () => {} });
  const end = async (): Promise<void> =>
    new Promise((done) => {
      const second = net.connect(at.port, at.host);
      // In one turn of Node's loop: what arrived first is handled first.
      second.once('connect', () => {
        second.destroy();
        void rig.close().then(done);
      });
    });
  net.connect(at.port, at.host).on('error', () => {});
  await t.notThrowsAsync(end);
});
