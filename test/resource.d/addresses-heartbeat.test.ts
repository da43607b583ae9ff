/** Every address script as a resource of one group, under Debian's heartbeat 3.0.6 and under ours: started, moved by hb_standby. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Pair } from '../../src/cli/pair.js';
import { DEMO_TIMING, pairFiles } from '../../src/cli/pair-config.js';
import type { PairNode } from '../../src/cli/pair-node.js';
import { waitUntil } from '../../src/cli/pair-run.js';
import { parseHaResource } from '../../src/config/haresources.js';
import { need } from '../support/need.js';
import { script } from './room.js';

const ORIGINAL = ['/usr/libexec/heartbeat/heartbeat', '/usr/share/heartbeat/hb_standby'] as const;
const OURS = ['heartbeat', 'hb_standby'] as const;
const LIMIT_MS = 60_000;

const GROUP = [
  'Delay::0.1::0.1',
  'portblock::tcp::5999::block',
  '10.77.0.20/24/eth0',
  'IPaddr2::10.77.0.21/24/eth0:db',
  'IPv6addr::fd77:0:0:0:0:0:0:20/64/eth0',
  'IPsrcaddr::10.77.0.21',
  'SendArp::10.77.0.21/eth1',
  'portblock::tcp::5999::unblock',
];

async function group(t: ExecutionContext, programs: readonly [string, string]): Promise<void> {
  const [daemon, standby] = programs;
  // Debian's knows an IPv6 address only with all its groups: "::" separates arguments.
  const resources = GROUP.map((text) =>
    programs === OURS ? text.replace('fd77:0:0:0:0:0:0:20', 'fd77::20') : text,
  );
  const names = ['alpha', 'beta'] as const;
  const files = pairFiles(names, DEMO_TIMING, '');
  files['/etc/ha.d/haresources'] = { text: `alpha ${resources.join(' ')}\n`, mode: 0o644 };
  const pair = await Pair.create({ names, files, diskMiB: 8 });
  t.teardown(() => pair.destroy());
  const prepare = [
    `for f in ${process.cwd()}/resource.d/*; do ln -sf "$f" /etc/ha.d/resource.d/; done`,
    'mkdir -p /run/heartbeat/ccm /run/heartbeat/dopd /run/heartbeat/crm',
    'if getent passwd hacluster >/dev/null; then chown hacluster:haclient /run/heartbeat/*; fi',
  ];
  for (const node of pair.nodes) await node.must(['sh', '-ec', prepare.join('\n')]);
  const [alpha, beta] = pair.nodes;

  const statuses = async (node: PairNode): Promise<string[]> => {
    const all: string[] = [];
    for (const text of resources) {
      const { script: name, args } = parseHaResource(text);
      const { stdout } = await node.exec([script(name), ...args, 'status']);
      all.push(`${name} ${stdout.trim()}`);
    }
    return all;
  };
  const all = (verdict: string): string[] =>
    resources.map((text) => `${parseHaResource(text).script} ${verdict}`);
  const becomes = async (node: PairNode, verdict: string, when: string): Promise<void> => {
    const wanted = all(verdict).join();
    if (!(await waitUntil(async () => (await statuses(node)).join() === wanted, LIMIT_MS))) {
      for (const { name, dir } of pair.nodes) {
        const log = readFileSync(join(dir, 'log/ha-log'), 'utf8').split('\n');
        t.log(name, log.slice(-60).join('\n'));
      }
    }
    t.deepEqual(await statuses(node), all(verdict), `${when}: ${node.name}`);
  };

  const routes = await beta.must(['ip', '-4', 'route']);
  for (const node of pair.nodes) await node.must([daemon]);
  await becomes(alpha, 'running', 'start');
  await becomes(beta, 'stopped', 'start');
  await alpha.must([standby]);
  await becomes(beta, 'running', 'standby');
  await becomes(alpha, 'stopped', 'standby');
  t.is(await alpha.must(['ip', '-4', 'route']), routes.replaceAll('.2 ', '.1 '));
  for (const { dir } of pair.nodes) {
    t.notRegex(readFileSync(join(dir, 'log/ha-log'), 'utf8'), /CRIT|Giving up/);
  }
}

const WANTS = ['root', 'netns', 'loop', 'ip', '/usr/sbin/nft'];

test("all address scripts under Debian's heartbeat", async (t) => {
  if (!need(t, ...WANTS, ...ORIGINAL)) return;
  await group(t, ORIGINAL);
});

test('all address scripts under our heartbeat', async (t) => {
  if (!need(t, ...WANTS)) return;
  await group(t, OURS);
});
