/** `run-mutant.js NAME PROGRAM ARGUMENT...`: as the command line runs a mutant, on another program. */
import { runMutant } from '../../src/cli/sim-mutant.js';
import { run } from '../../src/cli/world.js';

run(async ([name = '', program = '', ...argv]) => runMutant(name, argv, [program]));
