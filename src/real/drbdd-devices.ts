/**
 * Volumes and the block devices before them: what of the two changes first, and what is taken back when the other fails.
 *
 * A promotion first changes the role, then gives the users a block device; a demotion first takes the device away (refused
 * while somebody has it open), then changes the role. A resource goes down only when all its devices could be taken away.
 *
 * Requests of one resource may overlap (host/change-order.ts): one that waits in the engine for a handler is overtaken. What is
 * done with the devices of a resource is not: it is one piece of work after the other, and what has changed before is looked at.
 *
 * Without a manager (volumes are exported by NBD) there are no devices, and only the engine is asked.
 */
import type { Logger } from 'pino';
import { stateText } from '../drbd/return-codes.js';
import type { ControlFailure, ControlReply, ControlRequest } from '../host/control.js';
import type { DeviceManager, DeviceSpec } from './device-manager.js';
import type { EngineThread } from './drbdd-engine-thread.js';
import { KeyedTurns } from './keyed-turns.js';

/** 512, since that is what a moved DRBD volume has. */
const LOOP = { blockBytes: 512, discard: true };

type RequestOf<Verb> = Extract<ControlRequest, { verb: Verb }>;

export class DrbddDevices {
  readonly #engine: EngineThread;
  readonly #manager: DeviceManager | null;
  readonly #log: Logger;
  readonly #turns = new KeyedTurns(); // by resource

  constructor(engine: EngineThread, manager: DeviceManager | null, log: Logger) {
    this.#engine = engine;
    this.#manager = manager;
    this.#log = log;
  }

  // ---- requests

  newMinor(request: RequestOf<'new-minor'>): Promise<ControlReply> {
    return this.#turns.run(request.resource, () => this.#newMinor(request));
  }

