/**
 * CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), eight bytes a step.
 *
 * The standard digest has initial value and final xor ffffffff; DRBD's activity log uses initial value 0 and
 * no final inversion, so the raw register is exposed too. Source: RFC 3720 B.4, docs/METADATA.md.
 */

const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let i = 0; i < 256; i++) {
    let c = i;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
    tables[i] = c;
  }
  for (let t = 1; t < 8; t++) {
    for (let i = 0; i < 256; i++) {
      const c = tables[(t - 1) * 256 + i] ?? 0;
      tables[t * 256 + i] = (c >>> 8) ^ (tables[c & 255] ?? 0);
    }
  }
  return tables;
}

function at(table: number, byte: number): number {
  return TABLES[table * 256 + byte] as number;
}

/** The raw register after `bytes[start, end)`, begun with `register`; no inversion at either end. */
export function crc32cRaw(bytes: Uint8Array, start: number, end: number, register: number): number {
  let c = register;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    const b = bytes;
    c =
      at(7, (c ^ (b[i] as number)) & 255) ^
      at(6, ((c >>> 8) ^ (b[i + 1] as number)) & 255) ^
      at(5, ((c >>> 16) ^ (b[i + 2] as number)) & 255) ^
      at(4, ((c >>> 24) ^ (b[i + 3] as number)) & 255) ^
      at(3, b[i + 4] as number) ^
      at(2, b[i + 5] as number) ^
      at(1, b[i + 6] as number) ^
      at(0, b[i + 7] as number);
  }
  for (; i < end; i++) c = (c >>> 8) ^ at(0, (c ^ (bytes[i] as number)) & 255);
  return c >>> 0;
}

/** The standard CRC-32C of `bytes[start, end)`: "123456789" gives 0xe3069283. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  return ~crc32cRaw(bytes, start, end, 0xffffffff) >>> 0;
}
