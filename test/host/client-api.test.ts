/** The client API as a machine: what heartbeat 3.0.6 was seen to answer, and clients that mean no good. */
import test from 'ava';
import { Prng } from '../../src/base/prng.js';
import { ClientApi, type ClientEffect } from '../../src/host/client-api.js';
import type { ClientView } from '../../src/host/client-queries.js';
import { type Credentials, clientRights } from '../../src/host/client-rights.js';
import { isForeignType } from '../../src/host/event-scripts.js';
import type { NodeReport } from '../../src/host/heartbeat-control.js';
import { fieldOf, type HaMessage, haFields } from '../../src/wire/hamsg.js';

const HACLIENT = 108;
const ROOT: Credentials = { pid: 7, uid: 0, gid: 0 };
const NODES: readonly NodeReport[] = [
  { name: 'node-a', status: 'active', type: 'normal', links: [{ name: 'eth0', status: 'dead' }] },
  { name: 'node-b', status: 'active', type: 'normal', links: [{ name: 'eth0', status: 'up' }] },
  { name: '10.0.0.1', status: 'ping', type: 'ping', links: [{ name: '10.0.0.1', status: 'up' }] },
];
const VIEW: ClientView = {
  node: 'node-a',
  signOn: () => ({ deadtime: '1388', node: 'node-a' }),
  nodes: () => NODES,
  rscStatus: () => 'local',
  parameter: (name) => (name === 'keepalive' ? '500ms' : null),
  uuidOf: () => null,
  isBuiltIn: (client) => client === 'dopd',
};
const NAMES = {
  user: (name: string) => ({ root: 0, hacluster: 104 })[name] ?? null,
  group: (name: string) => ({ haclient: HACLIENT })[name] ?? null,
};
const APIAUTH = [
  { client: 'foo', uids: ['root', '1000'], gids: [] },
  { client: 'bar', uids: [], gids: ['haclient'] },
];
const rightsOf = (lines: Parameters<typeof clientRights>[0]) =>
  clientRights(lines, NAMES, () => undefined);

function words(message: HaMessage): string {
  return message.map(({ name, value }) => `${name}=${String(value)}`).join(' ');
}

class Hand {
  readonly api: ClientApi;
  #next = 1;

  constructor(lines = APIAUTH) {
    this.api = new ClientApi(VIEW, rightsOf(lines));
  }

  do(work: (out: ClientEffect[]) => void): string[] {
    const out: ClientEffect[] = [];
    work(out);
    return out.map((effect) => {
      if (effect.type === 'answer') return `${effect.connection} < ${words(effect.message)}`;
      if (effect.type === 'send') return `send ${words(effect.message)}`;
      if (effect.type === 'close') return `${effect.connection} closed`;
      if (effect.type === 'client') return `${effect.client} ${effect.online}`;
      return `${effect.level}`;
    });
  }

  say(connection: number, fields: Readonly<Record<string, string>>): string[] {
    return this.do((out) => this.api.received(connection, haFields(fields), out));
  }

  ask(connection: number, reqtype: string, more: Readonly<Record<string, string>> = {}): string[] {
    return this.say(connection, { t: 'hbapi-req', reqtype, ...more });
  }

  connect(credentials = ROOT): number {
    const connection = this.#next++;
    this.api.connected(connection, credentials);
    return connection;
  }

  signOn(from_id: string, credentials = ROOT): { readonly at: number; readonly said: string[] } {
    const at = this.connect(credentials);
    const said = this.ask(at, 'signon', { from_id, pid: String(credentials.pid) });
    return { at, said };
  }

  heard(fields: Readonly<Record<string, string>>): string[] {
    return this.do((out) => this.api.heard(haFields(fields), out));
  }
}

const SIGNED_ON = 't=hbapi-resp reqtype=signon result=OK deadtime=1388 node=node-a';
const refused = (info: string) =>
  `t=hbapi-resp reqtype=signon info=${info} result=badreq deadtime=1388 node=node-a`;

