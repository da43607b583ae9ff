/** What `make bench-heartbeat` reads: the answers of ping, the lines of a log that grows. */
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { answerAfterSilence, answeredMs, Lines } from '../../bench/heartbeat-observer.js';

test('an answer, and what is none', (t) => {
  const answer = '[1795379726.788291] 64 bytes from 192.168.77.10: icmp_seq=1 ttl=64 time=0.045 ms';
  t.is(answeredMs(answer), 1795379726788.291);
  const none = '[1795379726.788291] From 192.168.77.254 icmp_seq=7 Destination Host Unreachable';
  t.is(answeredMs(none), null);
  t.is(answeredMs('PING 192.168.77.10 (192.168.77.10) 56(84) bytes of data.'), null);
});

test('the node whose power is cut may answer until its cable is out; then the other one does', (t) => {
  const answers = [990, 995, 1000, 1005, 1300, 2900, 2905];
  t.is(answerAfterSilence(answers, 1000, 500), 2900);
  t.is(answerAfterSilence(answers.slice(0, 5), 1000, 500), null, 'it still answers, or nobody');
  t.is(answerAfterSilence([990, 2900], 1000, 500), 2900, 'none after the cut');
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
