/** What the runs have reached, as tables. */
import test from 'ava';
import { CONNS, Conns, DISKS, Disks, INITIAL_STATE, Roles } from '../../src/drbd/state.js';
import { ACTIONS } from '../../src/sim/actions.js';
import { addCoverage, Coverage } from '../../src/sim/coverage.js';
import { countTable, coverageTable, UNREACHABLE, unreached } from '../../src/sim/coverage-table.js';
import { classOf, ofClass, total } from '../../src/sim/fault-kinds.js';

function some(): Coverage {
  const coverage = new Coverage();
  coverage.state(INITIAL_STATE);
  coverage.state({
    ...INITIAL_STATE,
    role: Roles.Primary,
    conn: Conns.Connected,
    disk: Disks.UpToDate,
  });
  coverage.log('uuid_compare()=-1 by rule 50');
  coverage.log('conn( StandAlone -> Unconnected )');
  return coverage;
}

test('reached ones with their number, all others by name; those that cannot be with the reason', (t) => {
  const report = addCoverage(some().report(), some().report());
  const lines = coverageTable(report, 160);
  t.true(lines.includes('connection: 2 of 24 reached'));
  t.true(lines.includes('    StandAlone 2   Connected  2'));
  const open = lines.find((line) => line.startsWith('    not reached: Disconnecting, '));
  t.true(open?.includes('WFConnection'));
  t.true(lines.includes("    never: DUnknown: only a peer's disk is unknown"));
  t.true(lines.includes('uuid_compare, rule (result): 1 of 22 reached'));
  t.true(lines.includes('    StandAlone -> Unconnected 2'));
  const left = unreached(report);
  t.is(left.filter((u) => u.kind === 'connection').length, CONNS.length - 2);
  t.is(left.filter((u) => u.kind === 'disk').length, DISKS.length - 2);
  for (const names of Object.values(UNREACHABLE)) {
    for (const name of Object.keys(names)) t.true(left.some((u) => u.name === name && u.reason));
  }
});

test('what should be unreachable and was reached is shown all the same', (t) => {
  const coverage = some();
  coverage.state({ ...INITIAL_STATE, disk: Disks.DUnknown });
  coverage.log('uuid_compare()=7 by rule 99');
  const lines = coverageTable(coverage.report(), 160);
  t.true(lines.some((line) => /^ {4}.*DUnknown +1/.test(line)));
  t.false(lines.some((line) => line.startsWith('    never: DUnknown')));
  t.true(lines.some((line) => line.includes('99 (7)')));
});

test('tables fit into their columns', (t) => {
  const counts = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`kind ${i} `.repeat(3), i]),
  );
  for (const columns of [80, 160]) {
    for (const line of countTable('x', counts, columns)) t.true(line.length <= columns, line);
  }
  t.deepEqual(countTable('nothing', {}, 80), ['nothing:', '    none']);
});

test("each step is a fault, an operator's, or a repair", (t) => {
  const counts = Object.fromEntries(ACTIONS.map((a) => [a.usage, 1]));
  t.is(classOf('kill NODE'), 'fault');
  t.is(classOf('disk NODE stuck'), 'fault');
  t.is(classOf('disk NODE works'), 'repair');
  t.is(classOf('heal all'), 'repair');
  t.is(classOf('script SCRIPT on NODE ACTION works'), 'repair');
  t.is(classOf('stop heartbeat on NODE'), 'operator');
  t.is(classOf('drbdadm VERB [FLAG] on NODE'), 'operator');
  const classes = ['fault', 'operator', 'repair'] as const;
  const sums = classes.map((c) => total(ofClass(counts, c)));
  t.is(
    sums.reduce((a, b) => a + b),
    ACTIONS.length,
  );
});
