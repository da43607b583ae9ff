/**
 * A group that cannot be stopped takes the machine down, as with the original: its resources must not be started
 * elsewhere while they run here. Said to have worked, then we end with the machine. Until then we go on claiming: the
 * original kills itself here, and a reboot that does not come would leave the group running on two nodes.
 */
import type { LivesHost, RebootWay } from './heartbeat-ports.js';

const WAYS: readonly RebootWay[] = [
  { program: '/sbin/reboot', args: ['-nf'] },
  { program: '/sbin/init', args: ['6'] },
];
const LIMIT_MS = 30_000;

export function rebootFor(key: string, host: Pick<LivesHost, 'reboot' | 'timers' | 'log'>): void {
  const { reboot, timers } = host;
  const hold = () => {
    const text = `resource group ${key} cannot be stopped: this node goes on claiming it. Stop it by hand, then restart heartbeat.`;
    host.log('CRIT', text);
  };
  const attempt = (index: number): void => {
    const way = WAYS[index];
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
  attempt(0);
}
