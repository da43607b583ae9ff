/** A group that cannot be stopped: stop-failure of twinbeat.ini (docs/CONFIGURATION.md). No machine is taken down here. */
import test from 'ava';
import type { TwinbeatIni } from '../../src/config/twinbeat-ini.js';
import { rebootFor } from '../../src/host/stuck-group.js';

type StopFailure = Exclude<TwinbeatIni['heartbeat']['stopFailure'], 'fence'>;

/** What is asked for, when only `works` works; `can`: whether a reboot is to be had. */
function stuck(how: StopFailure, works: string | null, can = true) {
  const asked: string[] = [];
  const logs: string[] = [];
  const waits: (() => void)[] = [];
  rebootFor('one', how, {
    log: (level, text) => logs.push(`${level} ${text}`),
    timers: {
      after: (_ms, run) => {
        waits.push(run);
        return {};
      },
      cancel: () => {},
    },
    reboot: can
      ? ({ program, args }, ended) => {
          asked.push([program, ...args].join(' '));
          ended(program === works);
        }
      : null,
  });
  return { asked, logs, waits };
}

const REBOOT = ['/sbin/reboot -nf', '/sbin/init 6'];
const PANIC = '/bin/sh -c echo c >/proc/sysrq-trigger';
const HOLDS = /^CRIT resource group one cannot be stopped: this node goes on claiming it\./;

test('reboot: reboot -nf, else init 6; when neither comes about the node goes on claiming', (t) => {
  t.deepEqual(stuck('reboot', '/sbin/reboot').asked, REBOOT.slice(0, 1));
  const second = stuck('reboot', '/sbin/init');
  t.deepEqual(second.asked, REBOOT);
  t.is(second.waits.length, 1);
  second.waits[0]?.();
  t.regex(second.logs.at(-1) ?? '', HOLDS, 'said to have worked, and we still live');
  const none = stuck('reboot', null);
  t.deepEqual(none.asked, REBOOT);
  t.regex(none.logs.at(-1) ?? '', HOLDS);
});

test('panic: the kernel panics at once; where it does not, as reboot', (t) => {
  t.deepEqual(stuck('panic', '/bin/sh').asked, [PANIC]);
  t.deepEqual(stuck('panic', null).asked, [PANIC, ...REBOOT]);
});

test('hold: nothing is asked for', (t) => {
  const { asked, logs, waits } = stuck('hold', '/sbin/reboot');
  t.deepEqual([asked, waits], [[], []]);
  t.is(logs.length, 1);
  t.regex(logs[0] ?? '', HOLDS);
});

test('without a reboot to be had: hold', (t) => {
  for (const how of ['reboot', 'panic', 'hold'] as const) {
    const { asked, logs } = stuck(how, '/bin/sh', false);
    t.deepEqual(asked, []);
    t.regex(logs[0] ?? '', HOLDS);
  }
});
