/**
 * docs/MIGRATION.md, done: a pair of two kernels becomes a pair of ours and a pair of kernels again, with an ext4 and a client that
 * writes all the time (its service moves in every kind of pair), and nodes that die on the way and come back as the other
 * program. At each move the disks are compared; at the end every record that was acknowledged is read from the device and, past both programs, from both disks.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { DEVICE, RESOURCE } from '../../src/cli/pair-config.js';
import { command, succeed } from '../support/command.js';
import {
  type Command,
  castOf,
  NODE_NAMES,
  type NodeName,
  readMigrationPage,
  type Step,
} from '../support/migration-page.js';
import { need } from '../support/need.js';
import { PART } from './kernel-folders.js';
import { KERNEL_NEEDS } from './kernel-vm.js';
import { MigrationClient, RECORDS_FILE } from './migration-client.js';
import { MIGRATION_NEEDS, MigrationPair, SRV } from './migration-pair.js';

const NEEDS = [...KERNEL_NEEDS, ...MIGRATION_NEEDS, 'e2fsck', 'debugfs', 'drbdmeta'];
const DRIVER = 'DRBD_DRIVER_VERSION_OVERRIDE=8.4.11';
const META_MINOR = String(900 + (process.pid % 90)); // drbdmeta locks a file of that name
/** What the client gets done in each state of the pair, at least. */
const RECORDS = 25;

const page = readMigrationPage();

class Migration {
  readonly t: ExecutionContext;
  readonly pair: MigrationPair;
  readonly client = new MigrationClient();
  readonly done: string[] = [];
  #sizeBytes = 0;

  constructor(t: ExecutionContext, pair: MigrationPair) {
    this.t = t;
    this.pair = pair;
  }

  procedure(name: string): readonly Command[] {
    const commands = page.procedures.get(name);
    if (commands === undefined) throw new Error(`the page has no '${name}'`);
    return commands;
  }

  /** As the first row of the plan says, with an ext4 on which the service runs. */
  async begin({ stands, service }: Step): Promise<void> {
    if (service === null) throw new Error('a plan begins with a service');
    await this.pair.both(async (node) => {
      const program = stands[node.name];
      if (program === 'off') throw new Error('a plan begins with both nodes');
      await node.become(program);
      await node.must(`drbdadm create-md --force ${RESOURCE} 2>&1`);
      await node.must(
        program === 'kernel' ? `drbdadm up ${RESOURCE}` : '/etc/init.d/drbd start 2>&1',
      );
    });
    const connected = { who: 'node', line: `drbdadm cstate ${RESOURCE}`, prints: /^Connected$/ };
    await this.pair.both((node) => node.do(connected));
    const node = this.pair.nodes[service];
    await node.must(`drbdadm primary --force ${RESOURCE}`);
    await this.check();
    await node.must(`mkfs.ext4 -q ${DEVICE} 2>&1 && mount -t ext4 ${DEVICE} ${SRV}`);
    this.#sizeBytes = Number(await node.must(`blockdev --getsize64 ${DEVICE}`));
    this.serve(service);
  }

  serve(name: NodeName): void {
    this.client.start((line) => this.pair.nodes[name].run(line), SRV);
  }

  async step(step: Step): Promise<void> {
    this.done.push(`--- ${step.what}`);
    if (step.procedure === null) await this.die(step);
    else await this.run(step.procedure, step.cast);
    const stands = NODE_NAMES.map((name) => this.pair.nodes[name].stands);
    this.t.deepEqual(
      stands,
      NODE_NAMES.map((name) => step.stands[name]),
      step.what,
    );
    if (step.service !== null) await this.client.more(RECORDS);
    if (!stands.includes('off')) await this.check();
  }

  async die({ cast, service }: Step): Promise<void> {
    const name = cast['node'];
    if (name === undefined) throw new Error('nobody dies');
    await this.client.more(RECORDS);
    await this.pair.nodes[name].die();
    if (service === null) await this.client.stop(); // unanswered: it asks the next one
  }

  async run(name: string, cast: Readonly<Record<string, NodeName>>): Promise<void> {
    for (const given of this.procedure(name)) {
      const who = cast[given.who];
      if (who === undefined) throw new Error(`${name}: who is ${given.who}?`);
      await this.type(who, given);
    }
  }

  /** What the page's commands mean where they do not say it themselves: the service is our client's, a program a machine. */
  async type(name: NodeName, given: Command): Promise<string> {
    const node = this.pair.nodes[name];
    const startMs = Date.now();
    let said = '';
    if (given.line === 'systemctl stop mariadb') {
      await this.client.stop();
      this.t.is(this.client.failure, null);
    } else if (given.line === 'systemctl start mariadb') this.serve(name);
    else {
      if (given.line === 'modprobe drbd') await node.become('kernel');
      if (given.line === '/etc/init.d/drbd start') await node.become('twinbeat');
      said = await node.do(given);
    }
    this.done.push(`${name}# ${given.line}   (${Date.now() - startMs} ms) ${said.trim()}`);
    if (given.line.startsWith('drbdadm secondary')) this.same(`${name} is Secondary`);
    return said;
  }

