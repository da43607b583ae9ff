/**
 * A client outside: node service-client.js ADDRESS PORT. Every 20 ms it connects, and prints when it began and what it was told;
 * nothing for an attempt that was refused or not answered in time.
 */
import { connect } from 'node:net';

const EVERY_MS = 20;
const ANSWER_MS = 500;
const [host = '', port = ''] = process.argv.slice(2);

setInterval(() => {
  const startMs = Date.now();
  const socket = connect({ host, port: Number(port) });
  let told = '';
  socket.setEncoding('utf8').setTimeout(ANSWER_MS, () => socket.destroy());
  socket.on('data', (text: string) => {
    told += text;
  });
  socket.on('end', () => {
    if (told.endsWith('\n')) process.stdout.write(`${startMs} ${told}`);
  });
  socket.on('error', () => {});
}, EVERY_MS);
