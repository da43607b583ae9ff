/** sndbuf-size and rcvbuf-size: what the sockets of a connection have. */
import test from 'ava';
import { succeed } from '../support/command.js';
import { need } from '../support/need.js';
import { pair } from '../support/pair.js';

/** `ss`: room for sending and receiving of each socket of that address, as the kernel counts it: twice what was asked for. */
async function rooms(host: string): Promise<readonly (readonly [number, number])[]> {
  const text = await succeed('ss', '-tnmOH', 'src', host);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [, receive, send] = /skmem:\(r\d+,rb(\d+),t\d+,tb(\d+),/.exec(line) ?? [];
      return [Number(send), Number(receive)] as const;
    });
}

// drbd.conf(5): the size of the TCP socket's buffers; 0, the default, leaves them to the system.
test('sndbuf-size and rcvbuf-size are those of both streams, on both nodes', async (t) => {
  if (!need(t, 'ss', 'io_uring')) return;
  const [sndbufBytes, rcvbufBytes] = [96 << 10, 80 << 10];
  const e = await pair(t, { engine: 'native', net: { sndbufBytes, rcvbufBytes } });
  const sized = await rooms(e.host);
  t.is(sized.length, 4); // data and meta, both ends
  for (const [send, receive] of sized) {
    t.is(send, 2 * sndbufBytes);
    t.is(receive, 2 * rcvbufBytes);
  }
  const free = await pair(t, { engine: 'native' });
  for (const [send, receive] of await rooms(free.host)) {
    t.not(send, 2 * sndbufBytes);
    t.not(receive, 2 * rcvbufBytes);
  }
});
