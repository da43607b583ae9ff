import { main } from '../cli/heartbeat.js';
import { run } from '../cli/world.js';

run(main);
