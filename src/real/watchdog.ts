/**
 * `watchdog DEVICE` of ha.cf: a timer outside of this process, which resets the machine when it is not fed.
 *
 *     closed --configure--> open, fed at each own status --release: 'V', close--> closed: the timer is off
 *                            \--condemn--> never fed again, never closed: the machine goes down
 *
 * Its time is the deadtime and 10 ms, in whole seconds: a node that stands still is gone about when the other one takes over. A device that cannot
 * be told its time is fed all the same. With an arbiter it has half of stop-limit at most, and is not fed once what runs has to be
 * stopped for as long (resource-manager/lease-door.ts). A daemon that dies leaves it open: who comes after it feeds it in time, or the machine is
 * reset.
 *
 * Between two lives no status is sent. Where nothing can run then it is fed all the same (`bridge`), for as long as the pause between them
 * lasts and no longer: a daemon that hangs there is no better than one that hangs elsewhere.
 *
 * Source: <linux/watchdog.h>, Documentation/watchdog/watchdog-api; heartbeat 3.0.6 observed with a file for a device.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import type { NodeLogLevel } from '../host/node-ports.js';
import { ioctl, ioctlBuffer } from './ioctl.js';

const EXTRA_MS = 10;
/** The pause between two lives is the deadtime and this. */
const PAUSE_EXTRA_MS = 1000;
const FED = Buffer.alloc(1);
/** Without it the driver takes a close for the end of a broken daemon, and goes on counting. */
const MAGIC = Buffer.from('V');

export class Watchdog {
  readonly #log: (level: NodeLogLevel, text: string) => void;
  #device: string | null = null; // that is open, or was when it failed
  #fd: number | null = null;
  #isCondemned = false;
  #bridgeMs = 0; // how long it is fed without a status
  #statusMs = 0; // when the last one was sent

  constructor(log: (level: NodeLogLevel, text: string) => void) {
    this.#log = log;
  }

  /** Of a start and of each new configuration. Null: none. `limitMs`: it is not to have more time; null: that does not matter. */
  configure(device: string | null, deadtimeMs: number, limitMs: number | null = null): void {
    if (this.#isCondemned) return;
    this.#bridgeMs = deadtimeMs + PAUSE_EXTRA_MS;
    if (device !== this.#device) this.release();
    this.#device = device;
    if (device === null) return;
    if (this.#fd === null) this.#open(device);
    const seconds = Math.ceil((deadtimeMs + EXTRA_MS) / 1000);
    const limit = limitMs === null ? seconds : Math.max(1, Math.floor(limitMs / 1000));
    if (this.#fd !== null) this.#setTime(this.#fd, Math.min(seconds, limit));
  }

  /** Our own status was sent, or the daemon begins. */
  feed(nowMs: number): void {
    this.#statusMs = nowMs;
    this.#write();
  }

  /** Nothing runs here, and there is no life to send a status. */
  bridge(nowMs: number): void {
    if (nowMs - this.#statusMs <= this.#bridgeMs) this.#write();
  }

  #write(): void {
    if (this.#fd === null || this.#isCondemned) return;
    try {
      writeSync(this.#fd, FED);
    } catch (e) {
      this.#log('ERROR', `Watchdog write failure: closing ${this.#device}! (${reason(e)})`);
      this.#close();
    }
  }

  /** The machine is to go down, whatever hangs. */
  condemn(): void {
    this.#isCondemned = true;
  }

  /** Nothing runs here any more that must not outlive us. */
  release(): void {
    if (this.#fd === null || this.#isCondemned) return;
    try {
      writeSync(this.#fd, MAGIC);
      this.#log('debug', "Successful watchdog 'V' write");
    } catch (e) {
      const text = `Watchdog write magic character failure: closing ${this.#device}! (${reason(e)})`;
      this.#log('ERROR', text);
    }
    this.#close();
  }

  #open(device: string): void {
    try {
      // Not to wait for it: a stand-in may be a pipe.
      this.#fd = openSync(device, constants.O_WRONLY | constants.O_NONBLOCK);
      this.#log('info', `Using watchdog device: ${device}`);
    } catch (e) {
      this.#log('ERROR', `Cannot open watchdog device: ${device}: ${reason(e)}`);
    }
  }

  #setTime(fd: number, seconds: number): void {
    const argument = ioctlBuffer('WDIOC_SETTIMEOUT');
    argument.writeInt32LE(seconds);
    try {
      ioctl(fd, 'WDIOC_SETTIMEOUT', argument);
      this.#log('info', `Set watchdog timer to ${argument.readInt32LE()} seconds.`); // what it took
    } catch (e) {
      const text = `WDIOC_SETTIMEOUT: Failed to set watchdog timer to ${seconds} seconds.: ${reason(e)}`;
      this.#log('ERROR', `${text}. It is fed all the same, and has a time of its own.`);
    }
  }

  #close(): void {
    const fd = this.#fd;
    this.#fd = null;
    try {
      if (fd !== null) closeSync(fd);
    } catch (e) {
      this.#log('ERROR', `Watchdog close(2) failed. (${reason(e)})`);
    }
  }
}

function reason(e: unknown): string {
  const { code, message } = e as NodeJS.ErrnoException;
  return code ?? message;
}