  async #newMinor(request: RequestOf<'new-minor'>): Promise<ControlReply> {
    const { minor, device, resource, volume } = request;
    const before = await this.#engine.running();
    const known = before.some((r) => r.volumes.some((v) => v.minor === minor));
    const reply = await this.#engine.request(request);
    if (!reply.ok || known || !this.#manager) return reply;
    try {
      const attachment = await this.#manager.create({ minor, device, resource, volume });
      const served = await this.#engine.serve(attachment);
      if (served.ok) {
        if (!attachment.restartable) {
          this.#log.warn(
            `minor ${minor}: without the angel (drbdd --keepalive) the device ends with this process`,
          );
        }
        return reply;
      }
      throw new Error(served.text);
    } catch (e) {
      await this.#engine.request({ verb: 'del-minor', minor });
      return fail(`the device can not be made: ${text(e)}`);
    }
  }

  delMinor(resource: string, minor: number): Promise<ControlReply> {
    return this.#turns.run(resource, async () => {
      const reply = await this.#engine.request({ verb: 'del-minor', minor });
      if (reply.ok) await this.#manager?.remove(minor);
      return reply;
    });
  }

  /** What is open stays open: only the names below /dev/drbd/by-res are others. */
  rename(request: RequestOf<'rename-resource'>): Promise<ControlReply> {
    return this.#turns.run(request.resource, async () => {
      const reply = await this.#engine.request(request);
      if (reply.ok) {
        try {
          this.#manager?.rename(request.resource, request.name);
        } catch (e) {
          this.#log.error({ object: request.name }, `renamed, but not below /dev: ${text(e)}`);
        }
      }
      return reply;
    });
  }

  /** The engine may wait for fence-peer: nothing is held meanwhile. */
  async primary(resource: string, request: RequestOf<'primary'>): Promise<ControlReply> {
    const reply = await this.#engine.request(request);
    if (!reply.ok || !this.#manager) return reply;
    return this.#turns.run(resource, async () => (await this.#activate(request.minor)) ?? reply);
  }

  /** Null, or why it is not Primary now. */
  async #activate(minor: number): Promise<ControlReply | null> {
    const isPrimary = (await this.#engine.primaries()).includes(minor);
    if (!isPrimary) return fail('promoted, and taken down or demoted again before it had a device');
    try {
      await this.#manager?.activate(minor, LOOP);
      return null;
    } catch (e) {
      await this.#engine.request({ verb: 'secondary', minor });
      return fail(`promoted, but no block device could be made: ${text(e)}; Secondary again`);
    }
  }

  secondary(resource: string, request: RequestOf<'secondary'>): Promise<ControlReply> {
    return this.#turns.run(resource, () => this.#secondary(request));
  }

  async #secondary(request: RequestOf<'secondary'>): Promise<ControlReply> {
    const { minor } = request;
    const held = await this.#takeAway(minor);
    if (held) return held;
    const reply = await this.#engine.request(request);
    if (!reply.ok) {
      await this.#manager?.activate(minor, LOOP).catch(() => {});
    }
    return reply;
  }

  down(resource: string): Promise<ControlReply> {
    return this.#turns.run(resource, () => this.#down(resource));
  }

  async #down(resource: string): Promise<ControlReply> {
    const found = (await this.#engine.running()).find((r) => r.name === resource);
    const minors = (found?.volumes ?? []).map((v) => v.minor);
    const taken: number[] = [];
    const giveBack = async (): Promise<void> => {
      const primaries = await this.#engine.primaries();
      for (const minor of taken) {
        if (!primaries.includes(minor)) continue;
        await this.#manager?.activate(minor, LOOP).catch(() => {});
      }
    };
    for (const minor of minors) {
      const held = await this.#takeAway(minor);
      if (held) {
        await giveBack();
        return held;
      }
      taken.push(minor);
    }
    const reply = await this.#engine.request({ verb: 'down', resource });
    if (!reply.ok) {
      await giveBack();
      return reply;
    }
    for (const minor of minors) await this.#manager?.remove(minor);
    return reply;
  }

  /** Release the block device; a refusal when somebody has it open, or null. */
  async #takeAway(minor: number): Promise<ControlFailure | null> {
    if (!this.#manager) return null;
    try {
      const released = await this.#manager.deactivate(minor);
      if (released.ok) return null;
      return {
        ok: false,
        kind: 'state',
        code: -12,
        text: stateText(-12),
        info: released.evidence,
        next: ['end what uses the device (umount, stop the database), then try again'],
      };
    } catch (e) {
      // No such device: the engine says what is wrong with the minor.
      this.#log.debug(`minor ${minor}: ${text(e)}`);
      return null;
    }
  }

  // ---- after a restart under the angel

  /** Serves the device that a predecessor left, or a new one. */
  async adopt(spec: DeviceSpec): Promise<void> {
    if (!this.#manager) return;
    const attachment =
      (await this.#manager.adopt(spec.minor)) ?? (await this.#manager.create(spec));
    const served = await this.#engine.serve(attachment);
    if (!served.ok) this.#log.error(`minor ${spec.minor}: device: ${served.text}`);
  }

  /** The loop devices are looked at last: that asks the FUSE files, which are served by now. */
  async settle(primaries: readonly number[]): Promise<void> {
    for (const minor of primaries) {
      try {
        const loop = await this.#manager?.settle(minor);
        if (this.#manager && loop === null) {
          await this.#manager.activate(minor, LOOP);
        }
      } catch (e) {
        this.#log.error(`minor ${minor}: device: ${text(e)}`);
      }
    }
  }

  // ---- the rest of a device's life

  /** False: there is none, and the status is to be shown in another way. */
  async serveStatusFile(): Promise<boolean> {
    if (!this.#manager) return false;
    try {
      const served = await this.#engine.serve(await this.#manager.statusFile());
      if (served.ok) return true;
      this.#log.warn(`status file: ${served.text}`);
    } catch (e) {
      this.#log.warn(`status file: ${text(e)}`);
    }
    return false;
  }

  resized(minor: number): void {
    void this.#manager?.resized(minor).catch((e) => {
      this.#log.debug(`minor ${minor}: new size: ${text(e)}`);
    });
  }

  async shutdown(): Promise<void> {
    await this.#manager?.shutdown();
  }
}

function text(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}

function fail(what: string): ControlFailure {
  return { ok: false, kind: 'failure', code: 0, text: what, info: [], next: [] };
}
