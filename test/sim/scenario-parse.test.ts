import test from 'ava';
import { nodeDigests } from '../../src/real/node-ports.js';
import { run } from '../../src/sim/run.js';
import { parseScenario, type Scenario, scenarioText } from '../../src/sim/scenario.js';
import { runScenario } from '../../src/sim/scenario-run.js';
import { plan } from '../../src/sim/swarm.js';

function read(text: string): Scenario {
  const parsed = parseScenario(text, 'x.txt');
  if (!parsed.ok) throw new Error(parsed.text);
  return parsed.scenario;
}

test('seed and options stand first, then lines with a time, after a time, or at once', (t) => {
  const s = read(`
# a comment
seed 42
set fencing resource-only
set size 2MiB

at 0s boot alpha
at 1.5s expect alpha Connected within 3s since 1s
  at 5s cut replication from beta
after 200ms heal all
set protocol A
expect alpha log "it says so"
settle
expect same data
`);
  t.is(s.seed, 42);
  t.is(s.config.disk.fencing, 'resource-only');
  t.is(s.config.sizeBytes, 2 << 20);
  t.is(s.config.net.protocol, 'C');
  t.deepEqual(
    s.lines.map((l) => [l.line, l.when, l.what.type]),
    [
      [7, { atMs: 0 }, 'step'],
      [8, { atMs: 1500 }, 'expect'],
      [9, { atMs: 5000 }, 'step'],
      [10, { afterMs: 200 }, 'step'],
      [11, { afterMs: 0 }, 'step'],
      [12, { afterMs: 0 }, 'expect'],
      [13, { afterMs: 0 }, 'settle'],
      [14, { afterMs: 0 }, 'expect'],
    ],
  );
  const expect = s.lines[1]?.what;
  t.like(expect, { type: 'expect', withinMs: 3000, forMs: null, sinceMs: 1000 });
  t.is(read('at 0s boot alpha').seed, 1);
});

