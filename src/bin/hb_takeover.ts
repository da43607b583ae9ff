import { takeoverMain } from '../cli/hb-standby.js';
import { run } from '../cli/world.js';

run(takeoverMain);
