/** Heartbeat's files on a simulated node: /var/lib outlives a power cut, /run only a process. */
import type { LivesFile, LivesFiles } from '../host/heartbeat-ports.js';

export class HeartbeatFiles implements LivesFiles {
  readonly #content = new Map<LivesFile, Uint8Array>();

  read(file: LivesFile): Uint8Array | null {
    return this.#content.get(file)?.slice() ?? null;
  }

  write(file: LivesFile, content: Uint8Array): void {
    this.#content.set(file, content.slice());
  }

  remove(file: LivesFile): void {
    this.#content.delete(file);
  }

  powerCut(): void {
    this.#content.delete('state');
  }
}
