/**
 * What the demo prints: numbered steps, the commands as an administrator would type them, and one line that is redrawn while
 * something goes on (a terminal), or a line now and then (a pipe or a log).
 */
import type { World } from './world.js';

const PIPE_EVERY_MS = 2_000;

export class Show {
  readonly #world: World;
  readonly #redraw: boolean;
  #step = 0;
  #drawn = 0; // columns of the line that is being redrawn
  #lastMs = 0;
  #lastText = '';

  constructor(world: World, redraw: boolean) {
    this.#world = world;
    this.#redraw = redraw;
  }

  step(text: string): void {
    this.#clear();
    this.#world.out(`\n${++this.#step}. ${text}\n`);
  }

  /** A command on a node, and perhaps what it answered. */
  command(node: string, text: string): void {
    this.#clear();
    this.#world.out(`   ${node}# ${text}\n`);
  }

  line(text: string): void {
    this.#clear();
    for (const line of text.replace(/\n$/, '').split('\n')) this.#world.out(`   ${line}\n`);
  }

  /** The state of something that goes on. */
  progress(text: string): void {
    if (this.#redraw) {
      const line = `   ${text}`;
      this.#world.out(`\r${line.padEnd(this.#drawn)}`);
      this.#drawn = line.length;
      return;
    }
    const nowMs = performance.now();
    if (text === this.#lastText || nowMs - this.#lastMs < PIPE_EVERY_MS) return;
    this.#lastMs = nowMs;
    this.#lastText = text;
    this.#world.out(`   ${text}\n`);
  }

  /** The last thing said, at the left margin. */
  end(text: string): void {
    this.#clear();
    this.#world.out(`${text}\n`);
  }

  #clear(): void {
    if (this.#drawn > 0) this.#world.out('\n');
    this.#drawn = 0;
    this.#lastMs = 0;
    this.#lastText = '';
  }
}

export function seconds(ms: number): string {
  return (ms / 1000).toFixed(ms < 10_000 ? 2 : 1);
}
