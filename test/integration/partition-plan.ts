/**
 * What happens to a pair in one run of the partition tests, drawn from a seed: which of its nets are cut for whom, what else happens, in
 * which order, for how long, and whether it is mended.
 *
 *     link1, link2   heartbeat           service   the address, and who asks for it
 *     third          the path to the witness, to etcd, or to the place that resets a node
 *
 * Pure: the same seed, the same plan, for every mode.
 */
import { Prng } from '../../src/base/prng.js';

export type Mode = 'none' | 'stonith' | 'witness' | 'etcd';
export const MODES: readonly Mode[] = ['none', 'stonith', 'witness', 'etcd'];
export type Host = 'node-a' | 'node-b';
export const HOSTS: readonly Host[] = ['node-a', 'node-b'];
export type Net = 'link1' | 'link2' | 'service' | 'third';
export const NETS: readonly Net[] = ['link1', 'link2', 'service', 'third'];
/** `from`: nothing that the host sends arrives; `to`: nothing arrives at it. */
export type Way = 'both' | 'from' | 'to';

export type Act =
  | { readonly type: 'cut'; readonly net: Net; readonly host: Host; readonly way: Way }
  | { readonly type: 'join'; readonly net: Net; readonly host: Host }
  | {
      readonly type: 'daemon';
      readonly host: Host;
      readonly how: 'killed' | 'stopped' | 'goes on' | 'started';
    }
  | { readonly type: 'power'; readonly host: Host; readonly on: boolean }
  | { readonly type: 'third'; readonly on: boolean }; // the place itself, for both nodes

export interface Step {
  readonly pauseMs: number; // since the step before
  readonly acts: readonly Act[];
}

export const CUTS = [
  'nothing',
  'one link',
  'both links',
  'both links, one way',
  'both links, one of them one way',
  'one link after the other',
  'both links, on and off',
  'both links, and the third place of one node',
  'everything but the service net',
  'everything of one node',
] as const;
export type CutKind = (typeof CUTS)[number];

export const ACCIDENTS = [
  'none',
  'daemon killed',
  'daemon killed, and back',
  'daemon stopped, goes on',
  'daemon stopped',
  'power cut',
  'power cut, and back',
  'third place gone',
] as const;
export type Accident = (typeof ACCIDENTS)[number];

export type Mending =
  | { readonly type: 'never' }
  | { readonly type: 'at rest' } // when the pair has done what it can
  | { readonly type: 'after'; readonly ms: number };

export interface Plan {
  readonly seed: number;
  readonly home: Host; // who has the group at the start
  readonly failback: 'on' | 'off';
  readonly asksFirst: boolean; // whether a node looks for the address on the net before it takes it
  readonly device: 'switch' | 'ssh'; // ssh needs a victim that is on and reached
  readonly bootsAtOnce: boolean; // a node that was reset or rebooted: at once, or when all is mended
  readonly cut: CutKind;
  readonly accident: Accident;
  readonly steps: readonly Step[];
  readonly mending: Mending;
}

export function otherHost(host: Host): Host {
  return host === 'node-a' ? 'node-b' : 'node-a';
}

function bothLinks(host: Host, way: Way = 'both'): Act[] {
  return [
    { type: 'cut', net: 'link1', host, way },
    { type: 'cut', net: 'link2', host, way },
  ];
}

/** One after the other, in any order. */
function shuffled(prng: Prng, acts: readonly Act[]): Step[] {
  const left = [...acts];
  const steps: Step[] = [];
  while (left.length > 0) {
    const [act] = left.splice(prng.below(left.length), 1);
    if (act) steps.push({ pauseMs: prng.chance(0.5) ? 0 : prng.below(1500), acts: [act] });
  }
  return steps;
}

function cutSteps(prng: Prng, kind: CutKind): Step[] {
  const host = prng.pick(HOSTS);
  const way = prng.pick(['from', 'to'] as const);
  const at = (acts: readonly Act[]): Step[] => [{ pauseMs: 0, acts }];
  const third = (of: Host): Act => ({ type: 'cut', net: 'third', host: of, way: 'both' });
  switch (kind) {
    case 'nothing':
      return [];
    case 'one link':
      return at([{ type: 'cut', net: prng.pick(['link1', 'link2']), host, way: 'both' }]);
    case 'both links':
      return at(bothLinks(host));
    case 'both links, one way':
      return at(bothLinks(host, way));
    case 'both links, one of them one way':
      return at([
        { type: 'cut', net: 'link1', host, way: 'both' },
        { type: 'cut', net: 'link2', host, way },
      ]);
    case 'one link after the other': {
      const pauseMs = 200 + prng.below(4000);
      return [
        { pauseMs: 0, acts: [{ type: 'cut', net: 'link1', host, way: 'both' }] },
        { pauseMs, acts: [{ type: 'cut', net: 'link2', host, way: 'both' }] },
      ];
    }
    case 'both links, on and off': {
      const steps: Step[] = [];
      for (let i = 2 + prng.below(3); i > 0; i--) {
        if (steps.length > 0) {
          const acts: Act[] = [
            { type: 'join', net: 'link1', host },
            { type: 'join', net: 'link2', host },
          ];
          steps.push({ pauseMs: 500 + prng.below(4000), acts });
        }
        steps.push({ pauseMs: 200 + prng.below(1800), acts: bothLinks(host) });
      }
      return steps;
    }
    case 'both links, and the third place of one node':
      return shuffled(prng, [...bothLinks(host), third(prng.pick(HOSTS))]);
    case 'everything but the service net':
      return shuffled(prng, [...bothLinks(host), third('node-a'), third('node-b')]);
    case 'everything of one node':
      return at(NETS.map((net) => ({ type: 'cut', net, host, way: 'both' })));
  }
}

