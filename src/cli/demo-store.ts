/**
 * What a client can commit numbered rows to: the MariaDB of the service address, or the ledger where no MariaDB is installed.
 * A row that is there already counts as stored: its answer got lost when the service moved, and the client sends it again.
 */

import { ER_DUP_ENTRY, type Login, MysqlClient, SqlError } from './demo-mysql.js';
import { Stream } from './demo-stream.js';

export interface Store {
  /** Durable when it returns. */
  commit(row: number): Promise<void>;
  /** All rows that are there, ascending. */
  rows(): Promise<number[]>;
  /** Rows `from` to `to`, both included, are gone for good when it returns. */
  remove(from: number, to: number): Promise<void>;
  close(): void;
}

export type StoreKind = 'mysql' | 'ledger';

export interface Limits {
  readonly connectMs: number;
  readonly answerMs: number;
}
/**
 * The committing client's: a packet to an address that nobody has gets no answer, so connections and commits are given up soon and
 * tried again. Sending a row again is harmless. A server that is only slow gets more time at each failure (demo-client.ts).
 */
export const CLIENT_LIMITS: Limits = { connectMs: 250, answerMs: 500 };
/** For everything that is asked once. */
export const PATIENT_LIMITS: Limits = { connectMs: 10_000, answerMs: 60_000 };

export const DEMO_LOGIN = { user: 'demo', password: 'twinbeat' } as const;
export const TABLE = 'demo.ledger';
/** Rows removed by one statement: no transaction is long, and nothing else waits long for it. */
const REMOVE_ROWS = 1_000;
export const CREATE_TABLE = `CREATE DATABASE IF NOT EXISTS demo;
CREATE TABLE IF NOT EXISTS ${TABLE} (
  n BIGINT PRIMARY KEY, written TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3), note CHAR(200)) ENGINE=InnoDB;
CREATE USER IF NOT EXISTS '${DEMO_LOGIN.user}'@'%' IDENTIFIED BY '${DEMO_LOGIN.password}';
GRANT ALL ON demo.* TO '${DEMO_LOGIN.user}'@'%';
`;

export function openStore(
  kind: StoreKind,
  host: string,
  port: number,
  limits: Limits,
): Promise<Store> {
  return kind === 'mysql'
    ? openMysql({ host, port, ...DEMO_LOGIN }, limits)
    : openLedger(host, port, limits);
}

async function openMysql(login: Login, limits: Limits): Promise<Store> {
  const client = await MysqlClient.connect(login, limits.connectMs, limits.answerMs);
  return {
    async commit(row) {
      try {
        await client.query(`INSERT INTO ${TABLE} (n, note) VALUES (${row}, 'row ${row}')`);
      } catch (e) {
        if (!(e instanceof SqlError && e.errno === ER_DUP_ENTRY)) throw e;
        // An earlier try has put it there, and nobody has said that it is durable: InnoDB shows a row, and forgets its lock,
        // before its log is on the disk. A commit that changes something has everything before it flushed.
        const again = `UPDATE ${TABLE} SET note = CONCAT('row ${row}, ', UUID()) WHERE n = ${row}`;
        await client.query(again);
      }
    },
    rows: async () =>
      (await client.query(`SELECT n FROM ${TABLE} ORDER BY n`)).map(([n]) => Number(n)),
    async remove(from, to) {
      for (let first = from; first <= to; first += REMOVE_ROWS) {
        const last = Math.min(to, first + REMOVE_ROWS - 1);
        await client.query(`DELETE FROM ${TABLE} WHERE n BETWEEN ${first} AND ${last}`);
      }
    },
    close: () => client.close(),
  };
}

/** The ledger's protocol: `N` -> `ok N`; `list` -> one number a line, then `end`; `remove N M` -> `removed N M`. */
async function openLedger(host: string, port: number, limits: Limits): Promise<Store> {
  const stream = await Stream.open(host, port, limits.connectMs);
  return {
    async commit(row) {
      stream.write(`${row}\n`);
      const answer = await stream.readLine(limits.answerMs);
      if (answer !== `ok ${row}`) throw new Error(`the ledger answered ${answer}`);
    },
    async rows() {
      stream.write('list\n');
      const rows: number[] = [];
      for (;;) {
        const line = await stream.readLine(limits.answerMs);
        if (line === 'end') return rows.sort((a, b) => a - b);
        rows.push(Number(line));
      }
    },
    async remove(from, to) {
      stream.write(`remove ${from} ${to}\n`);
      const answer = await stream.readLine(limits.answerMs);
      if (answer !== `removed ${from} ${to}`) throw new Error(`the ledger answered ${answer}`);
    },
    close: () => stream.close(),
  };
}
