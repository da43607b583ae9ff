/**
 * A group that cannot be stopped takes the machine down, as with the original: its resources must not be started
 * elsewhere while they run here. Said to have worked, then we end with the machine. Until then we go on claiming: the
 * original kills itself here, and a reboot that does not come would leave the group running on two nodes.
 *
 *     stop-failure = reboot   reboot -nf, else init 6
 *                    panic    the kernel panics (and reboots, or writes a dump, as it is configured); else as reboot
 *                    hold     nothing but claiming it, until an operator has stopped it
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

export function rebootFor(
  key: string,
  stopFailure: TwinbeatIni['heartbeat']['stopFailure'],
  host: Pick<LivesHost, 'reboot' | 'timers' | 'log'>,
): void {
  const ways = stopFailure === 'panic' ? [PANIC, ...REBOOTS] : REBOOTS;
  const { reboot, timers } = host;
  const hold = () => {
    const text = `resource group ${key} cannot be stopped: this node goes on claiming it. Stop it by hand, then restart heartbeat.`;
    host.log('CRIT', text);
  };
  const attempt = (index: number): void => {
    const way = ways[index];
    if (!reboot || !way) {
      hold();
      return;
    }
    host.log('CRIT', `Rebooting: ${way.program} ${way.args.join(' ')}`);
    reboot(way, (worked) => {
      if (worked) timers.after(LIMIT_MS, hold);
      else attempt(index + 1);
    });
  };
  if (stopFailure === 'hold') hold();
  else attempt(0);
}
