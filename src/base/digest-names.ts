/**
 * The names of digests: drbd.conf has those of the kernel's crypto, since both nodes must mean the same one and the peer may
 * be a kernel. A name of OpenSSL that no kernel knows (RSA-MD5, shake128) is refused here as it is there.
 * Source: Linux crypto/*.c, cra_name of the algorithms of type shash; OpenSSL 3, EVP_MD-* (default provider).
 */

/** crc32c is ours: OpenSSL has none. It has no HMAC either (a kernel's neither). */
export const CRC32C = 'crc32c';

/** Kernel name -> the same digest by the name that OpenSSL has for it. */
const OPENSSL_NAMES: ReadonlyMap<string, string> = new Map([
  ['md5', 'md5'],
  ['sha1', 'sha1'],
  ['sha224', 'sha224'],
  ['sha256', 'sha256'],
  ['sha384', 'sha384'],
  ['sha512', 'sha512'],
  ['sha3-224', 'sha3-224'],
  ['sha3-256', 'sha3-256'],
  ['sha3-384', 'sha3-384'],
  ['sha3-512', 'sha3-512'],
  ['rmd160', 'ripemd160'],
  ['sm3', 'sm3'],
  ['blake2b-512', 'blake2b512'],
  ['blake2s-256', 'blake2s256'],
]);

/** Null: no kernel has it, or it is not for us (crc32c, and what OpenSSL lacks). */
export function opensslDigest(kernelName: string): string | null {
  return OPENSSL_NAMES.get(kernelName) ?? null;
}

/** What can be offered to a peer, most common first. */
export const DIGEST_NAMES: readonly string[] = [CRC32C, ...OPENSSL_NAMES.keys()];

/** Digests of kernels, old ones among them, that this program does not compute. */
const ONLY_KERNEL =
  /^(md4|crc32|crct10dif|xxhash64|wp(256|384|512)|tgr(128|160|192)|rmd(128|256|320)|streebog(256|512)|blake2b-(160|256|384)|blake2s-(128|160|224))$/;

/** Names of the kernel's crypto that are no digests: keyed hashes, ciphers, compression. */
const NO_DIGEST =
  /^((hmac|cmac|xcbc|vmac64|vmac|nhpoly1305)\b.*|ghash|poly1305|michael_mic|aes|des|des3_ede|blowfish|twofish|serpent|cast5|cast6|camellia|arc4|deflate|lzo|lz4|lz4hc|zstd|842|(cbc|ecb|ctr|xts|gcm|lrw)\(.*\))$/;

export type NameFault =
  | 'unknown' // to kernels as well
  | 'kernel-only' // the peer may have it, this program has not
  | 'no-digest';

/** What to say of a name that `digestBytes` or `hasHmac` is not content with. */
export function nameFault(name: string): NameFault {
  if (NO_DIGEST.test(name)) return 'no-digest';
  return ONLY_KERNEL.test(name) || OPENSSL_NAMES.has(name) ? 'kernel-only' : 'unknown';
}
