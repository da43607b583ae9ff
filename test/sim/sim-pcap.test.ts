/** `twinbeat sim --pcap`: a whole run with its faults, read by a dissector that is not ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { twinbeat } from '../../src/cli/twinbeat.js';
import { memoryWorld } from '../support/memory-world.js';
import { need } from '../support/need.js';

/** Kinds of faults that show on the wire, and a run of everything. */
const RUNS = [
  ['network', '11'],
  ['crash', '12'],
  ['swarm', '13'],
] as const;

for (const [profile, seed] of RUNS) {
  test(`a run with its faults decodes without a malformed packet: ${profile}`, async (t) => {
    if (!need(t, 'tshark')) return;
    const dir = mkdtempSync(join(tmpdir(), 'twinbeat-sim-pcap-'));
    t.teardown(() => rmSync(dir, { recursive: true, force: true }));
    const file = join(dir, 'run.pcap');
    const world = memoryWorld({ root: '' });
    await twinbeat(['sim', '--seed', seed, '--fault', profile, '--pcap', file], world);
    t.regex(world.stdout(), /\n1 run, /);
    t.true(statSync(file).size > 100_000);

    // Twice over the file, so that parts of a packet know where they end up; one line for each packet.
    const text = execFileSync(
      'tshark',
      [
        ...['-2', '-r', file, '--enable-heuristic', 'drbd_tcp', '-T', 'fields'],
        ...['-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE'],
        ...['-e', '_ws.malformed', '-e', '_ws.col.Info', '-e', 'udp.dstport'],
      ],
      {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { ...process.env, HOME: dir }, // nobody's own settings
      },
    );
    const lines = text.split('\n').filter(Boolean);
    t.deepEqual(
      lines.filter((line) => !line.startsWith('\t')),
      [],
      'malformed',
    );
    const decoded = lines.filter((line) => /\[P_\w+\]/.test(line)).length;
    t.true(decoded > 100, `${decoded} of ${lines.length} decode as DRBD`);
    for (const name of ['P_CONNECTION_FEATURES', 'P_STATE', 'P_DATA', 'P_BARRIER_ACK'])
      t.true(text.includes(`[${name}]`), name);
  });
}
