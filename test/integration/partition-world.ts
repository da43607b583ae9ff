/**
 * How a pair stands in the partition tests: what is cut, who has power, whose daemon runs. From that follows how many nodes must be active
 * when the pair has done what it can; `null`: nothing follows.
 *
 *     none             a node that can serve does, whatever the other one does             at least one
 *     witness, etcd    a node that reaches the third place, or two that hear each other    one;  nobody does: none
 *     stonith          two that hear each other, or one that can reset the other           one;  else: not more than one
 *
 * Pure.
 */
import {
  type Act,
  HOSTS,
  type Host,
  type Mode,
  type Net,
  otherHost,
  type Plan,
  type Way,
} from './partition-plan.js';

export interface Node {
  isOn: boolean;
  daemon: 'runs' | 'killed' | 'stopped';
}

export interface Wanted {
  readonly least: 0 | 1;
  readonly most: 0 | 1 | 2;
}

export class World {
  readonly nodes: Readonly<Record<Host, Node>> = {
    'node-a': { isOn: true, daemon: 'runs' },
    'node-b': { isOn: true, daemon: 'runs' },
  };
  /** "NET HOST" -> how it is cut. */
  readonly #cuts = new Map<string, Way>();
  thirdIsThere = true;

  act(act: Act): void {
    switch (act.type) {
      case 'cut':
        this.#cuts.set(`${act.net} ${act.host}`, act.way);
        return;
      case 'join':
        this.#cuts.delete(`${act.net} ${act.host}`);
        return;
      case 'daemon': {
        const node = this.nodes[act.host];
        if (!node.isOn) return;
        if (act.how === 'killed' || act.how === 'stopped') node.daemon = act.how;
        else node.daemon = 'runs';
        return;
      }
      case 'power':
        this.power(act.host, act.on);
        return;
      case 'third':
        this.thirdIsThere = act.on;
    }
  }

  /** A node that boots starts its daemon. */
  power(host: Host, on: boolean): void {
    this.nodes[host].isOn = on;
    this.nodes[host].daemon = on ? 'runs' : 'killed';
  }

  way(net: Net, host: Host): Way | null {
    return this.#cuts.get(`${net} ${host}`) ?? null;
  }

  sends(net: Net, host: Host): boolean {
    const way = this.way(net, host);
    return way === null || way === 'to';
  }

  receives(net: Net, host: Host): boolean {
    const way = this.way(net, host);
    return way === null || way === 'from';
  }

  /** It can do anything at all. */
  works(host: Host): boolean {
    const { isOn, daemon } = this.nodes[host];
    return isOn && daemon === 'runs';
  }

  /** What the other node sends arrives. */
  hears(host: Host): boolean {
    const other = otherHost(host);
    const nets = ['link1', 'link2'] as const;
    return (
      this.works(other) && nets.some((net) => this.sends(net, other) && this.receives(net, host))
    );
  }

  reachesThird(host: Host): boolean {
    return this.thirdIsThere && this.way('third', host) === null;
  }

  canReset(host: Host, device: Plan['device']): boolean {
    const other = otherHost(host);
    if (!this.reachesThird(host)) return false;
    return device === 'switch' || (this.nodes[other].isOn && this.reachesThird(other));
  }

  wanted(mode: Mode, device: Plan['device']): Wanted | null {
    const working = HOSTS.filter((host) => this.works(host));
    const isWhole = working.length === 2 && HOSTS.every((host) => this.hears(host));
    if (isWhole) return { least: 1, most: 1 };
    // What a daemon left running that was killed or stands still goes on, where nothing ends it.
    if (mode === 'none') return working.length > 0 ? { least: 1, most: 2 } : null;
    if (mode === 'stonith') {
      const can = working.some((host) => !this.hears(host) && this.canReset(host, device));
      return { least: can ? 1 : 0, most: 1 };
    }
    const can = working.some((host) => this.reachesThird(host));
    return can ? { least: 1, most: 1 } : { least: 0, most: 0 };
  }
}
