/** placeholder until written */
import type { Show } from './demo-show.js';
import type { World } from './world.js';
export async function unprivilegedDemo(show: Show, _world: World): Promise<number> {
  show.end('demo: needs root');
  return 1;
}
