/**
 * Preloaded (`node --import`) in a process that runs a mutant, and in each of its worker threads: puts the loader hook that
 * gives one module its changed text. See sim-mutant.ts.
 */
import { register } from 'node:module';
import { mutantOrUsage, plantedModule, plantedMutant } from './sim-mutant.js';
import { UsageError } from './world.js';

const name = plantedMutant(process.env);
if (name !== null) {
  try {
    const data = plantedModule(mutantOrUsage(name));
    register('./sim-mutant-hooks.js', import.meta.url, { data });
  } catch (e) {
    if (!(e instanceof UsageError)) throw e;
    process.stderr.write(`${e.message}\n`);
    process.exit(e.status);
  }
}
