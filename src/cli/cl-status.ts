/**
 * cl_status: what heartbeat knows, verb by verb, in the original's words and exit statuses.
 *
 *     0 good, 1 bad (dead, stopped, unset), 11 wrong verb or arguments, 12 out of time, 13 other errors
 *
 * `-m` says it in a sentence. Nodes are listed last configured first, as the original does; a node's own links are
 * always dead. Source: cl_status(1), docs/HEARTBEAT.md; heartbeat 3.0.6 observed.
 */
import type { HeartbeatReport, NodeReport } from '../host/heartbeat-control.js';
import { askHeartbeat, heartbeatReport } from './heartbeat-client.js';
import type { World } from './world.js';

const USAGE = 11;
const OTHER = 13;
/** Their index is the exit status. */
const CLIENT_STATUSES: readonly unknown[] = ['online', 'offline', 'join', 'leave'];
const CLIENT_TIMEOUT_MS = 500;
const MARGIN_MS = 2000; // the daemon answers before we give up

interface Verb {
  /** Number of arguments after options, least and most. */
  readonly args: readonly [number, number];
  readonly options: string; // letters
  run(call: Call): number | Promise<number>;
}

interface Call {
  readonly world: World;
  readonly report: HeartbeatReport;
  readonly args: readonly string[];
  readonly options: ReadonlySet<string>;
}

function fail(world: World, what: string, reason: string): void {
  world.err(`cl_status: [${process.pid}]: ERROR: ${what}\n`);
  world.err(`cl_status: [${process.pid}]: ERROR: REASON: ${reason}\n`);
}

function node({ world, report, args }: Call): NodeReport | null {
  const found = report.nodes.find((each) => each.name === args[0]?.toLowerCase());
  if (!found) world.err('Error. May be due to incorrect node name\n');
  return found ?? null;
}

function answer(call: Call, plain: string, sentence: string): void {
  call.world.out(`${call.options.has('m') ? sentence : plain}\n`);
}

function listVerbose({ world, report }: Call): void {
  for (const each of [...report.nodes].reverse()) {
    world.out(`\n${each.name}\t${each.status}\t(nodetype: ${each.type})\n`);
    for (const link of each.links) world.out(`\t${link.name}\t${link.status}\n`);
  }
}

const RSC_SENTENCES: Readonly<Record<string, string>> = {
  none: 'This node is holding none resources.',
  local: 'This node is holding local resources.',
  foreign: 'This node is holding foreign resources.',
  all: 'This node is holding all resources.',
  transition: 'This node is in transition.',
};

