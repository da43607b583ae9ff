/**
 * What a load balancer is told of this node: is one resource group served here? (docs/LOADBALANCER.md)
 *
 *     told to (twinbeat maint on) -> maint      it serves -> up
 *     it is being given away      -> drain      anything else, and whatever is not known -> down
 *
 * `up` is never from memory: it is what the daemon says now. A daemon that does not answer, or has only just begun, says nothing of what
 * may run, and a write that is sent to the wrong node is worse than one that is not sent.
 *
 * Beside `lb-switch` in the group: only up and down. Two nodes that are cut off from each other both serve, and for the balancer the last
 * one to start does: `ready` of the other, and `drain`, too, would end the maint into which lb-switch has put it.
 */
import type { HeartbeatReport } from './heartbeat-control.js';

export interface AgentAnswer {
  readonly word: 'up' | 'drain' | 'maint' | 'down';
  readonly why: string; // one line
  /** It may say ready, drain and maint: the group is known, and has no `lb-switch`, which says these alone. */
  readonly isAdmin: boolean;
}

/** A daemon that is so late has not looked yet whether the other node runs everything by now. With a short deadtime: half of it. */
const LATE_MS = 1000;

/** What there is to say without a report: the daemon did not answer. */
export type NoReport = { readonly report: null; readonly reason: string };

/**
 * `key`: of the group, the first word behind the node in haresources; null: the only one there is. `maint`: why an operator has taken
 * this node out, or null.
 */
export function agentAnswer(
  source: { readonly report: HeartbeatReport } | NoReport,
  key: string | null,
  maint: string | null,
): AgentAnswer {
  const group = source.report && groupOf(source.report.groups, key);
  const isAdmin = group ? !group.resources.some((text) => LB_SWITCH.test(text)) : false;
  return { ...wordOf(source, key, maint), isAdmin };
}

const LB_SWITCH = /^(.*\/)?lb-switch(::|$)/;

type Groups = HeartbeatReport['groups'];
type Word = Pick<AgentAnswer, 'word' | 'why'>;

function groupOf(groups: Groups, key: string | null): Groups[number] | undefined {
  return key === null ? groups[0] : groups.find((each) => each.key === key);
}

function wordOf(
  source: { readonly report: HeartbeatReport } | NoReport,
  key: string | null,
  maint: string | null,
): Word {
  if (maint !== null) return { word: 'maint', why: maint };
  if (source.report === null) return down(source.reason);
  const { groups, standing, stuck, lateMs, deadtimeMs } = source.report;
  const group = groupOf(groups, key);
  if (!group) {
    return down(key === null ? 'haresources has no group' : `haresources has no group ${key}`);
  }
  if (key === null && groups.length > 1) {
    return down(`--group is one of ${groups.map((each) => each.key).join(', ')}`);
  }
  if (lateMs > Math.min(LATE_MS, deadtimeMs / 2)) {
    return down(`heartbeat stood still, and is ${lateMs} ms late`);
  }
  if (stuck.includes(group.key)) return down(`${group.key} cannot be stopped`);
  if (group.state === 'stops') return { word: 'drain', why: `${group.key} is being stopped` };
  if (standing.state !== 'ok') return down(`${standing.state}: ${standing.why}`);
  if (group.state !== 'runs') {
    return down(`${group.key} ${group.state === 'starts' ? 'is being started' : 'is not here'}`);
  }
  return { word: 'up', why: `${group.key} runs` };
}

function down(why: string): Word {
  return { word: 'down', why };
}

/**
 * HAProxy's agent-check: words, and after `#` a reason. What is not named stays as it was there, so each answer says the operational
 * state (up, down) and the administrative one (ready, drain, maint) where it changes it. Source: HAProxy's configuration manual,
 * `agent-check`.
 *
 * `down` names no administrative state: what lb-switch has put into maint stays there until it serves again.
 */
export function agentLine({ word, why, isAdmin }: AgentAnswer): string {
  const reason = (text: string): string => text.replace(/[^ -~]/g, '?').slice(0, 120);
  if (!isAdmin) return word === 'up' ? 'up\n' : `down # ${reason(SAID[word] + why)}\n`;
  switch (word) {
    case 'up':
      return 'up ready\n';
    case 'drain':
      return 'drain\n';
    case 'maint':
      return 'maint\n';
    case 'down':
      return `down # ${reason(why)}\n`;
  }
}

/** Before the reason, where a word cannot be said. */
const SAID = { drain: '', maint: 'maint: ', down: '' } as const;

/** For `option httpchk` and any other check by HTTP: 200 while it serves, else 503, and the reason. */
export function agentHttp({ word, why }: AgentAnswer, hasBody: boolean): string {
  const body = `${word}: ${why.replace(/[\r\n]/g, ' ')}\n`;
  const status = word === 'up' ? '200 OK' : '503 Service Unavailable';
  const head = [
    `HTTP/1.0 ${status}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${new TextEncoder().encode(body).length}`,
    'Cache-Control: no-store',
    'Connection: close',
  ];
  return `${head.join('\r\n')}\r\n\r\n${hasBody ? body : ''}`;
}
