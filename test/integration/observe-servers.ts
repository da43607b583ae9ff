/**
 * Looks from outside which MariaDB answers: node observe-servers.js ADDRESS... Every 50 ms each address is connected to, past any balancer,
 * and "MILLISECONDS ADDRESS" printed for each that greets (protocol version 10), with the time of the greeting.
 */
import { connect } from 'node:net';

const EVERY_MS = 50;
const ANSWER_MS = 400;
const PROTOCOL_AT = 4; // behind the packet's header

for (const host of process.argv.slice(2)) {
  setInterval(() => {
    const socket = connect({ host, port: 3306 });
    socket.setTimeout(ANSWER_MS, () => socket.destroy());
    socket.once('data', (greeting: Buffer) => {
      if (greeting[PROTOCOL_AT] === 10) process.stdout.write(`${Date.now()} ${host}\n`);
      socket.destroy();
    });
    socket.on('error', () => {});
  }, EVERY_MS);
}
