/**
 * The file of the flight recorder: two rings of blocks behind one head.
 *
 *     0            HEAD_BYTES                                    HEAD_BYTES + coldBlocks * BLOCK_BYTES
 *     | head: JSON | cold block | cold block ... (wraps by itself) | hot block | hot block ... (wraps by itself) |
 *
 * The hot ring has every input of the machine, so it can be fed to the machine again as long as its first block is there.
 * The cold ring has what is rare (requests, decisions with all that they depend on, log lines), so it reaches back much
 * further: from it each decision can still be judged again.
 *
 * A block is filled from its start; records do not cross its end. Block number n of a ring lies at n modulo its size.
 * `used` is moved behind each whole record, `sealed` and the checksum follow in larger steps: what was written last
 * before a process died may be without checksum, never more than SEAL_MS worth of it.
 *
 *     offset in a block   0 magic u32   4 number u32   8 used u32   12 sealed u32   16 checksum u32 of [20, sealed)
 *                        20 start of the block, monotonic microseconds f64   28 the same in wall milliseconds f64
 *
 * All numbers little-endian. Numbers in records are LEB128: seven bits a byte, low bits first, the top bit says "more".
 */

export const FORMAT = 1;
export const HEAD_MAGIC = 'twinbeat flight recorder\n';
export const HEAD_BYTES = 4096;
export const BLOCK_BYTES = 65536;
export const BLOCK_HEAD_BYTES = 40;
export const BLOCK_MAGIC = 0x54424b52; // "RKBT"
export const AT = { magic: 0, number: 4, used: 8, sealed: 12, sum: 16, us: 20, wall: 28 } as const;
/** The checksum covers a block from here. */
export const SUM_FROM = 20;
export const SEAL_MS = 100;
/** Longest content of one record; longer ones are cut into several. */
export const PIECE_BYTES = 8192;

export type Daemon = 'drbdd' | 'heartbeat';

/** The JSON of the head, behind HEAD_MAGIC, a length (u32) and its checksum (u32). */
export interface FlightHead {
  readonly format: number;
  readonly daemon: Daemon;
  readonly version: string; // of twinbeat
  readonly node: string;
  readonly life: string; // names the life: its start in wall time, with the process number
  readonly wallMs: number; // at the start
  readonly us: number; // monotonic microseconds at the same moment
  readonly coldBlocks: number;
  readonly hotBlocks: number;
  /** What the machine is built with: counts of buffers (drbdd), configuration (heartbeat). */
  readonly setup: unknown;
}

export function fileBytes(coldBlocks: number, hotBlocks: number): number {
  return HEAD_BYTES + (coldBlocks + hotBlocks) * BLOCK_BYTES;
}

/** Blocks of both rings for about so much memory; an eighth of it is cold. */
export function blocksFor(sizeMiB: number): { coldBlocks: number; hotBlocks: number } {
  const blocks = Math.max(8, Math.floor((sizeMiB * (1 << 20) - HEAD_BYTES) / BLOCK_BYTES));
  const coldBlocks = Math.max(2, blocks >> 3);
  return { coldBlocks, hotBlocks: blocks - coldBlocks };
}

/**
 * Records of the hot ring. Three kinds: *inputs* begin something in the machine; *answers* are what a call of the machine
 * gave back; *checks* are what it did, for comparison. The fields are listed in the order in which they are written.
 */
