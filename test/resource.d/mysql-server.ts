/** A room with the machine's real MariaDB: its data on ext4 on a loop device, as on a replicated one. */
import type { ExecutionContext } from 'ava';
import { loopDevice, type Ran, Room, until } from './room.js';

export const WANTS = [
  ...['root', 'loop', 'netns', 'mkfs.ext4', 'mariadbd', 'mariadb-install-db', 'mariadb'],
];
export const SOCKET = '/run/mysqld/test.sock';

export async function server(t: ExecutionContext, moreOptions = '') {
  const room = await Room.open(t);
  const device = loopDevice(t, room.dir, 512);
  room.must('mkfs.ext4', '-q', device);
  const mount = `${room.dir}/drbd`;
  const datadir = `${mount}/mysql`;
  room.must('mkdir', '-m', '755', mount);
  room.must('chmod', '755', room.dir);
  room.must('mount', device, mount);
  const env = {
    MYSQL_OPTIONS: `--innodb-log-file-size=8M --innodb-buffer-pool-size=16M --skip-networking ${moreOptions}`,
  };
  const call = (action: string, more: Readonly<Record<string, string>> = {}): Ran =>
    room.run([`${process.cwd()}/resource.d/mysql`, datadir, SOCKET, '33061', action], {
      ...env,
      ...more,
    });
  const client = ['mariadb', '--no-defaults', '-N', '-B', '-u', 'root', '-S', SOCKET, '-e'];
  const sql = (text: string): string => room.must(...client, text).trim();
  /** A connection that stays, with what it has done first; ends when the function is called. */
  const hold = async (first: string, user = 'root'): Promise<() => Promise<void>> => {
    const child = room.spawn(
      [
        ...['mariadb', '--no-defaults', '-N', '-B', '--unbuffered', '-u', user, '-S', SOCKET],
        ...['-e', `${first}; select connection_id(); do sleep(1000)`],
      ],
      'pipe',
    );
    let complaint = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    const ended = new Promise<void>((done) => child.once('close', () => done()));
    const id = await new Promise((ready, fail) => {
      child.stdout?.once('data', ready);
      void ended.then(() => fail(new Error(`no connection is held: ${complaint}`)));
    });
    return async () => {
      // There may be no connection free for this one.
      await until(() => room.run([...client, `kill ${id}`]).status === 0);
      await ended;
      // The client says that its connection was killed, and nothing else.
      t.regex(complaint, /^-+\ndo sleep\(1000\)\n-+\n\nERROR 2013 .*\n$/);
    };
  };
  const install = (): string => {
    // Its temporary tables are named by pid, which a server of another test may have as well, in its namespace.
    const temporary = `${mount}/tmp`;
    room.must('install', '-d', '-o', 'mysql', temporary);
    return room.must(
      ...['mariadb-install-db', '--no-defaults', '--user=mysql', `--datadir=${datadir}`],
      ...[`--tmpdir=${temporary}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
      '--innodb-log-file-size=8M',
    );
  };
  const pid = (): number => Number(room.run(['pidof', 'mariadbd']).out.trim());
  return { room, call, sql, hold, install, pid, datadir, mount };
}
