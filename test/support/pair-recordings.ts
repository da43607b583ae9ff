/** The recordings that both nodes of a pair have left, drbdd's and heartbeat's, replayed together. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PairNode } from '../../src/cli/pair-node.js';
import { FlightFile } from '../../src/host/flight-read.js';
import { flightChecksum } from '../../src/real/flight-files.js';
import { nodeDigests } from '../../src/real/node-ports.js';
import { replayOf, replayTogether } from '../../src/sim/replay.js';
import type { ReplayEvent } from '../../src/sim/replay-explain.js';

export interface Replayed {
  readonly name: string;
  readonly daemon: 'drbdd' | 'heartbeat';
  readonly whole: boolean;
  readonly inputs: number;
  readonly transitions: number;
  readonly wrong: string; // '' when it was the same
}

/** As the nodes' disks have them: a copy of what runs may be two seconds old. */
export function replayRecordings(nodes: readonly PairNode[]): Replayed[] {
  const events: ReplayEvent[] = [];
  const files = nodes.flatMap((node) => {
    const dir = join(node.dir, 'lib/twinbeat/flight');
    // What the machine itself has there may be marked as removed by the overlay: no plain file.
    const own = readdirSync(dir, { withFileTypes: true }).filter((e) => e.isFile());
    return own.map(({ name }) => {
      const path = join(dir, name);
      return FlightFile.read(`${node.name}/${name}`, readFileSync(path), flightChecksum);
    });
  });
  const counts = files.map(() => 0);
  const replays = files.map((file, i) =>
    replayOf(file, nodeDigests, (event) => {
      events.push(event);
      if (event.kind === 'transition') counts[i] = (counts[i] ?? 0) + 1;
    }),
  );
  const results = replayTogether(replays, Number.POSITIVE_INFINITY);
  return replays.map(({ file, whole }, i) => {
    const result = results[i];
    const broke = result?.broke === '' ? '' : `broke: ${result?.broke}`;
    return {
      name: file.name,
      daemon: file.head.daemon,
      whole,
      inputs: result?.inputs ?? 0,
      transitions: counts[i] ?? 0,
      wrong: result?.difference?.message ?? broke,
    };
  });
}
