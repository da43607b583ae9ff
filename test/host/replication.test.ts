/** The whole path between two engines over loopback: from a write to the peer's disk and back. */
import test from 'ava';
import { setPrimary } from '../../src/drbd/roles.js';
import { Engines } from '../support/engines.js';

function pattern(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (seed * 31 + i * 7 + (i >> 9)) & 255;
  return bytes;
}

async function upToDate(e: Engines): Promise<void> {
  await e.a.attach();
  await e.b.attach();
  e.connect();
  await e.a.until(/cs:Connected .*Inconsistent\/Inconsistent/);
  await e.b.until(/cs:Connected .*Inconsistent\/Inconsistent/);
  const outcome = await e.a.ask((v, done) => setPrimary(v, true, done));
  if (outcome.kind !== 'ok') throw new Error(JSON.stringify(outcome));
  await e.a.until(/cs:Connected ro:Primary\/Secondary ds:UpToDate\/UpToDate/);
  await e.b.until(/cs:Connected ro:Secondary\/Primary ds:UpToDate\/UpToDate/);
}

test('first sync, then writes under protocol C reach both disks', async (t) => {
  const e = Engines.create(t);
  await upToDate(e);
  t.is(e.firstDifference(), null);
  const data = pattern(1, 8192);
  t.is(await e.a.write(100, data), 0);
  t.deepEqual(e.a.onDisk(100, 8192), data);
  t.deepEqual(e.b.onDisk(100, 8192), data);
  t.is(await e.a.flush(), 0);
  t.deepEqual(await e.a.read(100, 8192), data);
});
