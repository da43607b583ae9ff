/**
 * `stonith TYPE FILE` and `stonith_host HOST|* TYPE PARAMETERS` of ha.cf, with the original's words for what it refuses.
 *
 * HOST is the node that may use the device, compared without case; a line for another node is skipped whole, not even its
 * type is looked at. Several lines are taken; the last one is the device. Whether the parameters are as many as the
 * plug-in wants only the plug-in knows: the original asks it while it reads, here its status is asked when heartbeat starts.
 *
 * Source: heartbeat 3.0.6 observed (test/golden/config/ha.cf-stonith.txt, test/golden/heartbeat/stonith.txt).
 */
import type { StonithDevice } from './ha-cf.js';
import type { SetterContext } from './ha-cf-directives.js';

const MAX_HOST_CHARS = 99;

/** The first word of a line, and what follows the blanks behind it. */
function firstWord(line: string): readonly [string, string] {
  const [, word = '', rest = ''] = /^([^ \t\r\f]*)[ \t\r\f]*(.*)$/.exec(line) ?? [];
  return [word, rest];
}

export function stonith(line: string, c: SetterContext): string | null {
  const [type, file] = firstWord(line);
  const wrong = wrongType(type, c);
  if (wrong !== null) return refuse(wrong, c);
  if (file === '' || !c.system.hasStonithConfig(file)) {
    return refuse(`Invalid Stonith config file [${file}]`, c);
  }
  return add({ host: null, type, file, params: [] }, c);
}

/** Parameters may be secret: no message has them. */
export function stonithHost(line: string, c: SetterContext): string | null {
  const [host, rest] = firstWord(line);
  const [type, params] = firstWord(rest);
  if (host === '') return refuse('No Stonith hostname argument given', c);
  if (host.length > MAX_HOST_CHARS) return refuse('Stonith hostname too long', c);
  if (host !== '*' && host.toLowerCase() !== c.system.ownNode.toLowerCase()) return null;
  const wrong = wrongType(type, c);
  if (wrong !== null) return refuse(wrong, c);
  // Joined by blanks they are what is written: the last parameter of a plug-in may have blanks in it.
  return add({ host, type, file: null, params: params === '' ? [] : params.split(' ') }, c);
}

function wrongType(type: string, c: SetterContext): string | null {
  if (type === '') return 'No Stonith type given';
  return c.system.isStonithType(type) ? null : `Invalid Stonith type [${type}]`;
}

function refuse(why: string, c: SetterContext): string {
  c.say('ERROR', why);
  return '';
}

function add(device: StonithDevice, c: SetterContext): null {
  c.draft.stonith.push(device);
  return null;
}
