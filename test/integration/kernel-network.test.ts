/**
 * Beside a kernel over IPv6, also by addresses that are valid on one link only, and with two volumes in the one connection. The nodes are
 * those of the migration (migration-pair.ts): both on a bridge, with one drbd.conf.
 */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { RESOURCE } from '../../src/cli/pair-config.js';
import { NODE_NAMES, type NodeName, otherNode } from '../support/migration-page.js';
import { need } from '../support/need.js';
import { PART, type Part } from './kernel-folders.js';
import { KERNEL_NEEDS } from './kernel-vm.js';
import { confAddress, MIGRATION_NEEDS, MigrationPair, type Wiring } from './migration-pair.js';

const BLOCK_BYTES = 4096;
/** What a handler of the target of a resync is told; it runs on either node. */
const HANDLER = 'handlers { after-resync-target "env | grep ^DRBD_ | sort >/tmp/told"; }';

class NetworkPair {
  readonly t: ExecutionContext;
  readonly pair: MigrationPair;
  readonly volumes: readonly number[];
  readonly #written = new Map<string, string>();
  #sizeBytes = 0;

  constructor(t: ExecutionContext, pair: MigrationPair, volumes: number) {
    this.t = t;
    this.pair = pair;
    this.volumes = Array.from({ length: volumes }, (_, i) => i);
  }

  async until(name: NodeName, verb: string, line: string): Promise<void> {
    const prints = new RegExp(`^${this.volumes.map(() => line).join('\n')}$`);
    await this.pair.nodes[name].do({ who: name, line: `drbdadm ${verb} ${RESOURCE}`, prints });
  }
  async settled(): Promise<void> {
    for (const name of NODE_NAMES) {
      await this.until(name, 'cstate', 'Connected');
      await this.until(name, 'dstate', 'UpToDate/UpToDate');
    }
  }

  async begin(ours: NodeName): Promise<void> {
    await this.pair.both(async (node) => {
      const program = node.name === ours ? 'twinbeat' : 'kernel';
      await node.become(program);
      await node.must(`drbdadm create-md --force ${RESOURCE} 2>&1`);
      await node.must(
        program === 'kernel' ? `drbdadm up ${RESOURCE}` : '/etc/init.d/drbd start 2>&1',
      );
    });
    for (const name of NODE_NAMES) await this.until(name, 'cstate', 'Connected');
    const node = this.pair.nodes.alpha;
    await node.must(`drbdadm primary --force ${RESOURCE}`);
    await this.settled();
    this.#sizeBytes = Number(await node.must('blockdev --getsize64 /dev/drbd0'));
  }

  /** A word in a block of each volume, through the device of the Primary. */
  async write(name: NodeName, block: number): Promise<void> {
    for (const volume of this.volumes) {
      const word = `${name}-${volume}-${block}`;
      const out = `of=/dev/drbd${volume} bs=${BLOCK_BYTES} seek=${block}`;
      await this.pair.nodes[name].must(
        `printf '%${BLOCK_BYTES - 1}s\\n' ${word} | dd ${out} iflag=fullblock oflag=direct conv=notrunc 2>&1`,
      );
      this.#written.set(`${volume} ${block}`, word);
    }
  }

  async move(from: NodeName): Promise<void> {
    await this.pair.nodes[from].must(`drbdadm secondary ${RESOURCE}`);
    await this.pair.nodes[otherNode(from)].must(`drbdadm primary ${RESOURCE}`);
  }

  /** Both copies of each volume are the same and have what was written. */
  same(when: string): void {
    for (const volume of this.volumes) {
      const [alpha, beta] = NODE_NAMES.map((name) => {
        const { image, secondImage } = this.pair.nodes[name];
        return readFileSync(volume === 0 ? image : secondImage).subarray(0, this.#sizeBytes);
      });
      this.t.true(alpha?.equals(beta ?? Buffer.alloc(0)), `${when}: volume ${volume}`);
      for (const [place, word] of this.#written) {
        const [of, block] = place.split(' ').map(Number);
        if (of !== volume || block === undefined) continue;
        const at = block * BLOCK_BYTES;
        const found = `${alpha?.subarray(at, at + BLOCK_BYTES)}`.trim();
        this.t.is(found, word, `${when}: volume ${volume}, block ${block}`);
      }
    }
  }
}

const RUNS: readonly {
  readonly wiring: Partial<Wiring>;
  readonly ours: NodeName;
  readonly parts: readonly Part[];
}[] = [
  { wiring: { net: 'ipv6', volumes: 2 }, ours: 'alpha', parts: ['ci', 'all'] },
  { wiring: { net: 'link-local', volumes: 1 }, ours: 'beta', parts: ['all'] },
];

for (const { wiring, ours, parts } of RUNS) {
  const net = wiring.net ?? 'ipv4';
  test.serial(`${net}, ${wiring.volumes} volumes, ours is ${ours}`, async (t) => {
    if (!parts.includes(PART)) {
      t.pass(`not in the part '${PART}'`);
      return;
    }
    if (!need(t, ...KERNEL_NEEDS, ...MIGRATION_NEEDS)) return;
    t.timeout(10 * 60_000, 'longer than any machine should need');
    const pair = await MigrationPair.create({ ...wiring, more: HANDLER });
    t.teardown(() => pair.destroy());
    const p = new NetworkPair(t, pair, wiring.volumes ?? 1);
    try {
      await p.begin(ours);
      await p.write('alpha', 1);
      await p.move('alpha');
      await p.write('beta', 2);
      p.same('the service moved');

      // Apart, then together again: what was written meanwhile is copied, over a connection that either may have made.
      await pair.nodes.alpha.must(`drbdadm disconnect ${RESOURCE}`);
      await p.until('beta', 'cstate', 'WFConnection');
      await p.write('beta', 3);
      await pair.nodes.alpha.must(`rm -f /tmp/told; drbdadm connect ${RESOURCE}`);
      await p.settled();
      p.same('connected again');
      const told = await pair.nodes.alpha.do({
        who: 'alpha',
        line: 'cat /tmp/told 2>&1; true',
        prints: /DRBD_VOLUME/,
      });
      const address = /\[(.*)\]/.exec(confAddress(net, 1))?.[1];
      t.regex(told, /^DRBD_PEER_AF=ipv6$/m);
      t.true(told.includes(`\nDRBD_PEER_ADDRESS=${address}\n`), told);

      await p.move('beta');
      await p.write('alpha', 4);
      for (const volume of p.volumes) {
        await pair.nodes.beta.must(`drbdadm invalidate ${RESOURCE}/${volume}`);
        await p.settled();
      }
      p.same('each volume was resynchronized');
    } catch (error) {
      for (const name of NODE_NAMES) t.log(name, await pair.nodes[name].report().catch(String));
      throw error;
    }
  });
}
