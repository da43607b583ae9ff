/** Values for generated drbd.conf files: usual ones, and (ODD_*) such as may be refused. */
export const HOSTS = ['one', 'two', 'three', 'four-4', 'node.example.org', '_x', '7', 'upTo'];
export const SYNCER_OPTIONS = [
  ...['rate', 'after', 'al-extents', 'c-plan-ahead', 'c-delay-target', 'c-fill-target'],
  ...['c-max-rate', 'c-min-rate', 'verify-alg', 'csums-alg', 'use-rle', 'cpu-mask'],
  'on-no-data-accessible',
];
export const NEGATED = ['no-disk-barrier', 'no-disk-flushes', 'no-disk-drain', 'no-md-flushes'];
export const ALGORITHMS = ['sha1', 'md5', 'crc32c', '"sha256"', 'sha512', 'hmac-x', '""'];
export const SCRIPTS = [
  '"/usr/lib/drbd/notify.sh root"',
  '/usr/lib/drbd/x.sh',
  '"echo \\"a\\" \'b\' <c> & d; halt -f"',
  '"a # no comment { ; }"',
  '"\\\\"',
  '""',
  'true',
  `"${'long '.repeat(30)}"`,
];
export const ODD_STRINGS = [
  '"a b"',
  '"net"',
  '"on"',
  '..',
  '-',
  '_',
  '/',
  '0x10',
  '99999999',
  '"é"',
  '" "',
];
export const ODD_NUMBERS = [
  '00',
  '007',
  '99999999',
  '123456789',
  '1x',
  '5k',
  '1T',
  '-1',
  '0s',
  '1.5',
  '""',
];
