/**
 * A group that cannot be stopped takes the machine down, as with the original: its resources must not be started
 * elsewhere while they run here. Said to have worked, then we end with the machine. Until then we go on claiming: the
 * original kills itself here, and a reboot that does not come would leave the group running on two nodes.
 *
 *     stop-failure = reboot   reboot -nf, else init 6
 *                    panic    the kernel panics (and reboots, or writes a dump, as it is configured); else as reboot
 *                    hold     nothing but claiming it, until an operator has stopped it
 *                    fence    the other node is asked to reset this one (fence-link.ts); else as reboot
 */
import type { TwinbeatIni } from '../config/twinbeat-ini.js';
import type { LivesHost, RebootWay } from './heartbeat-ports.js';

const REBOOTS: readonly RebootWay[] = [
  { program: '/sbin/reboot', args: ['-nf'] },
  { program: '/sbin/init', args: ['6'] },
];
/** sysrq(8): this file is not subject to kernel.sysrq. */
const PANIC: RebootWay = { program: '/bin/sh', args: ['-c', 'echo c >/proc/sysrq-trigger'] };
const LIMIT_MS = 30_000;

type DyingHost = Pick<LivesHost, 'reboot' | 'timers' | 'log'>;

/** Whatever stop-failure says: what runs here may be started by the other node now (resource-manager/lease-door.ts). */
export function dieFor(why: string, host: DyingHost): void {
  host.log('CRIT', `${why}: this machine has to go down.`);
  attempt(REBOOTS, host, () => {
    host.log('CRIT', 'It does not. The other node may run the same by now.');
  });
}

export function rebootFor(
  key: string,
  stopFailure: Exclude<TwinbeatIni['heartbeat']['stopFailure'], 'fence'>,
  host: DyingHost,
): void {
  const hold = () => {
    const text = `resource group ${key} cannot be stopped: this node goes on claiming it. Stop it by hand, then restart heartbeat.`;
    host.log('CRIT', text);
  };
  if (stopFailure === 'hold') hold();
  else attempt(waysOf(stopFailure), host, hold);
}

/** A program of a `failfast` line has ended: the machine goes down in the same way. */
export function rebootForFailfast(
  why: string,
  stopFailure: TwinbeatIni['heartbeat']['stopFailure'],
  host: DyingHost,
): void {
  const hold = () => host.log('CRIT', `${why}: this machine is not rebooted.`);
  if (stopFailure === 'hold') hold();
  else attempt(waysOf(stopFailure), host, hold);
}

function waysOf(stopFailure: TwinbeatIni['heartbeat']['stopFailure']): readonly RebootWay[] {
  return stopFailure === 'panic' ? [PANIC, ...REBOOTS] : REBOOTS;
}

/** One way after the other; `failed` when we are still there after all of them. */
function attempt(ways: readonly RebootWay[], host: DyingHost, failed: () => void): void {
  const [way, ...others] = ways;
  if (!host.reboot || !way) {
    failed();
    return;
  }
  host.log('CRIT', `Rebooting: ${way.program} ${way.args.join(' ')}`);
  host.reboot(way, (worked) => {
    if (worked) host.timers.after(LIMIT_MS, failed);
    else attempt(others, host, failed);
  });
}