test('one with a name is answered and announced; it leaves with a word, and without', (t) => {
  const hand = new Hand();
  const { at, said } = hand.signOn('foo');
  const state = (st: string, info: string) =>
    `t=hbapi-clstat st=${st} from_id=foo to_id=foo info=${info} client_gen=0`;
  t.deepEqual(said, [`1 < ${SIGNED_ON}`, 'foo true', `send ${state('join', 'signon')}`]);
  t.deepEqual(hand.ask(at, 'signoff'), [
    `1 < ${state('leave', 'signoff')} src=node-a`,
    'foo false',
    `send ${state('leave', 'signoff')}`,
    '1 closed',
  ]);
  const again = hand.signOn('foo');
  t.regex(again.said.at(-1) ?? '', /client_gen=1$/);
  t.deepEqual(
    hand.do((out) => hand.api.closed(again.at, 'died', out)),
    ['foo false', `send ${state('leave', 'died').replace('gen=0', 'gen=1')}`],
  );
});

test('a casual one is not announced', (t) => {
  const hand = new Hand();
  const { at, said } = hand.signOn('7');
  t.deepEqual(said, [`1 < ${SIGNED_ON}`]);
  t.deepEqual(hand.ask(at, 'signoff'), ['1 closed']);
});

test('who may: uid, effective gid, what is built in, default', (t) => {
  const rows: readonly (readonly [string, number, number, string | null])[] = [
    ['foo', 0, 0, null],
    ['foo', 1000, 1000, null],
    ['foo', 1001, 0, 'client failed authorization'],
    ['bar', 1001, HACLIENT, null],
    ['bar', 0, 0, 'client failed authorization'],
    ['ping', 0, 0, 'client failed authorization'],
    ['ping', 0, HACLIENT, null],
    ['ipfail', 104, HACLIENT, null],
    ['ccm', 0, 0, 'client failed authorization'],
    ['other', 0, 0, 'no default client auth'],
    ['7', 0, 0, null],
    ['7', 1001, HACLIENT, null],
    ['7', 1001, 1001, 'client failed authorization'],
    ['8', 0, 0, 'pid mismatch'],
    ['dopd', 0, 0, 'duplicate add request'],
  ];
  for (const [name, uid, gid, info] of rows) {
    const hand = new Hand();
    const { said } = hand.signOn(name, { pid: 7, uid, gid });
    const wanted = info === null ? SIGNED_ON : refused(info);
    t.is(said[0], `1 < ${wanted}`, `${name} ${uid} ${gid}`);
    if (info !== null) t.deepEqual(said.slice(1), ['WARN', '1 closed']);
  }
});

test('a line of ha.cf stands instead of what is built in, and default for the rest', (t) => {
  const hand = new Hand([
    { client: 'ping', uids: ['root'], gids: [] },
    { client: 'default', uids: ['root'], gids: [] },
  ]);
  t.is(hand.signOn('ping').said[0], `1 < ${SIGNED_ON}`);
  t.is(hand.signOn('other').said[0], `2 < ${SIGNED_ON}`);
  const names = ['a/../b', '..', '', 'a b', 'x'.repeat(65), 'a\n', '/'];
  for (const name of names) {
    t.regex(hand.signOn(name).said[0] ?? '', /no default client auth/, name);
  }
});

test('a name that nobody has is said once, and is nobody', (t) => {
  const missing: string[] = [];
  const lines = [{ client: 'foo', uids: ['nosuch', 'root'], gids: ['nogroup'] }];
  clientRights(lines, NAMES, (client, what) => missing.push(`${client} ${what}`));
  t.deepEqual(missing, ['foo user nosuch', 'foo group nogroup']);
});

test('another pid than the kernel says is refused, and a name that is taken', (t) => {
  const hand = new Hand();
  t.regex(
    hand.ask(hand.connect(), 'signon', { from_id: 'foo', pid: '1' })[0] ?? '',
    /pid mismatch/,
  );
  hand.signOn('foo');
  t.regex(hand.signOn('foo').said[0] ?? '', /duplicate add request/);
});

test('signing on twice ends it, and the cluster hears that it left', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  const said = hand.ask(at, 'signon', { from_id: 'foo', pid: '7' });
  t.true(said.includes('foo false'));
  t.is(said.at(-1), '1 closed');
});

