import { main } from '../cli/drbdmeta.js';
import { run } from '../cli/world.js';

run(main);
