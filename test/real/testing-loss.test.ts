/** OnlyForTesting: what it says is lost, in the words of the original. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Prng } from '../../src/base/prng.js';
import { TestingLoss } from '../../src/real/testing-loss.js';
import { latin1Bytes } from '../../src/wire/hamsg.js';

function loss(t: ExecutionContext, text: string | null) {
  const root = mkdtempSync(join(tmpdir(), 'testing-loss-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  mkdirSync(join(root, 'etc/ha.d'), { recursive: true });
  const path = join(root, 'etc/ha.d/OnlyForTesting');
  if (text !== null) writeFileSync(path, text);
  const logs: string[] = [];
  const dice = new Prng(7);
  const log = (level: string, said: string) => void logs.push(`${level}: ${said}`);
  const read = new TestingLoss(root, log, () => dice.u32() / 2 ** 32);
  read.read();
  return { read, logs, path };
}

function share(is: () => boolean): number {
  let count = 0;
  for (let i = 0; i < 10_000; i++) if (is()) count++;
  return count / 10_000;
}

const FROM_A = latin1Bytes('>>>\nt=status\nsrc=Node-A\n<<<\n');

test('without the file nothing is lost, and nothing is said', async (t) => {
  const { read, logs } = loss(t, null);
  t.is(
    share(() => read.isSent() && read.isReceived(FROM_A)),
    1,
  );
  await read.readAgain();
  t.deepEqual(logs, []);
});

test('probabilities, in the words of the original; read again when asked', async (t) => {
  const { read, logs, path } = loss(t, 'rcvloss=0.5\nxmitloss=0.25\nfoo=1\n');
  t.deepEqual(logs, [
    'info: WARNING: Enabling Test Code',
    'info: Receive loss probability = 0.500',
    'info: Xmit loss probability = 0.250',
    'ERROR: Cannot recognize test param [foo] in [/etc/ha.d//OnlyForTesting]',
    'info: WARNING: Above Options Now Enabled.',
  ]);
  const received = share(() => read.isReceived(FROM_A));
  const sent = share(() => read.isSent());
  t.true(Math.abs(received - 0.5) < 0.03, String(received));
  t.true(Math.abs(sent - 0.75) < 0.03, String(sent));
  rmSync(path);
  await read.readAgain();
  t.is(logs.at(-1), 'info: Test Code Now disabled.');
  t.is(
    share(() => read.isSent() && read.isReceived(FROM_A)),
    1,
  );
});

test('allownodes: the others are not heard', (t) => {
  const { read } = loss(t, 'allownodes=node-a;node-c;\n');
  t.true(read.isReceived(FROM_A));
  t.false(read.isReceived(latin1Bytes('>>>\nt=status\nsrc=node-b\n<<<\n')));
  t.false(read.isReceived(latin1Bytes('nonsense')));
});

test('a probability that is none is refused', (t) => {
  const { logs } = loss(t, 'rcvloss=2\nxmitloss=much\n');
  t.is(logs.filter((line) => line.startsWith('ERROR: Cannot recognize')).length, 2);
});