function accidentSteps(prng: Prng, kind: Accident): Step[] {
  const host = prng.pick(HOSTS);
  const [pauseMs, backMs] = [prng.below(6000), 300 + prng.below(7000)];
  const first = (act: Act): Step => ({ pauseMs, acts: [act] });
  const then = (act: Act): Step => ({ pauseMs: backMs, acts: [act] });
  switch (kind) {
    case 'none':
      return [];
    case 'daemon killed':
      return [first({ type: 'daemon', host, how: 'killed' })];
    case 'daemon killed, and back':
      return [
        first({ type: 'daemon', host, how: 'killed' }),
        then({ type: 'daemon', host, how: 'started' }),
      ];
    case 'daemon stopped, goes on':
      return [
        first({ type: 'daemon', host, how: 'stopped' }),
        then({ type: 'daemon', host, how: 'goes on' }),
      ];
    case 'daemon stopped':
      return [first({ type: 'daemon', host, how: 'stopped' })];
    case 'power cut':
      return [first({ type: 'power', host, on: false })];
    case 'power cut, and back':
      return [first({ type: 'power', host, on: false }), then({ type: 'power', host, on: true })];
    case 'third place gone':
      return [first({ type: 'third', on: false })];
  }
}

/** What is drawn for a seed may change; then the table in docs/PARTITIONS.md is made again. */
export function drawPlan(seed: number): Plan {
  const prng = new Prng(seed);
  const cut = CUTS[(seed + prng.below(2) * 5) % CUTS.length] ?? 'nothing'; // each of them in some seeds of thirty
  const isQuiet = cut !== 'nothing' && prng.chance(0.4);
  const accident = isQuiet ? 'none' : prng.pick(ACCIDENTS.slice(1));
  const [cuts, accidents] = [cutSteps(prng, cut), accidentSteps(prng, accident)];
  // The accident before the cut, after it, or in its middle.
  const at = prng.below(cuts.length + 1);
  const lot = prng.below(10);
  return {
    seed,
    home: prng.pick(HOSTS),
    failback: prng.pick(['on', 'off']),
    asksFirst: prng.chance(0.5),
    device: prng.pick(['switch', 'ssh']),
    bootsAtOnce: prng.chance(0.4),
    ...{ cut, accident },
    steps: [...cuts.slice(0, at), ...accidents, ...cuts.slice(at)],
    mending:
      lot < 2
        ? { type: 'never' }
        : lot < 7
          ? { type: 'at rest' }
          : { type: 'after', ms: 500 + prng.below(9000) },
  };
}

const WAYS: Readonly<Record<Way, string>> = {
  both: '',
  from: ', what it sends',
  to: ', what it is sent',
};

export function actText(act: Act): string {
  switch (act.type) {
    case 'cut':
      return `cut ${act.net} of ${act.host}${WAYS[act.way]}`;
    case 'join':
      return `join ${act.net} of ${act.host}`;
    case 'daemon':
      return `daemon of ${act.host} ${act.how}`;
    case 'power':
      return `power of ${act.host} ${act.on ? 'on' : 'off'}`;
    case 'third':
      return `third place ${act.on ? 'back' : 'gone'}`;
  }
}

/** A line for how it stands at the start, one for each step, one for the end. */
export function planText(plan: Plan): string {
  const { mending } = plan;
  const end = mending.type === 'after' ? `mended after ${mending.ms} ms` : `mended ${mending.type}`;
  return [
    `seed ${plan.seed}: ${plan.cut}; ${plan.accident}`,
    `  ${plan.home} has the group, auto_failback ${plan.failback}, address looked for ${plan.asksFirst ? 'yes' : 'no'}, ` +
      `device ${plan.device}, boots ${plan.bootsAtOnce ? 'at once' : 'when mended'}`,
    ...plan.steps.map(({ pauseMs, acts }) => `  +${pauseMs} ms ${acts.map(actText).join('; ')}`),
    `  ${end}`,
  ].join('\n');
}
