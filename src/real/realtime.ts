/**
 * `realtime` and `rtprio` of ha.cf: the thread that sends keepalives comes before everything that is not real-time, and its code is
 * never read from a disk again, which may hang or be busy. Scripts and services do not inherit either. What is not
 * allowed is said once, and heartbeat runs without it.
 *
 * Unlike the original's, its data are not locked (native/src/system.h says why): keep a node from swapping, or set
 * MemorySwapMax=0 in its unit. `memreserve` has no effect.
 */
import type { HaCf } from '../config/ha-cf.js';
import { lockCode, setRealtime } from './native-addon.js';

export function becomeRealtime(
  { realtime, rtprio }: Pick<HaCf, 'realtime' | 'rtprio'>,
  log: (level: 'WARN', text: string) => void,
): void {
  if (!realtime) return;
  const refused = [() => lockCode(), () => setRealtime(rtprio)].flatMap((step) => {
    try {
      step();
      return [];
    } catch (e) {
      return [e instanceof Error ? e.message : String(e)];
    }
  });
  if (refused.length === 0) return;
  log('WARN', `realtime: not as ha.cf asks: ${refused.join('; ')}. Going on without.`);
}
