/** What a load balancer is told: every state of a group, of the node and of the operator. */
import test from 'ava';
import { agentAnswer, agentHttp, agentLine } from '../../src/host/agent-answer.js';
import type { HeartbeatReport } from '../../src/host/heartbeat-control.js';
import type { GroupState } from '../../src/resource-manager/operations.js';

type Part = Pick<HeartbeatReport, 'groups' | 'standing' | 'stuck' | 'lateMs' | 'deadtimeMs'>;

function group(key: string, state: GroupState): Part['groups'][number] {
  return { key, node: 'a', resources: [key], state };
}

function told(part: Partial<Part>, key: string | null = null, maint: string | null = null) {
  const whole: Part = {
    groups: [group('r0', 'runs')],
    standing: { state: 'ok' },
    stuck: [],
    lateMs: 0,
    deadtimeMs: 30_000,
    ...part,
  };
  return agentAnswer({ report: whole as HeartbeatReport }, key, maint);
}

const OFFLINE = { state: 'FAILED_OFFLINE', why: 'mysql failed' } as const;
/** Of a group with lb-switch, which says alone who is ready. */
function switched(state: GroupState): Part['groups'] {
  return [{ ...group('drbddisk::r0', state), resources: ['drbddisk::r0', 'lb-switch::a:1::db'] }];
}
const BOTH = [group('r0', 'runs'), group('r1', 'stopped')];

for (const [what, answer, line] of [
  ['it runs', told({}), 'up ready'],
  ['it stood still', told({ lateMs: 4000 }), 'down # heartbeat stood still, and is 4000 ms late'],
  ['it is being started', told({ groups: [group('r0', 'starts')] }), 'down # r0 is being started'],
  ['it is given away', told({ groups: [group('r0', 'stops')] }), 'drain'],
  ['it is on the other node', told({ groups: [group('r0', 'stopped')] }), 'down # r0 is not here'],
  ['it cannot be stopped', told({ stuck: ['r0'] }), 'down # r0 cannot be stopped'],
  ['the node failed', told({ standing: OFFLINE }), 'down # FAILED_OFFLINE: mysql failed'],
  [
    'the node failed, and it is being handed over',
    told({ standing: OFFLINE, groups: [group('r0', 'stops')] }),
    'drain',
  ],
  ['the operator says so', told({}, null, 'a new disk'), 'maint'],
  ['one of two', told({ groups: BOTH }, 'r0'), 'up ready'],
  ['the other one of two', told({ groups: BOTH }, 'r1'), 'down # r1 is not here'],
  ['which of two?', told({ groups: BOTH }), 'down # --group is one of r0, r1'],
  ['with lb-switch: it runs', told({ groups: switched('runs') }), 'up'],
  [
    'with lb-switch: it is given away',
    told({ groups: switched('stops') }),
    'down # drbddisk::r0 is being stopped',
  ],
  [
    'with lb-switch: the operator says so',
    told({ groups: switched('runs') }, null, 'a new disk'),
    'down # maint: a new disk',
  ],
  [
    'it stood still for half of a short deadtime',
    told({ lateMs: 260, deadtimeMs: 500 }),
    'down # heartbeat stood still, and is 260 ms late',
  ],
  ['none of that name', told({}, 'r7'), 'down # haresources has no group r7'],
  ['none at all', told({ groups: [] }), 'down # haresources has no group'],
  [
    'heartbeat does not answer',
    agentAnswer({ report: null, reason: 'connect ENOENT' }, null, null),
    'down # connect ENOENT',
  ],
  [
    'nor does it, and the operator has said so',
    agentAnswer({ report: null, reason: 'connect ENOENT' }, null, 'a new disk'),
    'down # maint: a new disk',
  ],
] as const) {
  test(`${what}: ${line}`, (t) => {
    t.is(agentLine(answer), `${line}\n`);
    t.regex(agentHttp(answer, true), answer.word === 'up' ? /^HTTP\/1.0 200 / : /^HTTP\/1.0 503 /);
  });
}

test('a reason is one line of plain characters, whoever wrote it', (t) => {
  const answer = told({
    standing: { state: 'FAILED_OFFLINE', why: `Größe\nup ready ${'x'.repeat(500)}` },
  });
  const line = agentLine(answer);
  t.regex(line, /^down # FAILED_OFFLINE: Gr\?\?e\?up ready x+\n$/);
  t.true(line.length < 140);
  const http = agentHttp(answer, true);
  const [head = '', body = ''] = http.split('\r\n\r\n');
  t.is(Number(/Content-Length: (\d+)/.exec(head)?.[1]), Buffer.byteLength(body));
  t.is(body.trim().split('\n').length, 1);
  t.false(agentHttp(answer, false).includes('Größe'));
});
