/** `stonith` and `stonith_host`: what 3.0.6 was recorded to say of them, and what is kept. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { parseHaCf } from '../../src/config/ha-cf.js';

const BASE = 'logfacility local0\nauto_failback off\nbcast eth0\nnode node-a node-b\n';

function parse(lines: readonly string[]) {
  return parseHaCf(`${BASE}${lines.join('\n')}\n`, 'ha.cf', {
    ownNode: 'Node-A',
    defaultUdpPort: 694,
    userExists: () => true,
    isExecutable: () => true,
    isStonithType: (type) => type === 'external/labpower',
    hasStonithConfig: (file) => file === '/etc/ha.d/power.cfg',
    interfaceError: () => null,
  });
}

function devices(...lines: readonly string[]) {
  return parse(lines).config?.stonith ?? null;
}

interface Recorded {
  readonly name: string;
  readonly lines: readonly string[];
  readonly errors: readonly string[];
  readonly status: number;
}

function recorded(): readonly Recorded[] {
  const text = readFileSync('test/golden/config/ha.cf-stonith.txt', 'utf8');
  return text
    .split('##### ')
    .slice(1)
    .map((section) => {
      const [name = '', ...rest] = section.trimEnd().split('\n');
      return {
        name,
        lines: rest.filter((line) => line.startsWith('> ')).map((line) => line.slice(2)),
        errors: rest.filter((line) => line.startsWith('ERROR: ')).map((line) => line.slice(7)),
        status: Number(rest.at(-1)?.replace('rc=', '')),
      };
    });
}

/** Only the plug-in knows how many parameters it wants: its status is asked when heartbeat starts. */
const ASKED_LATER = new Set(['host-params-none', 'host-params-few']);

for (const { name, lines, errors, status } of recorded()) {
  test(`ha.cf ${name}: the errors and the verdict of heartbeat 3.0.6`, (t) => {
    const { config, messages } = parse(lines);
    const said = messages.filter(({ level }) => level === 'ERROR').map(({ text }) => text);
    const isTaken = status === 0 || ASKED_LATER.has(name);
    t.is(config !== null, isTaken);
    t.deepEqual(said, isTaken ? [] : errors);
  });
}

test('the lines of this node are kept, in any case of its name, those of others not', (t) => {
  t.deepEqual(devices(), []);
  t.deepEqual(
    devices(
      'stonith external/labpower   /etc/ha.d/power.cfg  # of the rack',
      'stonith_host node-b external/labpower x',
      'stonith_host * external/labpower a,b two  words',
      'stonith_host NODE-A external/labpower',
    ),
    [
      { host: null, type: 'external/labpower', file: '/etc/ha.d/power.cfg', params: [] },
      { host: '*', type: 'external/labpower', file: null, params: ['a,b', 'two', '', 'words'] },
      { host: 'NODE-A', type: 'external/labpower', file: null, params: [] },
    ],
  );
});

test('parameters are in no message, and not among what scripts and cl_status are told', (t) => {
  for (const line of [
    'stonith_host * nosuch open-sesame',
    `stonith_host ${'x'.repeat(100)} t open-sesame`,
    'stonith_host * external/labpower open-sesame',
  ]) {
    const { config, messages } = parse([line]);
    t.false(JSON.stringify([messages, config?.parameters]).includes('sesame'), line);
  }
});
