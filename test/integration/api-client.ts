/**
 * A client of the client API for the lab, a program of its own: `api-client.js NAME NODE` signs on as NAME, says hello to its namesakes until
 * it has heard one of another node, and ends with 0; with 1 when it was sent away or 30 s are over.
 */
import { connect } from 'node:net';
import { encodeFrame, FrameReader } from '../../src/wire/client-frame.js';
import { fieldOf, haFields } from '../../src/wire/hamsg.js';

const [name = '', node = ''] = process.argv.slice(2);
const socket = connect('/run/heartbeat/register');
const reader = new FrameReader();
const say = (fields: Readonly<Record<string, string>>) =>
  socket.write(encodeFrame(haFields(fields)));

// The original wants all of them, and believes the kernel.
const own = { pid: String(process.pid), from_id: name, uid: '0', gid: '0' };
say({ t: 'hbapi-req', reqtype: 'signon', dest: node, ...own });
const hello = setInterval(() => say({ t: 'hello', from: node }), 300);
const end = (status: number, text: string) => {
  process.stdout.write(`${text}\n`);
  process.exit(status);
};
setTimeout(() => end(1, 'too late'), 30_000);
socket.on('error', (e) => end(1, e.message));
socket.on('close', () => end(1, 'sent away'));
socket.on('data', (bytes) => {
  reader.push(bytes);
  for (let next = reader.next(); next !== null; next = reader.next()) {
    if (!next.ok) end(1, next.text);
    else if (fieldOf(next.message, 't') === 'hello' && fieldOf(next.message, 'src') !== node) {
      const words = ['src', 'from', 'from_id', 'to_id'].map((one) => fieldOf(next.message, one));
      clearInterval(hello);
      say({ t: 'hello', from: node }); // the other one may have come only now
      setTimeout(end, 1000, 0, words.join(' '));
      return;
    }
  }
});
