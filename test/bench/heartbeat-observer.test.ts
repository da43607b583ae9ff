/** What `make bench-heartbeat` reads: the answers of ping, the lines of a log that grows. */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { answeredMs, Lines } from '../../bench/heartbeat-observer.js';

test('an answer, and what is none', (t) => {
  const answer = '[1795379726.788291] 64 bytes from 192.168.77.10: icmp_seq=1 ttl=64 time=0.045 ms';
  t.is(answeredMs(answer), 1795379726788.291);
  const none = '[1795379726.788291] From 192.168.77.254 icmp_seq=7 Destination Host Unreachable';
  t.is(answeredMs(none), null);
  t.is(answeredMs('PING 192.168.77.10 (192.168.77.10) 56(84) bytes of data.'), null);
});

test('lines that were there before do not count, half a line not yet', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-observer-'));
  t.teardown(() => rmSync(dir, { recursive: true }));
  const path = join(dir, 'log');
  writeFileSync(path, 'node a: is dead\n');
  const log = new Lines(path);
  t.is(log.find('is dead'), null);
  appendFileSync(path, 'Link a dead\nnode a: is ');
  t.is(log.find('is dead'), null);
  appendFileSync(path, 'dead\nnode a: is dead, too\n');
  t.is(log.find('is dead')?.text, 'node a: is dead');
  t.is(log.find(/dead, too$/)?.text, 'node a: is dead, too');
  t.is(log.lines.length, 3);
});