test('who has not signed on is sent away', (t) => {
  const hand = new Hand();
  t.deepEqual(hand.ask(hand.connect(), 'getrsc'), ['1 closed']);
  t.deepEqual(hand.say(hand.connect(), { t: 'status', st: 'dead' }), ['2 closed']);
  t.deepEqual(hand.ask(1, 'getrsc'), [], 'and is not heard any more');
});

test('what is asked is answered as by the original', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('7');
  const node = { node: 'node-b' };
  const rows: readonly (readonly [string, Readonly<Record<string, string>>, readonly string[]])[] =
    [
      [
        'nodelist',
        {},
        [
          'node=node-a nodetype=normal st=active result=ok/more',
          'node=node-b nodetype=normal st=active result=ok/more',
          'node=10.0.0.1 nodetype=ping st=ping result=OK',
        ],
      ],
      ['nodestatus', node, ['st=active result=OK']],
      ['nodestatus', { node: 'nosuch' }, ['result=badreq info=EINVAL']],
      ['nodestatus', {}, ['result=badreq info=EINVAL']],
      ['nodetype', { node: '10.0.0.1' }, ['nodetype=ping result=OK']],
      ['nodeweight', node, ['weight=100 result=OK']],
      ['nodesite', node, ['site= result=OK']],
      ['numnodes', {}, ['numnodes=2 result=OK']],
      ['iflist', node, ['ifname=eth0 st=up result=OK']],
      ['ifstatus', { ...node, ifname: 'eth0' }, ['st=up result=OK']],
      ['ifstatus', { ...node, ifname: 'eth9' }, ['result=badreq info=EINVAL']],
      ['getrsc', {}, ['rsc_hold=local result=OK']],
      ['getparm', { pname: 'keepalive' }, ['pvalue=500ms result=OK']],
      ['getparm', { pname: '__proto__' }, ['result=OK']],
      ['getparm', {}, ['result=badreq info=EINVAL']],
      ['getuuid', {}, ['result=badreq info=no query node name found']],
      ['getuuid', { queryname: 'nosuch' }, ['result=OK']],
      ['setsignal', { signal: '0' }, ['result=OK']],
      ['setsignal', { signal: '9' }, ['result=badreq']],
      ['setfilter', { fmask: '1' }, ['result=badreq info=EINVAL']],
      ['set_sendqlen', {}, []],
      ['nosuch', {}, ['result=badreq']],
      ['constructor', {}, ['result=badreq']],
      [
        'clientstatus',
        { node: 'node-a', cn: 'dopd' },
        ['subt=respond-cstatus cs=online result=OK'],
      ],
      [
        'clientstatus',
        { node: 'node-a', cn: 'foo' },
        ['subt=respond-cstatus cs=offline result=OK'],
      ],
      ['clientstatus', { node: '10.0.0.1', cn: 'foo' }, ['result=badreq info=EINVAL']],
      ['clientstatus', { node: 'node-a', cn: 'a b' }, ['result=badreq info=EINVAL']],
    ];
  for (const [reqtype, fields, answers] of rows) {
    const wanted = answers.map((text) => `1 < t=hbapi-resp reqtype=${reqtype} ${text}`);
    t.deepEqual(hand.ask(at, reqtype, fields), wanted, `${reqtype} ${JSON.stringify(fields)}`);
  }
});

test('clientstatus of the other node: its answer goes to who asked', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('7');
  t.deepEqual(hand.ask(at, 'clientstatus', { node: 'node-b', cn: 'foo' }), [
    'send t=query-cstatus dest=node-b cn=foo from_id=7',
  ]);
  const answer = { t: 'respond-cstatus', dest: 'node-a', cn: 'foo', to_id: '7', cs: 'offline' };
  t.is(hand.heard(answer).length, 1);
  t.deepEqual(hand.heard({ ...answer, to_id: '8' }), []);
});

