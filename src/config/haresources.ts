/**
 * haresources: which resources run on which node, one group a line, left to right.
 *
 *     line     = node resource+            continued by "\" at end of line
 *     resource = ip | script | script "::" arg ("::" arg)*
 *     ip       = a.b.c.d[/mask[/interface]][/broadcast]     shorthand for IPaddr::ip
 *
 * Two forms of ours, which the original does not know:
 *
 *     ocf::PROVIDER:TYPE[::NAME=VALUE]...        an OCF agent of /usr/lib/ocf/resource.d
 *     systemd::UNIT                              a unit of systemd
 *
 * `#` starts a comment anywhere. A resource is an address when it begins with a digit and contains three dots. The
 * first resource of a line is the group's key. Source: heartbeat 3.0.6 observed, its sample haresources.
 */

import { trimBlanksEnd } from './blanks.js';

export type HaResourceKind = 'heartbeat' | 'ocf' | 'systemd';

export interface HaResource {
  readonly text: string; // as written: 'Filesystem::/dev/drbd0::/drbd::ext3'
  /** 'Filesystem'; 'IPaddr' for the shorthand; 'heartbeat:IPaddr2' of kind ocf, the unit of kind systemd. */
  readonly script: string;
  readonly args: readonly string[];
  /** heartbeat: a script of resource.d, also `OCF::TYPE::INSTANCE`, which the script OCF of the original runs. */
  readonly kind: HaResourceKind;
}

export interface HaResourceGroup {
  readonly node: string; // the home node, lower case
  readonly key: string; // text of the first resource; names the group
  readonly resources: readonly HaResource[];
  readonly line: number; // where the group begins
}

export interface HaResourcesMessage {
  readonly level: 'ERROR' | 'WARN';
  readonly text: string;
}

export interface HaResourcesResult {
  readonly groups: readonly HaResourceGroup[] | null; // null: refused
  readonly messages: readonly HaResourcesMessage[];
}

const OCF_AGENT = /^\w[\w.-]*:\w[\w.-]*$/;
const OCF_VALUE = /^[A-Za-z_]\w*=/;
const UNIT = /^[\w:.@\\-]+$/; // systemd.unit(5)

export function parseHaResource(text: string): HaResource {
  if (/^\d/.test(text) && text.split('.').length === 4) {
    return { text, script: 'IPaddr', args: [text], kind: 'heartbeat' };
  }
  const [script = '', ...args] = text.split('::');
  if ((script === 'ocf' || script === 'systemd') && args.length > 0) {
    const [name = '', ...values] = args;
    return { text, script: name, args: values, kind: script };
  }
  return { text, script, args, kind: 'heartbeat' };
}

/** What a resource should have been: null when it is well. */
function refusal({ kind, script, args, text }: HaResource): string | null {
  switch (kind) {
    case 'heartbeat':
      return script === '' ? `expected SCRIPT[::ARGUMENT...], got '${text}'` : null;
    case 'ocf':
      if (!OCF_AGENT.test(script) || !args.every((arg) => OCF_VALUE.test(arg))) {
        return `expected ocf::PROVIDER:TYPE[::NAME=VALUE...], got '${text}'`;
      }
      if (new Set(args.map((arg) => arg.split('=', 1)[0])).size < args.length) {
        return `expected each NAME once, got '${text}'`;
      }
      return null;
    case 'systemd':
      return !UNIT.test(script) || args.length > 0 ? `expected systemd::UNIT, got '${text}'` : null;
  }
}

/** `nodes` are the lower-cased names of ha.cf; `file` is the path as it shall appear in messages. */
export function parseHaResources(
  text: string,
  file: string,
  nodes: readonly string[],
): HaResourcesResult {
  const messages: HaResourcesMessage[] = [];
  const groups: HaResourceGroup[] = [];
  const byKey = new Map<string, HaResourceGroup>();
  let failed = false;
  for (const { content, line } of logicalLines(text)) {
    const [name = '', ...rest] = content.split(/[ \t\r\f]+/).filter((word) => word !== '');
    if (name === '') continue;
    const node = name.toLowerCase();
    if (!nodes.includes(node)) {
      messages.push({ level: 'ERROR', text: `Bad nodename in ${file} [${node}]` });
      failed = true;
      continue;
    }
    const resources = rest.map(parseHaResource);
    const key = resources[0]?.text;
    if (key === undefined) {
      // The original takes a line without resources and never does anything for it.
      messages.push({
        level: 'WARN',
        text: `${file}:${line}: expected a resource after node '${name}', got the end of the line`,
      });
      continue;
    }
    for (const { script, args, text: wrong } of resources) {
      // The script OCF answers each call with its usage. The original takes the line, and its other groups run.
      if (script !== 'OCF' || (args.length === 2 && !args.includes(''))) continue;
      const hint = `expected OCF::TYPE::INSTANCE, got '${wrong}'`;
      messages.push({ level: 'WARN', text: `${file}:${line}: ${hint}` });
    }
    const refusals = resources.map(refusal).filter((why) => why !== null);
    const earlier = byKey.get(key);
    if (refusals.length > 0) {
      for (const why of refusals) {
        messages.push({ level: 'ERROR', text: `${file}:${line}: ${why}` });
      }
      failed = true;
    } else if (earlier) {
      // A key that names two groups would start both on one node and stop either with the other.
      messages.push({
        level: 'ERROR',
        text: `${file}:${line}: expected another first resource, got '${key}', which names the group of line ${earlier.line}`,
      });
      failed = true;
    }
    const group = { node, key, resources, line };
    groups.push(group);
    if (!earlier) byKey.set(key, group);
  }
  return { groups: failed ? null : groups, messages };
}

function* logicalLines(text: string): Generator<{ content: string; line: number }> {
  let content = '';
  let start = 0;
  for (const [index, raw] of text.split('\n').entries()) {
    const uncommented = trimBlanksEnd(raw.split('#', 1)[0] ?? '');
    if (content === '') start = index + 1;
    const isComplete = !uncommented.endsWith('\\');
    content += isComplete ? uncommented : `${uncommented.slice(0, -1)} `;
    if (!isComplete) continue;
    yield { content, line: start };
    content = '';
  }
  if (content !== '') yield { content, line: start };
}
