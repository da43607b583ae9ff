import { main } from '../cli/drbdsetup.js';
import { run } from '../cli/world.js';

run(main);
