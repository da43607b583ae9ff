/** JSON with opaque 64-bit values (UUIDs): 0x1f as "bigint:1f". Never a shared secret. */

/** What stands for a shared secret: that there is one may decide, its value never does. */
const SECRET = '(not recorded)';

export function flightJson(value: unknown): string {
  return JSON.stringify(value, function (this: Readonly<Record<string, unknown>>, key, v: unknown) {
    const raw = this[key]; // a Buffer has been made something else by now
    if (raw instanceof Uint8Array) return `bytes:${[...raw].map(hex).join('')}`;
    // Options travel inside many things: none gets out with its secret.
    if (key === 'sharedSecret' && v !== '') return SECRET;
    if (typeof v === 'bigint') return `bigint:${v.toString(16)}`;
    return v;
  });
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

/** Null when it is not JSON. */
export function parseFlightJson(text: string): unknown {
  try {
    return JSON.parse(text, (_key, v: unknown) => {
      if (typeof v !== 'string') return v;
      if (/^bigint:[0-9a-f]+$/.test(v)) return BigInt(`0x${v.slice(7)}`);
      if (/^bytes:([0-9a-f]{2})*$/.test(v)) {
        const pairs = v.slice(6).match(/../g) ?? [];
        return Uint8Array.from(pairs, (pair) => Number.parseInt(pair, 16));
      }
      return v;
    });
  } catch {
    return null;
  }
}
