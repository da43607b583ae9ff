import { main } from '../cli/drbd-overview.js';
import { run } from '../cli/world.js';

run(main);
