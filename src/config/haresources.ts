/**
 * haresources: which resources run on which node, one group a line, left to right.
 *
 *     line     = node resource+            continued by "\" at end of line
 *     resource = ip | script | script "::" arg ("::" arg)*
 *     ip       = a.b.c.d[/mask[/interface]][/broadcast]     shorthand for IPaddr::ip
 *
 * `#` starts a comment anywhere. A resource is an address when it begins with a digit and contains three dots. The
 * first resource of a line is the group's key. Source: heartbeat 3.0.6 observed, its sample haresources.
 */

export interface HaResource {
  readonly text: string; // as written: 'Filesystem::/dev/drbd0::/drbd::ext3'
  readonly script: string; // 'Filesystem'; 'IPaddr' for the shorthand
  readonly args: readonly string[];
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

export function parseHaResource(text: string): HaResource {
  if (/^\d/.test(text) && text.split('.').length === 4) {
    return { text, script: 'IPaddr', args: [text] };
  }
  const [script = '', ...args] = text.split('::');
  return { text, script, args };
}

/** `nodes` are the lower-cased names of ha.cf; `file` is the path as it shall appear in messages. */
export function parseHaResources(
  text: string,
  file: string,
  nodes: readonly string[],
): HaResourcesResult {
  const messages: HaResourcesMessage[] = [];
  const groups: HaResourceGroup[] = [];
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
    const empty = resources.find((resource) => resource.script === '');
    const earlier = groups.find((group) => group.key === key);
    if (empty) {
      messages.push({
        level: 'ERROR',
        text: `${file}:${line}: expected SCRIPT[::ARGUMENT...], got '${empty.text}'`,
      });
      failed = true;
    } else if (earlier) {
      // A key that names two groups would start both on one node and stop either with the other.
      messages.push({
        level: 'ERROR',
        text: `${file}:${line}: expected another first resource, got '${key}', which names the group of line ${earlier.line}`,
      });
      failed = true;
    }
    groups.push({ node, key, resources, line });
  }
  return { groups: failed ? null : groups, messages };
}

function* logicalLines(text: string): Generator<{ content: string; line: number }> {
  let content = '';
  let start = 0;
  for (const [index, raw] of text.split('\n').entries()) {
    const uncommented = (raw.split('#', 1)[0] ?? '').replace(/[ \t\r\f]+$/, '');
    if (content === '') start = index + 1;
    const isComplete = !uncommented.endsWith('\\');
    content += isComplete ? uncommented : `${uncommented.slice(0, -1)} `;
    if (!isComplete) continue;
    yield { content, line: start };
    content = '';
  }
  if (content !== '') yield { content, line: start };
}
