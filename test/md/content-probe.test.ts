import test from 'ava';
import { PROBE_BYTES, probeContent } from '../../src/md/content-probe.js';

function head(...parts: readonly [at: number, hex: string][]): Buffer {
  const b = Buffer.alloc(PROBE_BYTES);
  for (const [at, hex] of parts) Buffer.from(hex, 'hex').copy(b, at);
  return b;
}
const ascii = (s: string): string => Buffer.from(s).toString('hex');

test('zeroes are nothing, other bytes are some data', (t) => {
  t.is(probeContent(head()), null);
  t.deepEqual(probeContent(head([PROBE_BYTES - 1, '01'])), {
    name: 'some data',
    sizeBytes: null,
    recognized: false,
  });
});

test('file systems and their sizes', (t) => {
  const size = (
    ...parts: readonly [number, string][]
  ): readonly (string | number | null | undefined)[] => {
    const c = probeContent(head(...parts));
    return [c?.name, c?.sizeBytes];
  };
  const ext: [number, string][] = [
    [0x404, '00100000'],
    [0x418, '02000000'],
    [0x438, '53ef'],
  ];
  t.deepEqual(size(...ext), ['ext2 filesystem', 16 << 20]);
  t.deepEqual(size(...ext, [0x45c, '04000000']), ['ext3 filesystem', 16 << 20]);
  t.deepEqual(size(...ext, [0x460, '80000000'], [0x550, '01000000']), [
    'ext2 filesystem',
    (16 << 20) + 2 ** 44,
  ]);
  t.deepEqual(size([0, `${ascii('XFSB')}000010000000000000004000`]), ['xfs filesystem', 64 << 20]);
  t.deepEqual(size([4086, ascii('SWAPSPACE2')]), ['swap space signature', null]);
  t.deepEqual(size([8182, ascii('SWAP-SPACE')]), ['swap space signature', null]);
  const label = `${ascii('LABELONE')}${'00'.repeat(12)}20000000${ascii('LVM2 001')}`;
  t.deepEqual(size([512, label], [512 + 64, '0000000100000000']), [
    'LVM2 physical volume signature',
    1 << 24,
  ]);
  t.deepEqual(size([512, label]), ['LVM2 physical volume signature', null]);
  t.deepEqual(size([0x8000, ascii('JFS1')], [0x8008, '0010000000000000'], [0x8018, '00020000']), [
    'JFS filesystem',
    2 << 20,
  ]);
  t.deepEqual(size([0x10000, '00100000'], [0x1002c, '0010'], [0x10034, ascii('ReIsErFs')]), [
    'reiser filesystem',
    16 << 20,
  ]);
});
