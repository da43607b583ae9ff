/**
 * A program that must not lose what it was told is durable: appends numbered 4 KiB records to a file, syncs each, and
 * only then prints its number. `check` reads them back.
 *
 *     node fsync-writer.js write FILE          until SIGTERM; an error is printed as "error ..."
 *     node fsync-writer.js check FILE COUNT    exit status 1 when one of the records 1..COUNT is not as written
 */
import { closeSync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';

const RECORD_BYTES = 4096;
const MAX_RECORDS = 8192; // then from the beginning again, with higher numbers

function record(number: number): Buffer {
  const bytes = Buffer.alloc(RECORD_BYTES);
  for (let i = 0; i < RECORD_BYTES; i += 4)
    bytes.writeUInt32LE(Math.imul(number, 2654435761) >>> 0, i);
  bytes.writeUInt32LE(number, 0);
  return bytes;
}

const [, , verb, file = '', count = '0'] = process.argv;
if (verb === 'write') {
  let stopping = false;
  process.on('SIGTERM', () => {
    stopping = true;
  });
  const fd = openSync(file, 'w');
  for (let number = 1; !stopping; number++) {
    try {
      writeSync(fd, record(number), 0, RECORD_BYTES, ((number - 1) % MAX_RECORDS) * RECORD_BYTES);
      fdatasyncSync(fd);
    } catch (error) {
      process.stdout.write(`error ${error}\n`);
      process.exit(1);
    }
    process.stdout.write(`${number}\n`);
    if (number % 16 === 0) await new Promise((resolve) => setImmediate(resolve)); // lets SIGTERM in
  }
  closeSync(fd);
} else {
  const bytes = readFileSync(file);
  const last = Number(count);
  for (let number = Math.max(1, last - MAX_RECORDS + 1); number <= last; number++) {
    const at = ((number - 1) % MAX_RECORDS) * RECORD_BYTES;
    const found = bytes.subarray(at, at + RECORD_BYTES);
    // One record more than was printed may have been written over the oldest.
    const ok = found.equals(record(number)) || found.equals(record(number + MAX_RECORDS));
    if (!ok) {
      process.stdout.write(`record ${number} of ${last} is lost\n`);
      process.exit(1);
    }
  }
}
