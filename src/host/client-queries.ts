/**
 * What a client of the API may ask of this node (client-api.ts): one row for each request. An answer is one message, of `nodelist` and
 * `iflist` one for each node or link, `ok/more` in all but the last. What is not known is `badreq`, as in the original.
 */
import { fieldOf, type HaField, type HaMessage, haFields } from '../wire/hamsg.js';
import type { NodeReport } from './heartbeat-control.js';

/** What the answers are made of. */
export interface ClientView {
  readonly node: string;
  /** Fields of the answer to `signon` behind its result. */
  signOn(): Readonly<Record<string, string>>;
  /** In the order of ha.cf. */
  nodes(): readonly NodeReport[];
  rscStatus(): string;
  /** A directive of ha.cf as it is written; null: it is not there. */
  parameter(name: string): string | null;
  uuidOf(node: string): Uint8Array | null;
  /** Of ipfail, dopd: there and part of the daemon. */
  isBuiltIn(client: string): boolean;
}

type Answers = readonly (readonly HaField[])[];
type Query = (message: HaMessage, view: ClientView) => Answers;

const OK = { result: 'OK' };
const INVALID: Answers = [haFields({ result: 'badreq', info: 'EINVAL' })];
const NO_NAME: Answers = [haFields({ result: 'badreq', info: 'no query node name found' })];

function ok(fields: Readonly<Record<string, string>>): Answers {
  return [haFields({ ...fields, ...OK })];
}

/** All but the last one say that more come. */
function list(rows: readonly Readonly<Record<string, string>>[]): Answers {
  if (rows.length === 0) return INVALID;
  return rows.map((row, i) => haFields({ ...row, result: i < rows.length - 1 ? 'ok/more' : 'OK' }));
}

function ofNode(answer: (node: NodeReport, message: HaMessage) => Answers): Query {
  return (message, view) => {
    const name = fieldOf(message, 'node');
    const node = view.nodes().find((one) => one.name === name);
    return node ? answer(node, message) : INVALID;
  };
}

const QUERIES: Readonly<Record<string, Query>> = {
  nodelist: (_message, view) =>
    list(
      view.nodes().map(({ name, type, status }) => ({ node: name, nodetype: type, st: status })),
    ),
  nodestatus: ofNode(({ status }) => ok({ st: status })),
  nodetype: ofNode(({ type }) => ok({ nodetype: type })),
  nodeweight: ofNode(() => ok({ weight: '100' })),
  nodesite: ofNode(() => ok({ site: '' })),
  numnodes: (_message, view) => {
    const count = view.nodes().filter(({ type }) => type === 'normal').length;
    return ok({ numnodes: String(count) });
  },
  iflist: ofNode(({ links }) =>
    list(links.map(({ name, status }) => ({ ifname: name, st: status }))),
  ),
  ifstatus: ofNode(({ links }, message) => {
    const link = links.find(({ name }) => name === fieldOf(message, 'ifname'));
    return link ? ok({ st: link.status }) : INVALID;
  }),
  getrsc: (_message, view) => ok({ rsc_hold: view.rscStatus() }),
  getparm: (message, view) => {
    const name = fieldOf(message, 'pname');
    if (name === null) return INVALID;
    const value = view.parameter(name);
    return ok(value === null ? {} : { pvalue: value });
  },
  getuuid: (message, view) => {
    const name = fieldOf(message, 'queryname');
    if (name === null) return NO_NAME;
    const uuid = view.uuidOf(name);
    return [
      [...(uuid ? [{ name: 'queryuuid', kind: 1, value: uuid } as const] : []), ...haFields(OK)],
    ];
  },
  getnodename: () => NO_NAME, // by a UUID: nobody in this style asks so
  // A signal for each message: 0 switches it off, and it is off.
  setsignal: (message) =>
    fieldOf(message, 'signal') === '0' ? ok({}) : [haFields({ result: 'badreq' })],
};

/** The fields of the answers behind `reqtype`. */
export function answerQuery(reqtype: string, message: HaMessage, view: ClientView): Answers {
  const query = Object.hasOwn(QUERIES, reqtype) ? QUERIES[reqtype] : undefined;
  return query ? query(message, view) : [haFields({ result: 'badreq' })];
}
