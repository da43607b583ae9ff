/**
 * An observer outside of both nodes: node observe-active.js NAME=ADDRESS... asks each address every 20 ms who serves there (test/lab/partition/Tell),
 * and prints "NAME HOST LIFE MS" for each answer.
 */
import { createSocket } from 'node:dgram';

const EVERY_MS = 20;
const PORT = 7000;

for (const word of process.argv.slice(2)) {
  const [name = '', address = ''] = word.split('=');
  const socket = createSocket('udp4');
  socket.on('error', () => {}); // nobody there
  socket.on('message', (answer) => process.stdout.write(`${name} ${answer}\n`));
  setInterval(() => socket.send('who', PORT, address, () => {}), EVERY_MS);
}
