/**
 * The size that a device had when its internal meta-data was last written, so that the meta-data is found after the
 * device grew. Same file and format as drbd-utils: /var/lib/drbd/drbd-minor-N.lkbd; docs/METADATA.md section 6.
 *
 *     67108864<TAB>/dev/sdb1
 *     uuid:<TAB>77EF6588DC4359F4
 */
import { readFileSync, rmSync } from 'node:fs';
import { type Known, lastKnownFile, saveLastKnown } from '../real/last-known.js';
import { rooted, type World } from './world.js';

export class LastKnown {
  readonly #world: World;
  readonly #file: string | null; // null: the minor is not known

  constructor(call: { readonly world: World; readonly minor: number }) {
    this.#world = call.world;
    this.#file = call.minor < 0 ? null : rooted(call.world.root, lastKnownFile(call.minor));
  }

  load(): Known | null {
    if (this.#file === null) return null;
    let text: string;
    try {
      text = readFileSync(this.#file, 'utf8');
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code !== 'ENOENT') this.#failed('load', e);
      return null;
    }
    const match = /^([0-9]+)(?:\s+(\S+)(?:\n+uuid:\s*([0-9A-Fa-f]{1,16}))?)?/.exec(text);
    if (!match) {
      this.#world.err(`lk_bdev_load(${this.#file}): parse error\n`);
      return null;
    }
    return {
      sizeBytes: Number(match[1]),
      path: match[2] ?? '',
      uuid: match[3] === undefined ? 0n : BigInt(`0x${match[3]}`),
    };
  }

  /** Failing to remember is reported, but is no failure of what was done to the meta-data. */
  save(known: Known): void {
    if (this.#file === null) return;
    try {
      saveLastKnown(this.#file, known);
    } catch (e) {
      this.#failed('save', e);
    }
  }

  remove(): void {
    if (this.#file === null) return;
    try {
      rmSync(this.#file, { force: true });
    } catch (e) {
      this.#failed('delete', e);
    }
  }

  #failed(what: string, e: unknown): void {
    const message = e instanceof Error ? e.message : String(e);
    this.#world.err(`lk_bdev_${what}(${this.#file ?? ''}) failed: ${message}\n`);
  }
}
