/** node hold-connections.js ADDRESS: takes every connection that the MariaDB there gives, and keeps it until it is ended. */

import { MysqlClient, SqlError } from '../../src/cli/demo-mysql.js';
import { DEMO_LOGIN } from '../../src/cli/demo-store.js';

const ER_CON_COUNT_ERROR = 1040;
const [host = ''] = process.argv.slice(2);
const held: MysqlClient[] = [];
for (;;) {
  try {
    held.push(await MysqlClient.connect({ host, port: 3306, ...DEMO_LOGIN }, 1000, 1000));
  } catch (e) {
    if (!(e instanceof SqlError && e.errno === ER_CON_COUNT_ERROR)) process.stdout.write(`${e}\n`);
    else process.stdout.write(`full: ${held.length}\n`);
    await new Promise((next) => setTimeout(next, 5));
  }
}
