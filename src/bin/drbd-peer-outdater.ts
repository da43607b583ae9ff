import { main } from '../cli/drbd-peer-outdater.js';
import { run } from '../cli/world.js';

run(main);
