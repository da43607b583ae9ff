/** A device that grows under load while nodes die and the network fails, watched by all checkers (docs/STATES.md, sizes). */
import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { dice } from '../../src/sim/dice.js';
import { parseScenario } from '../../src/sim/scenario.js';
import { runScenario } from '../../src/sim/scenario-run.js';

const FAULTS: readonly ((node: string) => readonly string[])[] = [
  (node) => [`kill ${node}`, `boot ${node}`],
  (node) => [`crash drbdd on ${node}`],
  () => ['reset replication'],
  () => ['cut replication', 'heal replication'],
  (node) => [`pause ${node} for 2s`],
  (node) => [`drbdadm detach on ${node}`, `drbdadm adjust on ${node}`],
  (node) => [`drbdadm disconnect on ${node}`, `drbdadm adjust on ${node}`],
  (node) => [`disk ${node} slow 5ms`, `disk ${node} works`],
];

/** Both disks grow; somebody says resize; something goes wrong at that moment; and it is said again where all is well. */
function story(seed: number): string {
  const r = dice(seed, 'resize');
  const node = () => r.pick(['alpha', 'beta']);
  const protocol = r.pick(['A', 'B', 'C', 'C']);
  const lines = [
    `seed ${seed}`,
    'set heartbeat none',
    'set connect-int 1',
    `set think ${r.pick([10, 30, 100])}ms`,
    `set protocol ${protocol}`,
    'set c-plan-ahead 0',
    'set resync-rate 100000',
    `set al-extents ${r.pick([67, 1237])}`,
    'at 0s boot alpha',
    'at 0s boot beta',
    'at 2s drbdadm new-current-uuid --clear-bitmap on alpha',
    'at 3s serve on alpha',
  ];
  let kib = 4096;
  let atMs = 6000;
  const at = (ms: number, text: string) => lines.push(`at ${(ms / 1000).toFixed(4)}s ${text}`);
  for (let round = 0; round < 2; round++) {
    kib += r.pick([12, 64, 1024, 2048]); // by a little: the areas of the meta-data overlap
    const isClean = r.chance(0.2);
    const zeroed = isClean ? ' zeroed' : '';
    for (const n of ['alpha', 'beta']) at(atMs, `grow disk of ${n} to ${kib}KiB${zeroed}`);
    const asked = isClean ? 'resize --assume-clean' : 'resize';
    at(atMs + 10, `drbdadm ${asked} on ${node()}`);
    const [fault = '', mended] = r.pick(FAULTS)(node());
    at(atMs + 10 + r.below(200) / 10, fault);
    if (mended) at(atMs + 3000 + r.below(8000), mended);
    atMs += 16_000;
    at(atMs, 'look after the service');
    atMs += 6000;
    for (const n of ['alpha', 'beta']) at(atMs, `drbdadm adjust on ${n}`);
    at(atMs + 5000, `drbdadm resize on ${node()}`);
    atMs += 9000;
  }
  at(atMs, 'settle');
  lines.push('expect same data');
  return lines.join('\n');
}

const SEEDS = Number(process.env['TWINBEAT_RESIZE_SEEDS'] ?? 4);

test('disks grow, resize, and something fails at that moment: nothing is lost, and both are the same', (t) => {
  const first = Number(process.env['TWINBEAT_RESIZE_FIRST'] ?? 1);
  for (let seed = first; seed < first + SEEDS; seed++) {
    const text = story(seed);
    const parsed = parseScenario(text, `resize ${seed}`);
    if (!parsed.ok) throw new Error(parsed.text);
    const result = runScenario(parsed.scenario, nodeDigests, null);
    t.is(result.violation?.text ?? null, null, `seed ${seed}\n${text}`);
  }
});

test('create-md notes the size of the disk: a new disk that grows before it is attached has its meta-data found', (t) => {
  const text = [
    'set heartbeat none',
    'at 0s boot alpha',
    'at 0s boot beta',
    'at 2s drbdadm new-current-uuid --clear-bitmap on alpha',
    'at 4s grow disk of beta to 6MiB', // nobody says resize: it is known by its old size
    'at 5s kill beta',
    'at 6s disk beta blank',
    'at 7s grow disk of beta to 8MiB',
    'at 8s boot beta',
    'expect beta UpToDate/UpToDate within 60s',
  ].join('\n');
  const parsed = parseScenario(text, 'blank and grown');
  if (!parsed.ok) throw new Error(parsed.text);
  t.is(runScenario(parsed.scenario, nodeDigests, null).violation?.text ?? null, null);
});
