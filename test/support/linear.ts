/** Whether work takes a time that grows with the length of a text, and not with its square. */
import type { ExecutionContext } from 'ava';

const MANY = 16_000;
const FEW = MANY / 8;
/** Linear work takes 8 times as long for 8 times the text, what compares each with each 64 times. */
const MOST_TIMES = 24;
const LEAST_MS = 20; // less cannot be told from the collector's turn

/** Processor time, so that a busy machine does not count. */
function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** `text` of 16,000 things takes `read` about eight times as long as one of 2,000. */
export function isLinear(
  t: ExecutionContext,
  text: (count: number) => string,
  read: (text: string) => unknown,
): void {
  const few = text(FEW);
  const many = text(MANY);
  read(few); // compiled
  const times =
    cpuMs(() => read(many)) /
    Math.max(
      cpuMs(() => read(few)),
      LEAST_MS,
    );
  t.true(times < MOST_TIMES, `${times.toFixed(1)} times as long`);
}
