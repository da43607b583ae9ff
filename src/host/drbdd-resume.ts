/**
 * What a successor of drbdd must know to go on where its predecessor died, and the order in which it configures itself:
 * each volume is attached and Primary again before its users are answered, and the peer is met last.
 */
import type { Handlers } from '../config/drbd-options.js';
import type { ControlRequest, RunningResource } from './control.js';

export interface ResourceHandlers {
  readonly handlers: Handlers;
  readonly environment: Readonly<Record<string, string>>;
  readonly lowerDisks?: Readonly<Record<string, string>> | undefined; // absent: of an older drbdadm, or saved by an older drbdd
}

export interface SavedState {
  readonly version: 1;
  readonly resources: readonly RunningResource[];
  readonly primaries: readonly number[]; // minors
  readonly handlers: Readonly<Record<string, ResourceHandlers>>;
}

export type ResumeStep =
  | { readonly type: 'request'; readonly request: ControlRequest }
  /** `DrbdControl.resumePrimary`. */
  | { readonly type: 'resume-primary'; readonly minor: number }
  /** The device of the minor is served again: its users' requests arrive from now on. */
  | {
      readonly type: 'device';
      readonly minor: number;
      readonly device: string;
      readonly resource: string;
      readonly volume: number;
    };

/** By minor: the generations that users may have seen last (hex digits). They change without a request. */
export type Exposed = Readonly<Record<string, readonly string[]>>;

/** A step that fails is logged, and the next one is done all the same: as much as possible is there again. */
export function resumeSteps(saved: SavedState, exposed: Exposed): ResumeStep[] {
  const steps: ResumeStep[] = [];
  const request = (r: ControlRequest): void => {
    steps.push({ type: 'request', request: r });
  };
  for (const r of saved.resources) {
    request({ verb: 'new-resource', resource: r.name, options: r.options });
    for (const v of r.volumes) {
      const { minor, volume, device } = v;
      request({ verb: 'new-minor', resource: r.name, minor, volume, device });
      // Before the disk is looked at: it may be one that was let go, and older. That it is old a Secondary must not forget, either.
      const generations = exposed[minor];
      if (generations) {
        const users = saved.primaries.includes(minor);
        request({ verb: 'expose', minor, generations, users });
      }
      // Before anything is written: an operator copies the disk, maybe.
      if (v.suspended) request({ verb: 'suspend-io', minor });
      if (v.disk) request({ verb: 'attach', minor, ...v.disk });
      if (saved.primaries.includes(minor)) steps.push({ type: 'resume-primary', minor });
      steps.push({ type: 'device', minor, device, resource: r.name, volume });
    }
    if (r.net) {
      const { local, remote, options } = r.net;
      request({
        verb: 'connect',
        resource: r.name,
        local,
        remote,
        options,
        discardMyData: false,
        tentative: false,
      });
    }
  }
  return steps;
}
