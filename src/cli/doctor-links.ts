/** What doctor looks for in the links of ha.cf and in its times. */
import type { Medium } from '../config/ha-cf.js';
import { type Facts, HA_CF, haCfAt } from './doctor-facts.js';
import type { Check, Found, FoundAt } from './doctor-finding.js';
import { asksWitness, isAlone, RELOAD } from './doctor-ha.js';

/** Media that are one way to the other node: `ucast` to both nodes, so that the file is the same on both, is one. */
function linksOf(media: readonly Medium[]): readonly Medium[] {
  const key = (medium: Medium) =>
    'group' in medium
      ? `${medium.type} ${medium.device} ${medium.group} ${medium.port}`
      : `${medium.type} ${medium.device}`;
  return [...new Map(media.map((medium) => [key(medium), medium])).values()];
}

function mediumAt({ haCfLines }: Facts, { type, device }: Medium): FoundAt {
  const names = type === 'bcast' ? ['bcast', 'udp'] : [type];
  const line = haCfLines.find(
    ({ name, value }) => names.includes(name) && value.split(/[\s,]+/).includes(device),
  );
  return { file: HA_CF, line: line?.line ?? null };
}

const SECOND_LINK =
  'Add a second line to ha.cf over another interface and another cable or switch (docs/MEDIA.md), then';

const oneLink: Check = {
  name: 'one-link',
  level: 'warning',
  rule: 'Two nodes that live and do not hear each other take each other for dead. With one link, one cable is enough for that.',
  look(facts) {
    const [only, ...more] = linksOf(facts.haCf?.media ?? []);
    if (!only || more.length > 0 || isAlone(facts)) return [];
    const asks = asksWitness(facts);
    const without = ['See what happens without:', '$ twinbeat doctor --show one-link'];
    const then = asks ? ' When it fails the witness says who serves, and the other one stops.' : '';
    return [
      {
        at: mediumAt(facts, only),
        evidence: `The only link is ${only.type} ${only.device}.${then}`,
        next: [SECOND_LINK, RELOAD, ...(asks ? [] : without)],
      },
    ];
  },
};

const linksOnOneNetwork: Check = {
  name: 'links-on-one-network',
  level: 'warning',
  rule: 'Links protect each other when no cable, interface or network is part of all of them. Two interfaces in one network are one link for the kernel, which sends by either.',
  look(facts) {
    const links = linksOf(facts.haCf?.media ?? []);
    const found: Found[] = [];
    const next = ['Give each link an interface, a cable and a network of its own, then', RELOAD];
    const carrier = ({ device }: Medium) => facts.carriers.get(device) ?? device;
    for (const [i, link] of links.entries()) {
      for (const other of links.slice(i + 1)) {
        const shared = facts.networks
          .get(link.device)
          ?.find((network) => facts.networks.get(other.device)?.includes(network));
        if (link.device === other.device || shared === undefined) continue;
        const evidence = `${link.device} and ${other.device} are both in ${shared}.`;
        found.push({ at: mediumAt(facts, other), evidence, next });
      }
    }
    const carriers = [...new Set(links.map(carrier))];
    const last = links.at(-1);
    if (links.length > 1 && carriers.length === 1 && last) {
      const names = links.map(({ type, device }) => `${type} ${device}`);
      const evidence = `All links leave by ${carriers[0]}: ${names.join(', ')}.`;
      found.push({ at: mediumAt(facts, last), evidence, next });
    }
    return found;
  },
};

const seconds = (ms: number): string => `${ms / 1000} s`;

const deadtimeShort: Check = {
  name: 'deadtime-short',
  level: 'warning',
  rule: 'A node is dead when it was silent for deadtime. Below 3 x keepalive, two keepalives that are lost or late take over a node that lives.',
  look(facts) {
    const { haCf } = facts;
    if (!haCf || haCf.deadtimeMs >= 3 * haCf.keepaliveMs) return [];
    const { deadtimeMs, keepaliveMs } = haCf;
    return [
      {
        at: haCfAt(facts, 'deadtime'),
        evidence: `deadtime is ${seconds(deadtimeMs)}, keepalive ${seconds(keepaliveMs)}.`,
        next: [
          `Make deadtime ${seconds(5 * keepaliveMs)} or more, or keepalive shorter, then`,
          RELOAD,
        ],
      },
    ];
  },
};

const initdeadShort: Check = {
  name: 'initdead-short',
  level: 'warning',
  rule: 'At a boot the other node may be silent for as long as its network needs. After initdead it counts as dead: at least 10 s, better twice deadtime.',
  look: (facts) =>
    facts.haCfMessages
      .filter(({ text }) => /^Initial dead time .* may be too small/.test(text))
      .map(({ text }) => ({
        at: haCfAt(facts, 'initdead'),
        evidence: text,
        next: [
          `Write \`initdead ${Math.max(10, (2 * (facts.haCf?.deadtimeMs ?? 0)) / 1000)}\` or more; it is for the next start of heartbeat.`,
        ],
      })),
};

const warntimeUseless: Check = {
  name: 'warntime-useless',
  level: 'warning',
  rule: 'warntime tells of late heartbeats before deadtime makes them a take-over: more than keepalive, less than deadtime.',
  look(facts) {
    const { haCf } = facts;
    if (!haCf) return [];
    const { warntimeMs, keepaliveMs, deadtimeMs } = haCf;
    if (warntimeMs > keepaliveMs && warntimeMs < deadtimeMs) return [];
    const times = `warntime is ${seconds(warntimeMs)}, keepalive ${seconds(keepaliveMs)}, deadtime ${seconds(deadtimeMs)}`;
    const what = warntimeMs < deadtimeMs ? 'every heartbeat is late' : 'no warning comes before';
    return [
      {
        at: haCfAt(facts, 'warntime'),
        evidence: `${times}: ${what}.`,
        next: ['Take the line out (half of deadtime is the default), then', RELOAD],
      },
    ];
  },
};

export const LINK_CHECKS: readonly Check[] = [
  oneLink,
  linksOnOneNetwork,
  deadtimeShort,
  initdeadShort,
  warntimeUseless,
];
