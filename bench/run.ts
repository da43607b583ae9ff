/**
 * `make bench`: a pair of ours against the peers of peer-bench, replicas on disk and in memory, as NBD export and as block
 * device; the ratios as a table in Markdown, for docs/PERFORMANCE.md. Root, about 15 minutes; QUICK=1 for a glance.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const BENCH = join(HERE, '../../bench/peer-bench');
const quick = process.env['QUICK'] === '1';

interface Summary {
  readonly job: string;
  readonly peer: string;
  readonly metric: string;
  readonly ratio: number;
  readonly min: number;
  readonly max: number;
  readonly name: string;
}

async function measure(store: string, kinds: readonly string[], peers: string): Promise<Summary[]> {
  const dir = mkdtempSync(join(tmpdir(), 'twinbeat-bench-'));
  const json = join(dir, 'samples');
  const args = ['run', '--store', store, '--peers', peers, '--json', json];
  for (const kind of kinds) {
    args.push('--target-cmd', `${process.execPath} ${join(HERE, 'pair-target.js')} ${kind}`);
  }
  if (quick) args.push('--reps', '2', '--seconds', '1', '--size', '256M');
  const child = spawn(BENCH, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const status = await new Promise<number>((done) => child.on('exit', (code) => done(code ?? 1)));
  if (status !== 0) throw new Error(`peer-bench ended with ${status}`);
  const lines = readFileSync(json, 'utf8').split('\n').filter(Boolean);
  rmSync(dir, { recursive: true });
  return lines
    .map((line) => JSON.parse(line) as Partial<Summary> & Record<string, unknown>)
    .filter((s): s is Summary & Record<string, unknown> => typeof s.ratio === 'number');
}

function table(title: string, rows: readonly Summary[]): string {
  const lines = [
    `### ${title}`,
    '',
    '| job | target | against | metric | ratio | min..max |',
    '|---|---|---|---|---|---|',
  ];
  for (const r of rows) {
    const n = (x: number): string => x.toFixed(2);
    lines.push(
      `| ${r.job} | ${r.name} | ${r.peer} | ${r.metric} | ${n(r.ratio)} | ${n(r.min)}..${n(r.max)} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}

const disk = await measure('disk', ['nbd', 'dev'], 'quorum,raw-x2,nbdfuse-quorum');
const memory = await measure('memory', ['nbd'], 'quorum');
console.log(table('On disk (target: NBD export, target2: block device)', disk));
console.log(table('In memory (NBD export)', memory));
