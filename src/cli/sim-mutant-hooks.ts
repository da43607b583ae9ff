/** The loader hook of a mutant, in the loader's own thread: one module has another text, all others are as they are. */
import type { LoadFnOutput, LoadHookContext } from 'node:module';
import type { Planted } from './sim-mutant.js';

type NextLoad = (
  url: string,
  context?: Partial<LoadHookContext>,
) => LoadFnOutput | Promise<LoadFnOutput>;

let planted: Planted | null = null;

export function initialize(data: Planted): void {
  planted = data;
}

export function load(
  url: string,
  context: LoadHookContext,
  nextLoad: NextLoad,
): LoadFnOutput | Promise<LoadFnOutput> {
  if (planted === null || url !== planted.url) return nextLoad(url, context);
  return { format: 'module', shortCircuit: true, source: planted.source };
}
