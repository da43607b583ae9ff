import { main } from '../cli/cl-status.js';
import { run } from '../cli/world.js';

run(main);
