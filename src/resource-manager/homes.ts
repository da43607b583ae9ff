/**
 * Whose is what: haresources has to be the same on both nodes. Where it is not, a resource can be at home on either by its own
 * file, and both would start it. So each node tells the other the homes of its resources, in `starting` and `resource` (field
 * `homes`, ours; the original ignores it):
 *
 *     NODE:DIGEST,DIGEST...;NODE:DIGEST...        of each resource as written, by home
 *
 * A group with a resource that the files give to different nodes is in dispute: while both live nobody starts it by itself; what
 * runs runs on, and what the other has given up wholly (`all`: death, leave, standby of everything) is taken as ever.
 */
import type { HaResourceGroup } from '../config/haresources.js';

/** A digest of a resource as written. Files may hold what is nobody's business on the wire. */
export type TextDigest = (text: string) => string;

type Homes = ReadonlyMap<string, ReadonlySet<string>>; // digest of a resource -> nodes at which it is at home

export interface Dispute {
  readonly group: HaResourceGroup;
  readonly resource: string;
  readonly ours: string; // its home, or homes, by our file
  readonly theirs: string;
}

function homesOf(groups: readonly HaResourceGroup[], digest: TextDigest): Homes {
  const homes = new Map<string, Set<string>>();
  for (const { node, resources } of groups) {
    for (const { text } of resources) {
      const key = digest(text);
      homes.set(key, (homes.get(key) ?? new Set()).add(node));
    }
  }
  return homes;
}

export function formatHomes(groups: readonly HaResourceGroup[], digest: TextDigest): string {
  const byNode = new Map<string, Set<string>>();
  for (const [key, nodes] of homesOf(groups, digest)) {
    for (const node of nodes) byNode.set(node, (byNode.get(node) ?? new Set()).add(key));
  }
  return [...byNode]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([node, keys]) => `${node}:${[...keys].sort().join(',')}`)
    .join(';');
}

/** Null: not of this form. */
function parseHomes(text: string): Homes | null {
  const homes = new Map<string, Set<string>>();
  for (const part of text.split(';')) {
    const [, node, keys] = /^([^:,;]+):([0-9a-f,]+)$/.exec(part) ?? [];
    if (node === undefined || keys === undefined) return null;
    for (const key of keys.split(',')) homes.set(key, (homes.get(key) ?? new Set()).add(node));
  }
  return homes;
}

const named = (nodes: ReadonlySet<string>): string => [...nodes].sort().join(' and ');

/** What a node knows of the other's file. */
export class PeerHomes {
  readonly #groups: readonly HaResourceGroup[];
  readonly #digest: TextDigest;
  #heard: string;
  #disputes: readonly Dispute[] = [];
  /** What is told of ours. */
  readonly text: string;

  constructor(groups: readonly HaResourceGroup[], digest: TextDigest) {
    this.#groups = groups;
    this.#digest = digest;
    this.text = formatHomes(groups, digest);
    this.#heard = this.text; // of a peer that says nothing of it nothing is known
  }

  get disputes(): readonly Dispute[] {
    return this.#disputes;
  }

  isDisputed(group: HaResourceGroup): boolean {
    return this.#disputes.some((dispute) => dispute.group === group);
  }

  /**
   * The peer's `homes`. What is to be said of it: only when it says something new. `missing`: our resources that its file lacks, so that
   * it will not take them over.
   */
  hear(
    text: string,
  ): { readonly disputes: readonly Dispute[]; readonly missing: readonly string[] } | null {
    if (text === this.#heard) return null;
    const theirs = parseHomes(text);
    if (!theirs) return null;
    this.#heard = text;
    const ours = homesOf(this.#groups, this.#digest);
    const disputes: Dispute[] = [];
    const missing: string[] = [];
    for (const group of this.#groups) {
      for (const { text: resource } of group.resources) {
        const key = this.#digest(resource);
        const there = theirs.get(key);
        const here = ours.get(key) ?? new Set();
        if (!there) missing.push(resource);
        else if (named(there) !== named(here)) {
          disputes.push({ group, resource, ours: named(here), theirs: named(there) });
          break; // one is enough for the group
        }
      }
    }
    this.#disputes = disputes;
    return { disputes, missing };
  }
}
