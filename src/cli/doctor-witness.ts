/** What doctor looks for in [witness] of twinbeat.ini: who is asked, where that runs, and whether its times fit those of ha.cf. */
import { arbiterOf } from '../host/arbiter-config.js';
import type { Facts } from './doctor-facts.js';
import { nodeAddresses, nodesOf, TWINBEAT_INI } from './doctor-facts.js';
import type { Check, Found } from './doctor-finding.js';
import { RELOAD } from './doctor-ha.js';

const AT = { file: TWINBEAT_INI, line: null };

/** The hosts of [witness]: of the one witness, or of each endpoint of etcd. */
function witnessHosts({ ini }: Facts): readonly string[] {
  const { address, endpoints } = ini?.witness ?? { address: '', endpoints: '' };
  return [address, ...endpoints.split(' ')]
    .filter((text) => text !== '')
    .map((text) =>
      text
        .replace(/^http:\/\//, '')
        .replace(/:\d+$/, '')
        .replace(/^\[|\]$/g, '')
        .toLowerCase(),
    );
}

/** This machine itself: of no use to anybody else. */
const LOOPBACK = /^(127\.|::1$|localhost$)/;

const witnessOnANode: Check = {
  name: 'witness-on-a-node',
  level: 'error',
  rule: 'A witness is a third machine: on one of the two nodes it goes with that node, and the other one is refused when it should take over.',
  look(facts) {
    const hosts = witnessHosts(facts);
    const own = new Set([...nodeAddresses(facts), ...nodesOf(facts.haCfLines)]);
    const isOfNode = (host: string) => LOOPBACK.test(host) || own.has(host);
    // A member of etcd on a node is good as long as the others are elsewhere.
    if (hosts.length === 0 || !hosts.every(isOfNode)) return [];
    const what = hosts.length > 1 ? 'are all addresses' : 'is an address';
    return [
      {
        at: AT,
        evidence: `${hosts.join(', ')} ${what} of the nodes or of what they serve.`,
        next: ['Run it on a third machine (docs/WITNESS.md), write its address, then', RELOAD],
      },
    ];
  },
};

const witnessAlone: Check = {
  name: 'witness-alone',
  level: 'error',
  rule: 'A lease protects from a node that asks for one, too. When only one of the two has [witness], nobody is asked by the other, and both may serve.',
  look({ report }) {
    const asks = report?.witness ?? null;
    if (asks === null || asks.peer === null || asks.own === asks.peer) return [];
    const evidence = asks.own
      ? "This node asks a witness, the other one does not; Debian's heartbeat never does."
      : 'The other node asks a witness, this one does not.';
    const there = asks.own ? 'of the other node' : 'of this node';
    return [
      {
        at: AT,
        evidence,
        next: [
          `Write the same [witness] to ${TWINBEAT_INI} ${there} (docs/WITNESS.md), chmod 600, then there`,
          '$ heartbeat -r',
        ],
      },
    ];
  },
};

/** Of the requests in the second half of deadtime two may be lost. */
const MIN_REQUESTS = 3;

const seconds = (ms: number): string => `${ms / 1000} s`;

const witnessTimes: Check = {
  name: 'witness-times',
  level: 'warning',
  rule: 'The lease is asked for from half of deadtime on, thirty times in its length, and has to be there at deadtime; what is not stopped at half of stop-limit takes the machine down.',
  look(facts) {
    const { haCf, ini } = facts;
    if (!haCf || !ini || arbiterOf({ haCf, ini }) === null) return [];
    const { leaseS, stopLimitS } = ini.witness;
    const { deadtimeMs, keepaliveMs } = haCf;
    const found: Found[] = [];
    const everyMs = (leaseS * 1000) / 30;
    const requests = Math.ceil(deadtimeMs / 2 / everyMs);
    if (requests < MIN_REQUESTS) {
      const fits = Math.floor((5 * deadtimeMs) / 1000); // thirty in it, more than two in half of deadtime
      const shorter = fits >= 5 ? `Make lease ${fits} or less in twinbeat.ini, or ` : 'Make ';
      found.push({
        at: AT,
        evidence: `lease is ${leaseS} s, so it is asked for each ${seconds(everyMs)}; half of deadtime is ${seconds(deadtimeMs / 2)}: time for ${requests} request${requests === 1 ? '' : 's'}.`,
        next: [`${shorter}deadtime longer, on both nodes, then`, RELOAD],
      });
    }
    if (deadtimeMs <= 4 * keepaliveMs) {
      found.push({
        at: AT,
        evidence: `deadtime is ${seconds(deadtimeMs)}, keepalive ${seconds(keepaliveMs)}: the other node's word that it hears us may be two keepalives old, which is half of deadtime. So nodes that hear each other ask the witness, too, and stop when it is away.`,
        next: [
          `Make deadtime ${seconds(5 * keepaliveMs)} or more, or keepalive shorter, then`,
          RELOAD,
        ],
      });
    }
    const timeoutS = ini.heartbeat.scriptTimeoutS;
    if (timeoutS > 0 && 2 * timeoutS >= stopLimitS) {
      found.push({
        at: AT,
        evidence: `script-timeout is ${timeoutS} s, stop-limit ${stopLimitS} s: the machine goes down before a stop that hangs is killed.`,
        next: [
          `Make stop-limit more than ${2 * timeoutS}, or script-timeout shorter, on both nodes, then`,
          RELOAD,
        ],
      });
    }
    return found;
  },
};

export const WITNESS_CHECKS: readonly Check[] = [witnessOnANode, witnessAlone, witnessTimes];
