import { main } from '../cli/drbdadm.js';
import { run } from '../cli/world.js';

run(main);