export const R = {
  // ---- time
  TIME: 1, // input: delta us. The clock that the next input sees
  SUBMIT: 2, // answer to submit: delta us, hash of all effects so far (4 bytes)
  WALL: 3, // wall milliseconds as f64: the wall clock, now and then
  // ---- where an input happens
  INSIDE: 4, // prefix, before TIME: the next input is inside callback number n since the last one without prefix
  // ---- the port
  BATCH: 5, // input: hash (4 bytes). The end of a batch of completions
  CONTENT: 7, // of the DONE that follows: bytes read, by runs
  DATA: 8, // input: stream, bytes peeked
  BYTES: 9, // of a stream: count, bytes. What the machine has consumed
  TAKEN: 10, // of a stream: payload length, then the bytes skipped before it
  LEFT: 11, // of a stream that is closed: how many of its BYTES were peeked and not consumed (just before)
  HOLE: 12, // of a stream: bytes of payload that were dropped
  END: 13, // input: stream, errno
  ACCEPT: 14, // input: listener, handle, text
  NO_BUFFER: 15, // answer to alloc: its number in this life
  DONE_KIND: 16, // input; + kind of the tag (0 to 15): slot, result (signed)
  INFO: 32, // answer to diskInfo: JSON
  BACKLOG: 33, // answer: bytes
  ALIVE: 34, // answer: 0 or 1
  LISTEN: 35, // answer: handle or -errno (signed)
  // ---- surroundings
  RANDOM: 36, // answer: u32
  RANDOM_BYTES: 37, // answer: count, bytes
  DIGEST: 38, // answer: count, bytes; of a look for zeroes: 1 or 0
  HMAC: 39, // answer: count, bytes that stand for it
  TIMER: 40, // input: number of the timer
  HANDLER_DONE: 41, // input: number of the call, exit
  // ---- requests
  ENTER: 42, // input: a turn in which front ends do something
  REQUEST: 44, // input: JSON of a control request, without secrets
  RESUME: 45, // input: minor
  READ: 48, // input: front, tag, minor, sector, length
  WRITE: 49, // input: front, tag, minor, sector, length
  WRITE_FUA: 50,
  FLUSH: 51, // input: front, tag, minor, 0, 0
  DISCARD: 52, // input: front, tag, minor, sector, sectors
  ZEROES: 53, // input: front, tag, minor, sector, sectors
  ZEROES_UNMAP: 54,
  OPEN: 55, // input: minor, 1 for write
  RELEASE: 56, // input: minor, 1 for write
  // ---- checks
  LOG: 60, // level index, object, text
  STATE: 61, // minor, old state word, new state word
  HANDLER: 62, // number of the call, event, resource, minor + 1
  REPLY: 63, // JSON of the answer to a request
  // ---- heartbeat (recording-heartbeat.ts)
  BEAT: 80, // input: hash, JSON
  BEAT_ANSWER: 81, // answer: JSON
  PART: 82, // the beginning of the text of the next BEAT or BEAT_ANSWER, which is too long for one record
  // ---- both
  STOP: 90, // text: why the life ended
} as const;

/** What each record consists of: n number, s signed, u u32, b byte, f f64, t text, x count and bytes. */
export const LAYOUT: ReadonlyMap<number, string> = new Map([
  [R.TIME, 'n'],
  [R.SUBMIT, 'nu'],
  [R.WALL, 'f'],
  [R.INSIDE, 'n'],
  [R.BATCH, 'u'],
  [R.CONTENT, 'nx'],
  [R.DATA, 'nn'],
  [R.BYTES, 'nx'],
  [R.TAKEN, 'nnx'],
  [R.LEFT, 'nn'],
  [R.HOLE, 'nn'],
  [R.END, 'nn'],
  [R.ACCEPT, 'nnt'],
  [R.NO_BUFFER, 'n'],
  ...Array.from({ length: 16 }, (_, kind): [number, string] => [R.DONE_KIND + kind, 'ns']),
  [R.INFO, 't'],
  [R.BACKLOG, 'n'],
  [R.ALIVE, 'b'],
  [R.LISTEN, 's'],
  [R.RANDOM, 'u'],
  [R.RANDOM_BYTES, 'x'],
  [R.DIGEST, 'x'],
  [R.HMAC, 'x'],
  [R.TIMER, 'n'],
  [R.HANDLER_DONE, 'ns'],
  [R.ENTER, ''],
  [R.REQUEST, 't'],
  [R.RESUME, 'n'],
  [R.READ, 'nnnnn'],
  [R.WRITE, 'nnnnn'],
  [R.WRITE_FUA, 'nnnnn'],
  [R.FLUSH, 'nnnnn'],
  [R.DISCARD, 'nnnnn'],
  [R.ZEROES, 'nnnnn'],
  [R.ZEROES_UNMAP, 'nnnnn'],
  [R.OPEN, 'nb'],
  [R.RELEASE, 'nb'],
  [R.LOG, 'btt'],
  [R.STATE, 'nuu'],
  [R.HANDLER, 'nttn'],
  [R.REPLY, 't'],
  [R.BEAT, 'ut'],
  [R.BEAT_ANSWER, 't'],
  [R.PART, 't'],
  [R.STOP, 't'],
]);

/** Name of a kind, for people. */
export function recordName(kind: number): string {
  if (kind >= R.DONE_KIND && kind < R.DONE_KIND + 16) return 'DONE';
  return Object.entries(R).find(([, k]) => k === kind)?.[0] ?? `record ${kind}`;
}

/** Records of the cold ring: delta us since the block began, JSON. */
export const COLD = 1;