const VERBS: Readonly<Record<string, Verb>> = {
  hbstatus: {
    args: [0, 0],
    options: 'mv',
    run(call) {
      if (call.options.has('v')) {
        call.world.out(`version:\t${call.report.version} (twinbeat)\n`);
        call.world.out('managed by:\t"haresources"\n');
        listVerbose(call);
      } else {
        call.world.out('Heartbeat is running on this machine.\n');
      }
      return 0;
    },
  },
  listnodes: {
    args: [0, 0],
    options: 'mnpv',
    run(call) {
      const { world, report, options } = call;
      if (options.has('v')) {
        listVerbose(call);
        return 0;
      }
      const wanted = options.has('n') ? 'normal' : options.has('p') ? 'ping' : null;
      for (const each of [...report.nodes].reverse()) {
        if (wanted === null || each.type === wanted) world.out(`${each.name}\n`);
      }
      return 0;
    },
  },
  nodestatus: {
    args: [1, 1],
    options: 'm',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      answer(call, found.status, `The cluster node ${found.name} is ${found.status}`);
      return ['active', 'up', 'ping'].includes(found.status) ? 0 : 1;
    },
  },
  nodetype: {
    args: [1, 1],
    options: 'm',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      answer(call, found.type, `The cluster node ${found.name}'s type is ${found.type}`);
      return 0;
    },
  },
  nodeweight: {
    args: [1, 1],
    options: 'm',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      answer(call, '100', `The cluster node ${found.name}'s weight is 100`);
      return 0;
    },
  },
  nodesite: {
    args: [1, 1],
    options: 'm',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      answer(call, '', `The cluster node ${found.name}'s site is `);
      return 0;
    },
  },
  listhblinks: {
    args: [1, 1],
    options: 'mv',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      for (const link of found.links) {
        call.world.out(`\t${link.name}${call.options.has('v') ? `\t${link.status}` : ''}\n`);
      }
      return 0;
    },
  },
  hblinkstatus: {
    args: [2, 2],
    options: 'm',
    run(call) {
      const found = node(call);
      if (!found) return USAGE;
      const link = found.links.find((each) => each.name === call.args[1]);
      if (!link) {
        fail(call.world, 'Cannot get heartbeat link status', '');
        return OTHER;
      }
      answer(call, link.status, `The heartbeat link ${link.name} is ${link.status}`);
      return link.status === 'up' ? 0 : 1;
    },
  },
  clientstatus: {
    args: [2, 3],
    options: 'm',
    async run(call) {
      const found = node(call);
      if (!found) return USAGE;
      const [, client = '', timeout = `${CLIENT_TIMEOUT_MS}`] = call.args;
      if (!/^\d{1,5}$/.test(timeout)) {
        call.world.err(
          `cl_status: clientstatus: a timeout in milliseconds expected, got ${timeout}\n`,
        );
        return USAGE;
      }
      const timeoutMs = Number(timeout);
      const request = { verb: 'clientstatus', node: found.name, client, timeoutMs } as const;
      const reply = await askHeartbeat(call.world.root, request, timeoutMs + MARGIN_MS);
      const value = reply.ok === true ? reply.value : null;
      const status = CLIENT_STATUSES.indexOf(value);
      if (status < 0) {
        const what = `Cannot get heartbeat client ${client}'s status`;
        fail(call.world, what, 'No timely response.');
        return OTHER;
      }
      call.world.out(`${value}\n`); // -m makes no difference
      return status;
    },
  },
  rscstatus: {
    args: [0, 0],
    options: 'm',
    run(call) {
      const { rscStatus } = call.report;
      answer(call, rscStatus, RSC_SENTENCES[rscStatus] ?? rscStatus);
      return 0;
    },
  },
  hbparameter: {
    args: [1, 1],
    options: 'mp',
    run(call) {
      const name = call.args[0] ?? '';
      const value = new Map(Object.entries(call.report.parameters)).get(name);
      if (value === undefined) {
        fail(call.world, `Cannot get parameter ${name}'s value`, '');
        return 1;
      }
      answer(call, value, `Heartbeat parameter ${name}'s value is ${value}`);
      return 0;
    },
  },
  test: {
    args: [0, 0],
    options: '',
    run({ world, report }) {
      world.out(`Dead time: ${report.deadtimeMs}\n keeplive time: ${report.keepaliveMs}\n`);
      world.out(` mynodeid: ${report.node}\n rsc: ${report.rscStatus}\n`);
      return 0;
    },
  },
};

export async function main(argv: readonly string[], world: World): Promise<number> {
  const [name = '', ...rest] = argv;
  if (name === '' || name === '-h' || name === '--help') {
    world.err(`usage: cl_status SUB-COMMAND [OPTIONS] [PARAMETERS]\n`);
    world.err(`sub-commands: ${Object.keys(VERBS).join(' ')}\n`);
    return name === '' ? USAGE : 0;
  }
  const verb = new Map(Object.entries(VERBS)).get(name);
  if (!verb) {
    world.err(`cl_status: [${process.pid}]: ERROR: ${name}: invalid sub-command.\n`);
    return USAGE;
  }
  const options = new Set<string>();
  const args: string[] = [];
  for (const word of rest) {
    if (!word.startsWith('-') || word === '-') args.push(word);
    else for (const letter of word.slice(1)) options.add(letter);
  }
  const unknown = [...options].find((letter) => !verb.options.includes(letter));
  if (unknown !== undefined) {
    world.err(`cl_status: ${name}: invalid option -- '${unknown}'\n`);
    return USAGE;
  }
  const [least, most] = verb.args;
  if (args.length < least || args.length > most) {
    world.err(args.length < least ? 'Not enough parameters.\n' : 'Too many parameters.\n');
    return USAGE;
  }
  const { report, ...no } = await heartbeatReport(world.root);
  if (report) return verb.run({ world, report, args, options });
  if (name === 'hbstatus') {
    world.out('Heartbeat is stopped on this machine.\n');
    return 1;
  }
  const reason = 'reason' in no ? no.reason : '';
  const theirs = "hb_api_signon: Can't initiate connection to heartbeat";
  fail(world, 'Cannot signon with heartbeat', `${theirs} (${reason})`);
  return 1;
}
