/** Names that a witness knows: of clusters and nodes. What can be written in a file, in a datagram and in a log. */

export const MAX_WITNESS_NAME_BYTES = 64;

export function isWitnessName(name: string): boolean {
  return /^[\w.:-]+$/.test(name) && name.length <= MAX_WITNESS_NAME_BYTES;
}
