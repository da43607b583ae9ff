/**
 * hb_standby [all|foreign|local|failback]: give resource groups to the other node; `failback` is foreign, the default all.
 * hb_takeover [...]: take them from it. Both only ask: the hand-over itself is heartbeat's. Unlike the original's
 * scripts they say at once when nothing can come of it. Source: hb_standby(1), hb_takeover(1).
 */
import type { HeartbeatRequest } from '../host/heartbeat-control.js';
import { askHeartbeat } from './heartbeat-client.js';
import type { World } from './world.js';

const WORDS = ['all', 'foreign', 'local', 'failback'] as const;
type Word = (typeof WORDS)[number];

function parse(program: string, argv: readonly string[], world: World): Word | null {
  const usage = () => world.err(`usage:\n${program} [all|foreign|local|failback]\n`);
  if (argv.length > 1) {
    world.out(`${program}: too many arguments\n`);
    usage();
    return null;
  }
  const asked = argv[0] ?? 'all';
  const word = WORDS.find((candidate) => candidate === asked);
  if (!word) {
    if (asked !== '--help') world.out(`${program}: wrong resources(${asked}).\n`);
    usage();
    return null;
  }
  return word;
}

async function ask(program: string, request: HeartbeatRequest, world: World): Promise<number> {
  const answer = await askHeartbeat(world.root, request);
  if (answer.ok) return 0;
  const reason = answer.ok === null ? `heartbeat is not running (${answer.reason})` : answer.text;
  world.err(`${program}: ${reason}\n`);
  return 1;
}

export async function standbyMain(argv: readonly string[], world: World): Promise<number> {
  const word = parse('hb_standby', argv, world);
  if (!word) return 1;
  const resources = word === 'failback' ? 'foreign' : word;
  world.out(`Going standby [${resources}].\n`);
  return ask('hb_standby', { verb: 'standby', resources }, world);
}

export async function takeoverMain(argv: readonly string[], world: World): Promise<number> {
  const word = parse('hb_takeover', argv, world);
  if (!word) return 1;
  return ask('hb_takeover', { verb: 'takeover', resources: word }, world);
}
