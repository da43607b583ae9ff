import { twinbeat } from '../cli/twinbeat.js';
import { run } from '../cli/world.js';

run(twinbeat);