/** What is on line 3 of a file that is right otherwise, and what is said of it. */
const WRONG: readonly (readonly [string, string | RegExp])[] = [
  ['at 1s explode alpha', /^"explode" is not a step: expected "cut", .*"drbdadm"/],
  ['at 1s kill gamma', 'expected alpha or beta, found "gamma": kill NODE'],
  ['at 1s kill', 'expected alpha or beta, found the end of the line: kill NODE'],
  ['at 1s kill alpha now', 'expected nothing more, found "now": kill NODE'],
  [
    'at 1s cut backbone',
    'expected a network (replication, eth0, eth1), found "backbone": cut NETWORK [from NODE]',
  ],
  ['at 1s cut eth0 from gamma', 'expected alpha or beta, found "gamma": cut NETWORK [from NODE]'],
  [
    'at 1s pause alpha for ever',
    'expected a time like 3.2s, 200ms or 2min, found "ever": pause NODE for TIME',
  ],
  ['at 1s lose eth0 200', /^expected a percentage like 20%, found "200"/],
  ['at 1s disk alpha melts', /^expected "reads", "writes", .*found "melts"$/],
  ['at 1s drbdadm format on alpha', /^expected a verb of drbdadm \(up, .*found "format"/],
  ['at soon kill alpha', 'expected a time like 3.2s, 200ms or 2min after "at", found "soon"'],
  ['at', 'expected a time like 3.2s, 200ms or 2min after "at", found the end of the line'],
  ['after 3 kill alpha', 'expected a time like 3.2s, 200ms or 2min after "after", found "3"'],
  ['at 1s', 'expected a step, "expect" or "settle"'],
  ['at 400ms kill alpha', 'at 400ms: time runs backwards: line 2 lasts until 0.5s'],
  ['seed 5', '"seed" stands before the first step'],
  ['at 1s set fencing maybe', /^fencing: expected dont-care, .*, found "maybe"$/],
  ['at 1s set fence yes', /^"fence" is not an option of the simulator: expected one of protocol, /],
  ['at 1s settle down', 'expected nothing after "settle", found "down"'],
  ['at 1s expect', /^the end of the line is not an expectation: expected alpha or beta, "uuid", /],
  [
    'at 1s expect alpha Primry',
    /^expected a state in the words of \/proc\/drbd, "not", "log", "no"/,
  ],
  [
    'at 1s expect alpha Primary/UpToDate',
    /^expected a state in the words of .* found "Primary\/UpT/,
  ],
  [
    'at 1s expect alpha log said',
    'expected a text in quotation marks, found "said": NODE log TEXT',
  ],
  [
    'at 1s expect serving gamma',
    'expected alpha, beta, both or nobody, found "gamma": serving SERVER',
  ],
  [
    'at 1s expect resync to beta below 64',
    'expected a size like 64KiB or 2MiB, found "64": resync to NODE below SIZE',
  ],
  [
    'at 1s expect alpha Primary within soon',
    'expected a time like 3.2s, 200ms or 2min after "within", found "soon"',
  ],
  ['at 1s expect alpha Primary within 2s within 3s', '"within" is there twice'],
  ['at 1s expect alpha Primary within 2s for 3s', 'expected either "within" or "for", found both'],
  ['at 1s expect alpha log "x" since 9s', 'since 9s: that is later than the line itself'],
];

for (const [line, message] of WRONG) {
  test(`refused with file and line: ${line}`, (t) => {
    const parsed = parseScenario(`# x\nat 500ms boot alpha\n${line}\nat 1min boot beta\n`, 'f.txt');
    if (parsed.ok) return t.fail('it was taken');
    t.true(parsed.text.startsWith('f.txt:3: '), parsed.text);
    const text = parsed.text.slice('f.txt:3: '.length);
    if (typeof message === 'string') t.is(text, message);
    else t.regex(text, message);
  });
}

test('what is wrong before the first step is refused with file and line, too', (t) => {
  const wrong = (text: string): string => {
    const parsed = parseScenario(text, 'f.txt');
    return parsed.ok ? 'taken' : parsed.text;
  };
  t.is(wrong('seed x\n'), 'f.txt:1: expected a whole number after "seed", found "x"');
  t.is(wrong('\nset fencing\n'), 'f.txt:2: expected "set OPTION VALUE"');
  t.is(
    wrong('set ko-count many\nat 0s boot alpha'),
    'f.txt:1: ko-count: expected a number from 0 to 200, found "many"',
  );
  t.is(wrong('seed 1\n'), 'f.txt:2: nothing happens: expected a line like "at 0s boot alpha"');
});

test('a line that waits lasts until its end', (t) => {
  const parsed = parseScenario(
    'at 0s boot alpha\nat 2s expect alpha Primary within 15s\nat 10s kill alpha\n',
    'f.txt',
  );
  t.false(parsed.ok);
  if (parsed.ok) return;
  t.is(parsed.text, 'f.txt:3: at 10s: time runs backwards: line 2 lasts until 17s');
});

test('a schedule of the swarm, written as a scenario, does the same byte for byte', (t) => {
  for (const seed of [3, 11]) {
    const { config, steps, faultsMs } = plan(seed, 'swarm');
    const schedule = { seed, config, steps, faultsMs };
    const text = scenarioText(schedule, ['how it was found', '']);
    const scenario = read(text);
    t.deepEqual(scenario.config, config);
    t.is(scenario.seed, seed);
    const a = run(schedule, nodeDigests, null);
    const b = runScenario(scenario, nodeDigests, null);
    t.is(b.traceHash, a.traceHash);
    t.is(b.lines, a.lines);
    t.deepEqual(b.violation, a.violation);
  }
});

test('every schedule of the swarm is a scenario', (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const { config, steps, faultsMs } = plan(seed, 'swarm');
    const scenario = read(scenarioText({ seed, config, steps, faultsMs }));
    t.deepEqual(scenario.config, config);
    const written = scenario.lines.map(({ when, what }) => ({
      atMs: 'atMs' in when ? when.atMs : -1,
      text: what.type === 'step' ? what.text : what.type,
    }));
    t.deepEqual(written, [...steps, { atMs: faultsMs, text: 'settle' }]);
  }
});
