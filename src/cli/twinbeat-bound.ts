/** twinbeat bound: how long an outage may last, by the configuration in force and what the scripts took here (host/bound.ts). */
import type { Bound, BoundPart } from '../host/bound.js';
import { askHeartbeat } from './heartbeat-client.js';
import type { World } from './world.js';

const TITLES: Readonly<Record<Bound['of'], string>> = {
  node: 'this node dies',
  restart: 'a resource fails, and a restart in place helps',
  'fail-over': 'a resource fails for good',
};

function seconds(ms: number | null): string {
  return ms === null ? 'unknown' : `${(ms / 1000).toFixed(1)} s`;
}

function partLine({ what, ms, note }: BoundPart): string {
  return `  ${seconds(ms).padStart(10)}  ${what} (${note})\n`;
}

export function boundText(bound: Bound): string {
  const key = bound.key === null ? '' : `${bound.key}: `;
  const limit = bound.isComplete ? 'at most' : 'at least';
  const notes = bound.notes.map((note) => `  note: ${note}\n`);
  const head = `${key}${TITLES[bound.of]}: ${limit} ${seconds(bound.ms)}\n`;
  return [head, ...bound.parts.map(partLine), ...notes].join('');
}

export async function boundMain(json: boolean, world: World): Promise<number> {
  const answer = await askHeartbeat(world.root, { verb: 'bound' });
  if (answer.ok !== true) {
    world.err(`twinbeat bound: ${answer.ok === null ? answer.reason : answer.text}\n`);
    return 1;
  }
  const bounds = answer.value as readonly Bound[]; // same version, same file
  if (json) world.out(`${JSON.stringify({ bounds })}\n`);
  else world.out(bounds.map(boundText).join('\n'));
  return 0;
}
