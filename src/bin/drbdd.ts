import { main } from '../cli/drbdd.js';
import { run } from '../cli/world.js';

run(main);
