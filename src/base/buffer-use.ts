/**
 * What a buffer of the pool is for. Nobody waits for what stands before it in this list, so each kind has a few buffers of its own that
 * the others do not get (host/buffer-pool.ts):
 *
 *     user      a request of a device    waits for the peer to take it, or to answer it
 *     answer    what the peer reads      waits for the peer to take it
 *     arrival   what the peer sends      waits for a disk of this node
 *     spare     meta-data, handshakes    wait for no data
 *
 * What a node sends never keeps it from taking what its peer sends. Without that two nodes that are busy with each other's data wait for
 * each other for ever: all buffers hold what the peer has no buffer to receive. (The original takes more pages than max-buffers after a
 * tenth of a second. Here the memory is what it is.)
 */
export type BufferUse = 'user' | 'answer' | 'arrival' | 'spare';

/** Sizes of payload that there are buffers for. */
export const CLASS_PAYLOAD_BYTES = [0, 4096, 65536, 1 << 20] as const;

/** Index of the smallest of these that has room for so much; the last one for what is too much. */
export function bufferClass(payloadBytes: number): number {
  return payloadBytes === 0 ? 0 : payloadBytes <= 4096 ? 1 : payloadBytes <= 65536 ? 2 : 3;
}