  /** The page's check, and what it says of the generations. */
  async check(): Promise<void> {
    const cast = castOf('node', 'alpha');
    const generations: bigint[] = [];
    for (const given of this.procedure('check')) {
      const said = await this.type(cast[given.who] ?? 'alpha', given);
      const [current] = said.trim().split(':');
      if (given.line.includes('get-gi')) generations.push(BigInt(`0x${current}`) & ~1n);
    }
    this.t.is(generations.length, 2);
    this.t.is(generations[0], generations[1]);
  }

  /** Nobody writes: the two disks hold the same, past both programs. */
  same(when: string): void {
    const [alpha, beta] = NODE_NAMES.map((name) =>
      readFileSync(this.pair.nodes[name].image).subarray(0, this.#sizeBytes),
    );
    if (alpha === undefined || beta === undefined || this.#sizeBytes === 0)
      throw new Error('two disks');
    if (Buffer.compare(alpha, beta) === 0) return;
    const at = alpha.findIndex((byte, i) => byte !== beta[i]);
    throw new Error(`${when}: the disks differ in block ${Math.floor(at / 4096)}`);
  }

  /** The service ends; what is on the device and on both disks. */
  async end(service: NodeName): Promise<void> {
    const { t, client } = this;
    await client.stop();
    t.is(client.failure, null);
    const node = this.pair.nodes[service];
    await node.must(`umount ${SRV} && mount -t ext4 ${DEVICE} ${SRV}`);
    const [digest] = (await node.must(`sha256sum ${SRV}/${RECORDS_FILE}`)).split(' ');
    const copy = join(this.pair.nodes.alpha.image, '..', 'expected');
    await node.must(`umount ${SRV} && drbdadm secondary ${RESOURCE}`);
    await this.pair.both(async (one) => {
      await one.must(
        one.stands === 'kernel' ? `drbdadm down ${RESOURCE}` : '/etc/init.d/drbd stop',
      );
    });
    await this.pair.both((one) => one.shutDown());
    this.same('at the end');

    const generations: string[] = [];
    for (const name of NODE_NAMES) {
      const { image, lowerDevice } = this.pair.nodes[name];
      await succeed('e2fsck', '-fn', image);
      await succeed('debugfs', '-R', `dump /${RECORDS_FILE} ${copy}`, image);
      const found = readFileSync(copy);
      t.deepEqual(client.lost(found), [], `records lost on the disk of ${name}`);
      t.true(found.equals(client.expected()), `${name} has what nobody wrote`);
      const sum = (await succeed('sha256sum', copy)).split(' ')[0];
      t.is(digest, sum, `what the device said is on the disk of ${name}`);
      const meta = ['--force', META_MINOR, 'v08', lowerDevice, 'internal'];
      generations.push((await succeed('env', DRIVER, 'drbdmeta', ...meta, 'get-gi')).trim());
      await command('env', DRIVER, 'drbdmeta', ...meta, 'apply-al');
      t.regex(await succeed('env', DRIVER, 'drbdmeta', ...meta, 'dump-md'), /# bits-set 0;/);
    }
    const current = generations.map((gi) => BigInt(`0x${gi.split(':')[0]}`) & ~1n);
    t.is(current[0], current[1], generations.join('\n'));
  }
}

async function play(t: ExecutionContext, heading: string): Promise<void> {
  const [first, ...steps] = page.plans.get(heading) ?? [];
  const last = steps.at(-1);
  if (first === undefined || !last?.service) throw new Error(`no plan '${heading}'`);
  const pair = await MigrationPair.create();
  t.teardown(() => pair.destroy());
  const migration = new Migration(t, pair);
  try {
    await migration.begin(first);
    await migration.client.more(RECORDS);
    for (const step of steps) await migration.step(step);
    await migration.end(last.service);
    t.log(`${migration.client.acknowledged} records acknowledged, none lost`);
    if (process.env['TRANSCRIPT']) t.log(migration.done.join('\n'));
  } catch (error) {
    t.log(migration.done.join('\n'));
    for (const name of NODE_NAMES)
      t.log(name, await pair.nodes[name].report().catch(String), migration.client.failure);
    throw error;
  } finally {
    await migration.client.stop();
  }
}

/** They take minutes: one in .ci/run, both in `make test-kernel`. */
function isPlayed(t: ExecutionContext, parts: readonly string[]): boolean {
  if (!parts.includes(PART)) {
    t.pass(`not in the part '${PART}'`);
    return false;
  }
  t.timeout(10 * 60_000, 'longer than any machine should need');
  return need(t, ...NEEDS);
}

test.serial('kernels, mixed, ours, mixed, kernels: the way there and back', async (t) => {
  if (isPlayed(t, ['ci', 'all'])) await play(t, 'There and back');
});

test.serial('nodes that die on the way come back as the other program', async (t) => {
  if (isPlayed(t, ['all'])) await play(t, 'When a node dies on the way');
});
