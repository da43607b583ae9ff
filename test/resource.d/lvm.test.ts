/**
 * The LVM script: the volume group and its tags are real, on a loop device. There is no device mapper on test machines, so the
 * kernel's part, which volumes are active, is a stand-in in front of vgchange and lvs. Not tried: real activation.
 */
import { writeFileSync } from 'node:fs';
import test from 'ava';
import { need } from '../support/need.js';
import { judged, loopDevice, type Ran, Room, script } from './room.js';

/** `vgchange -a y|n` and the column lv_active are answered from a file; two volumes, of which a busy one stays. */
const VGCHANGE = `#!/bin/sh
case " $* " in
*" -a y "*)
	case "$*" in *'volume_list = [ "@twinbeat-'*) ;; *) exit 1 ;; esac
	[ ! -e "\${0%/*}/fails" ] || { echo a >"\${0%/*}/active"; exit 5; }
	printf 'a\\nb\\n' >"\${0%/*}/active" ;;
*" -a n "*)
	[ ! -e "\${0%/*}/busy" ] || { echo 'Logical volume vg0/a in use.' >&2; echo a >"\${0%/*}/active"; exit 5; }
	: >"\${0%/*}/active" ;;
*) exec /usr/sbin/vgchange "$@" ;;
esac
`;
const LVS = `#!/bin/sh
for lv in a b; do
	if grep -qx $lv "\${0%/*}/active" 2>/dev/null; then echo "  $lv active"; else echo "  $lv"; fi
done | if [ "$3" = lv_name ]; then awk '{ print $1 }'; else cat; fi
`;

test('active on one node: tags, twice, busy, half active, of another node, started outside', async (t) => {
  if (!need(t, 'root', 'loop', 'netns', '/usr/sbin/vgchange')) return;
  const room = await Room.open(t);
  const device = loopDevice(t, room.dir, 32);
  writeFileSync(
    `${room.dir}/lvm.conf`,
    `devices { use_devicesfile = 0 global_filter = [ "a|^${device}$|", "r|.*|" ] }
activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }
backup { backup = 0 archive = 0 }
`,
  );
  const lvm = { LVM_SYSTEM_DIR: room.dir, LVM_SUPPRESS_FD_WARNINGS: '1' };
  const real = (...argv: readonly string[]): string => {
    const done = room.run(argv, lvm);
    t.is(done.status, 0, done.out);
    return done.out;
  };
  real('vgcreate', '-q', 'vg0', device);
  writeFileSync(`${room.dir}/vgchange`, VGCHANGE, { mode: 0o755 });
  writeFileSync(`${room.dir}/lvs`, LVS, { mode: 0o755 });
  const set = (name: string, text: string): void => writeFileSync(`${room.dir}/${name}`, text);
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([script('LVM'), 'vg0', action], {
      ...lvm,
      PATH: `${room.dir}:${process.env['PATH']}`,
      ...more,
    });
  const tags = (): string => real('vgs', '--noheadings', '-o', 'vg_tags', 'vg0').trim();
  const mine = `twinbeat-${room.must('uname', '-n').trim()}`;
  const outcome = (action: string): readonly [number, string] => {
    const { status, out } = call(action);
    return [status, out];
  };

  t.deepEqual(outcome('status'), [3, 'stopped\n']);
  t.is(call('stop').status, 0, 'stop of what never ran');
  t.is(room.run([script('LVM'), 'vg9', 'start'], lvm).status, 1, 'no such group');
  t.is(room.run([script('LVM'), 'vg9', 'stop'], lvm).status, 0);

  for (let i = 0; i < 2; i++) {
    const started = call('start');
    t.is(started.status, 0, started.out);
    t.deepEqual(outcome('status'), [0, 'running\n']);
    t.deepEqual(outcome('monitor'), [0, 'running\n']);
    t.is(tags(), mine);
  }
  set('busy', '');
  const busy = call('stop');
  t.is(busy.status, 1);
  t.regex(busy.out, /still active \(in use\?\): a/);
  t.is(tags(), mine, 'still ours');
  t.deepEqual(outcome('monitor'), [1, 'running, but not all volumes\n']);
  t.is(judged(call('status').out), 'running');
  room.must('rm', `${room.dir}/busy`);
  for (let i = 0; i < 2; i++) {
    t.is(call('stop').status, 0);
    t.deepEqual(outcome('status'), [3, 'stopped\n']);
    t.is(tags(), '');
  }

  set('fails', '');
  const half = call('start');
  t.is(half.status, 1);
  t.regex(half.out, /not all volumes could be activated; given back/);
  t.deepEqual([tags(), outcome('status')], ['', [3, 'stopped\n']]);
  room.must('rm', `${room.dir}/fails`);

  // The other node died with it.
  real('/usr/sbin/vgchange', '--addtag', 'twinbeat-other', 'vg0');
  const refused = call('start', { LVM_OTHER_TAG: 'refuse' });
  t.is(refused.status, 1);
  t.regex(
    refused.out,
    /has the tag of another node: twinbeat-other\. If that is dead: vgchange --deltag/,
  );
  t.deepEqual([tags(), outcome('status')], ['twinbeat-other', [3, 'stopped\n']]);
  const taken = call('start');
  t.is(taken.status, 0, taken.out);
  t.regex(taken.out, /tag of another node, twinbeat-other: taken over/);
  t.is(tags(), mine);
  t.is(call('stop').status, 0);

  // Somebody activated it.
  set('active', 'a\nb\n');
  t.deepEqual(outcome('status'), [0, 'running (started outside)\n']);
  t.is(call('monitor').status, 1);
  t.regex(call('start').out, /started outside, taken for ours/);
  t.is(tags(), mine);
  t.is(call('stop').status, 0);
});
