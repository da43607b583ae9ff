/**
 * The steps of a mixed run: each begins with a pair at rest and ends when nothing more has to be done for it to come to rest again.
 * A new verb gets a row here, and is drawn from then on (which makes another run of every seed).
 */
import { type Mixed, type MixedStep, other } from './kernel-mixed.js';
import { SEATS, type SeatName } from './kernel-seat.js';

async function swap(m: Mixed): Promise<void> {
  await m.adm(m.primary, 'secondary');
  m.primary = m.secondary;
  await m.adm(m.primary, 'primary');
  await m.write();
}

async function secondPrimary(m: Mixed): Promise<void> {
  const { status } = await m.try(m.secondary, 'primary');
  if (status === 0) throw new Error('two Primaries');
}

async function disconnect(m: Mixed): Promise<void> {
  const name = m.anySeat();
  await m.adm(name, 'disconnect');
  await m.until(other(name), /cs:WFConnection/);
  await m.write();
  await m.adm(name, 'connect');
}

async function outdated(m: Mixed): Promise<void> {
  const old = m.secondary;
  await m.adm(old, 'disconnect');
  await m.adm(old, 'outdate');
  await m.until(old, /ds:Outdated/);
  await m.write();
  if ((await m.try(old, 'primary')).status === 0) throw new Error('an Outdated disk was promoted');
  await m.adm(old, 'connect');
}

async function reset(m: Mixed): Promise<void> {
  m.pair.reset();
  m.done.push('connection reset');
  await m.write();
}

async function silence(m: Mixed): Promise<void> {
  m.done.push('cable down');
  await m.cable('down');
  await m.write();
  for (const name of SEATS) await m.until(name, /cs:(WFConnection|Unconnected)/);
  m.done.push('cable up');
  await m.cable('up');
}

async function diskless(m: Mixed): Promise<void> {
  const name = m.anySeat();
  await m.adm(name, 'detach');
  await m.until(name, /ds:Diskless/);
  await m.write();
  await m.adm(name, 'attach');
}

/** A whole resync, from any side, writes meanwhile. */
async function invalidate(m: Mixed): Promise<void> {
  const [who, verb] = [
    [m.secondary, 'invalidate'],
    [m.primary, 'invalidate-remote'],
    [m.primary, 'invalidate'],
  ][m.random.below(3)] as [SeatName, string];
  await m.adm(who, verb);
  await m.write();
}

async function paused(m: Mixed): Promise<void> {
  const name = m.anySeat();
  await m.adm(m.secondary, 'invalidate');
  await m.adm(name, 'pause-sync');
  await m.write();
  await m.adm(name, 'resume-sync');
}

async function brokenResync(m: Mixed): Promise<void> {
  await m.adm(m.secondary, 'invalidate');
  m.pair.reset();
  m.done.push('connection reset');
  await m.write();
}

/** The connection may break before it is over. */
async function perhapsReset(m: Mixed): Promise<void> {
  if (!m.random.chance(0.3)) return;
  await reset(m);
}

/** Compares both copies while they are written; it ends by itself, or with its connection. What differs would stay out of sync. */
async function verify(m: Mixed): Promise<void> {
  await m.adm(m.anySeat(), 'verify');
  await m.write();
  await perhapsReset(m);
}

/** Both lower disks have grown, and the device follows: its new part is copied while it is written. */
async function resize(m: Mixed): Promise<void> {
  await m.grow();
  await m.adm(m.anySeat(), 'resize');
  await m.write();
  await perhapsReset(m);
}

async function secondaryAway(m: Mixed): Promise<void> {
  const away = m.secondary;
  await m.adm(away, 'down');
  await m.write();
  await m.adm(away, 'up');
}

async function bothDown(m: Mixed): Promise<void> {
  const first = m.anySeat();
  await m.adm(m.primary, 'secondary');
  await m.adm(first, 'down');
  await m.adm(other(first), 'down');
  for (const name of m.random.chance(0.5) ? SEATS : [...SEATS].reverse()) await m.adm(name, 'up');
  for (const name of SEATS) await m.until(name, /cs:Connected .*ds:UpToDate\/UpToDate/);
  m.primary = m.anySeat();
  await m.adm(m.primary, 'primary');
}

async function handedOver(m: Mixed): Promise<void> {
  const old = m.primary;
  await m.adm(old, 'secondary');
  await m.adm(old, 'down');
  m.primary = other(old);
  await m.adm(m.primary, 'primary');
  await m.write();
  await m.adm(old, 'up');
}

async function secondaryCrash(m: Mixed): Promise<void> {
  const name = m.secondary;
  await m.off(name);
  await m.write();
  await m.on(name);
  await m.adm(name, 'up');
}

async function primaryCrash(m: Mixed): Promise<void> {
  const dead = m.primary;
  const load = await m.loadUntilDeath(dead);
  await m.off(dead);
  await load.ended;
  await m.until(other(dead), /cs:(WFConnection|Unconnected)/);
  const takeover = m.random.chance(0.5);
  if (takeover) {
    m.primary = other(dead);
    await m.adm(m.primary, 'primary');
    await m.write();
  }
  await m.on(dead);
  await m.adm(dead, 'up');
  if (takeover) return;
  for (const name of SEATS) await m.until(name, /cs:Connected .*ds:UpToDate\/UpToDate/);
  m.primary = m.anySeat();
  await m.adm(m.primary, 'primary');
}

/** Each is Primary alone; one of the two is given up. */
async function splitBrain(m: Mixed): Promise<void> {
  const [x, y] = [m.primary, m.secondary];
  await m.adm(x, 'disconnect');
  const runs = { [x]: m.draw(), [y]: m.draw() };
  await m.put(x, runs[x] ?? []);
  await m.adm(x, 'secondary');
  await m.adm(y, 'disconnect');
  await m.adm(y, 'primary');
  await m.put(y, runs[y] ?? []);
  await m.adm(y, 'secondary');
  if (m.random.chance(0.5)) {
    for (const name of SEATS) await m.adm(name, 'connect');
    for (const name of SEATS) await m.until(name, /cs:StandAlone/);
  }
  const lost = m.anySeat();
  await m.adm(lost, 'connect --discard-my-data');
  await m.adm(other(lost), 'connect');
  m.know(runs[other(lost)] ?? []);
  for (const name of SEATS) await m.until(name, /cs:Connected .*ds:UpToDate\/UpToDate/);
  m.primary = m.anySeat();
  await m.adm(m.primary, 'primary');
}

export const STEPS: readonly MixedStep[] = [
  { name: 'swap', weight: 4, run: swap },
  { name: 'second Primary', weight: 1, run: secondPrimary },
  { name: 'disconnect', weight: 4, run: disconnect },
  { name: 'outdated', weight: 2, run: outdated },
  { name: 'reset', weight: 3, run: reset },
  { name: 'silence', weight: 2, run: silence },
  { name: 'diskless', weight: 3, run: diskless },
  { name: 'invalidate', weight: 3, run: invalidate },
  { name: 'paused', weight: 2, run: paused },
  { name: 'broken resync', weight: 3, run: brokenResync },
  { name: 'verify', weight: 3, run: verify },
  { name: 'resize', weight: 2, run: resize },
  { name: 'secondary away', weight: 2, run: secondaryAway },
  { name: 'both down', weight: 1, run: bothDown },
  { name: 'handed over', weight: 2, run: handedOver },
  { name: 'Secondary crashes', weight: 1, run: secondaryCrash },
  { name: 'Primary crashes', weight: 2, run: primaryCrash },
  { name: 'split brain', weight: 2, run: splitBrain },
];