test('its messages carry its name, whatever they say; the standard fields are not its own', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  const forged = {
    src: 'node-b',
    from_id: 'bar',
    to_id: 'bar',
    seq: '1',
    homes: 'x',
    offline: '1',
  };
  t.deepEqual(hand.say(at, { t: 'hello', word: 'x', ...forged }), [
    'send t=hello word=x from_id=foo to_id=foo client_gen=0',
  ]);
});

test('a field that would be two in the other form is not sent', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  const fields: Readonly<Record<string, string>>[] = [
    { 'x\nfrom_id': 'bar' },
    { x: 'a\0b' },
    { '(1)x': 'a' },
  ];
  const twice = [...haFields({ t: 'hello' }), ...haFields({ t: 'status', st: 'dead' })];
  t.deepEqual(
    hand.do((out) => hand.api.received(at, twice, out)),
    ['WARN'],
  );
  for (const more of fields) t.deepEqual(hand.say(at, { t: 'hello', ...more }), ['WARN']);
});

test('it does not speak for the node', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  for (const type of [
    'status',
    'resource',
    'shutdone',
    'starting',
    'reqnodes',
    'NS_rexmit',
    'stonith',
    'recover',
    'hbapi-clstat',
    'respond-cstatus',
    'start_outdate',
    'ip-request-resp',
  ]) {
    t.deepEqual(hand.say(at, { t: type, st: 'dead', rsc_hold: 'all' }), ['WARN'], type);
  }
  t.deepEqual(hand.say(at, { t: 'ask_resources', rsc_hold: 'all', info: 'done' }), ['WARN']);
  t.deepEqual(hand.say(at, { t: 'ask_resources', rsc_hold: 'x', info: 'me' }), ['WARN']);
  t.deepEqual(hand.say(at, { t: 'ask_resources', rsc_hold: 'all', info: 'me', dest: 'x' }), [
    'send t=ask_resources rsc_hold=all info=me',
  ]);
  t.deepEqual(hand.say(at, { t: 'hb_takeover', rsc_hold: 'failback' }), [
    'send t=hb_takeover rsc_hold=failback',
  ]);
});

test('a casual one may not send: it is sent away', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('7');
  t.deepEqual(hand.say(at, { t: 'hello' }), ['info', '1 closed']);
});

test('who hears what: its own, all, not those of others, not those for the other node', (t) => {
  const hand = new Hand();
  hand.signOn('foo');
  hand.signOn('bar', { pid: 8, uid: 1, gid: HACLIENT });
  hand.signOn('7');
  const to = (fields: Readonly<Record<string, string>>) =>
    hand.heard(fields).map((text) => Number(text.split(' ')[0]));
  t.deepEqual(to({ t: 'resource', rsc_hold: 'all' }), [1, 2]);
  t.deepEqual(to({ t: 'hello', to_id: 'foo' }), [1]);
  t.deepEqual(to({ t: 'hello', to_id: 'foo', dest: 'node-b' }), []);
  t.deepEqual(to({ t: 'hello', to_id: 'ipfail' }), []);
});

test('a status that changed is told, one that did not only to who wants it', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  const status = { t: 'status', st: 'active', src: 'node-b' };
  t.is(hand.heard(status).length, 1);
  t.is(hand.heard(status).length, 0);
  t.deepEqual(hand.ask(at, 'setfilter', { fmask: '3' }), [
    '1 < t=hbapi-resp reqtype=setfilter result=OK',
  ]);
  t.is(hand.heard(status).length, 1);
  t.deepEqual(
    hand.do((out) => hand.api.nodeDead('node-b', out)),
    ['1 < t=status src=node-b st=dead'],
  );
  t.deepEqual(
    hand.do((out) => hand.api.link('node-b', 'eth0', 'dead', out)),
    ['1 < t=ifstat node=node-b ifname=eth0 st=dead'],
  );
  hand.ask(at, 'setfilter', { fmask: '2' });
  t.is(hand.heard({ t: 'resource' }).length, 0);
  for (const fmask of ['0', '40', '80', '100', 'zz', '', '-1']) {
    t.regex(hand.ask(at, 'setfilter', { fmask })[0] ?? '', /badreq info=EINVAL/, fmask);
  }
});

