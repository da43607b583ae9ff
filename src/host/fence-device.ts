/** The device that resets the other node: the fence-agent of twinbeat.ini, else the last stonith device of ha.cf. */
import type { StonithDevice } from '../config/ha-cf.js';
import type { HeartbeatConfig } from './heartbeat-ports.js';

export type FenceDevice =
  | { readonly type: 'stonith'; readonly name: string; readonly device: StonithDevice }
  | { readonly type: 'agent'; readonly name: string; readonly options: readonly string[] };

/** Null: there is none, and nothing is reset. */
export function fenceDeviceOf({
  haCf,
  ini,
}: Pick<HeartbeatConfig, 'haCf' | 'ini'>): FenceDevice | null {
  const { agent, options } = ini.fence;
  if (agent !== '')
    return { type: 'agent', name: agent, options: options.split(' ').filter(Boolean) };
  const device = haCf.stonith.at(-1);
  return device === undefined ? null : { type: 'stonith', name: device.type, device };
}