test('a question without dest is answered by everybody, ourselves among them', (t) => {
  const hand = new Hand();
  const { at } = hand.signOn('foo');
  t.deepEqual(hand.say(at, { t: 'query-cstatus', cn: 'foo', from_id: 'bar' }), [
    '1 < t=respond-cstatus dest=node-a result=OK cn=foo to_id=foo cs=online src=node-a',
    'send t=query-cstatus cn=foo from_id=foo',
  ]);
});

test('a new life of the node: who is there joins again; new rights are for who comes', (t) => {
  const hand = new Hand();
  hand.signOn('foo');
  hand.signOn('7');
  hand.api.setRights(rightsOf([]));
  t.deepEqual(
    hand.do((out) => hand.api.active(out)).map((text) => text.slice(0, 30)),
    ['foo true', 'send t=hbapi-clstat st=join fr'],
  );
  t.regex(hand.signOn('bar').said[0] ?? '', /no default client auth/);
});

/** Whatever is said, in whatever order: what reaches the cluster is a client's, and has no field of heartbeat's own. */
test('anything at all: nothing is thrown, and nothing that is sent speaks for the node', (t) => {
  const types = [
    'hbapi-req',
    'status',
    'resource',
    'ask_resources',
    'hb_takeover',
    'query-cstatus',
    'hello',
    'NS_ackmsg',
    'shutdone',
    '',
  ];
  const requests = [
    'signon',
    'signoff',
    'nodelist',
    'iflist',
    'setfilter',
    'clientstatus',
    'getparm',
    '__proto__',
  ];
  const values = [
    'foo',
    'bar',
    '7',
    '8',
    'node-a',
    'node-b',
    'all',
    'me',
    'done',
    '1',
    'ff',
    '',
    '../x',
    'a\nb',
    '\0',
  ];
  const names = [
    'from_id',
    'to_id',
    'pid',
    'node',
    'cn',
    'rsc_hold',
    'info',
    'src',
    'seq',
    'homes',
    'dest',
    'fmask',
    'x',
  ];
  let sent = 0;
  let foreign = 0;
  for (let seed = 1; seed <= 200; seed++) {
    const rng = new Prng(seed);
    const hand = new Hand();
    let last = 0;
    for (let turn = 0; turn < 100; turn++) {
      const at = Math.max(1, last - rng.below(4));
      if (rng.chance(0.2)) last = hand.connect({ pid: 8, uid: 5, gid: HACLIENT });
      if (rng.chance(0.2)) last = hand.signOn(rng.pick(['foo', 'bar', '7'])).at;
      const fields: Record<string, string> = { t: rng.pick(types), reqtype: rng.pick(requests) };
      for (let n = rng.below(5); n > 0; n--) fields[rng.pick(names)] = rng.pick(values);
      if (rng.chance(0.2))
        Object.assign(fields, {
          t: 'hbapi-req',
          reqtype: 'signon',
          from_id: rng.pick(['foo', 'bar', '7', '8']),
          pid: rng.pick(['7', '8']),
        });
      const out: ClientEffect[] = [];
      if (rng.chance(0.05)) hand.api.closed(at, 'died', out);
      else if (rng.chance(0.1)) hand.api.heard(haFields(fields), out);
      else hand.api.received(at, haFields(fields), out);
      for (const effect of out) {
        if (effect.type !== 'send') continue;
        sent++;
        const type = fieldOf(effect.message, 't') ?? '';
        const isOwn = ['hbapi-clstat', 'query-cstatus', 'hb_takeover'].includes(type);
        const isAsk = type === 'ask_resources' && fieldOf(effect.message, 'info') === 'me';
        if (isForeignType(type)) foreign++;
        t.true(isOwn || isAsk || isForeignType(type), type);
        for (const name of ['src', 'seq', 'homes']) t.is(fieldOf(effect.message, name), null);
        const id = fieldOf(effect.message, 'from_id');
        t.true(id === null || ['foo', 'bar', '7', '8'].includes(id), `${id}`);
      }
    }
  }
  t.true(sent > 200 && foreign > 20, `${sent} ${foreign}`);
});
