import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import test from 'ava';
import fc from 'fast-check';
import { BitmapDump, DumpError, type DumpHead, dumpHead, parseDump } from '../../src/md/dump.js';
import { layoutOfSuperblock, superblockSector } from '../../src/md/layout.js';
import { decodeSuperblock } from '../../src/md/superblock.js';
import { bitmapBytes, bitsOfSectors } from '../../src/md/units.js';

function render(bitmap: Uint8Array, pieceBytes = bitmap.length): string {
  let text = '';
  const dump = new BitmapDump((t) => {
    text += t;
  });
  for (let at = 0; at < bitmap.length; at += pieceBytes) {
    dump.feed(bitmap.subarray(at, at + pieceBytes));
  }
  dump.end();
  return text;
}

const HEAD = `version "v08";
uuid {
    0xA1A1A1A1A1A1A1A0; 0xB2B2B2B2B2B2B2B2; 0xC3C3C3C3C3C3C3C3; 0xD4D4D4D4D4D4D4D4;
    flags 0x00000011;
}
la-size-sect 130992;
bm-byte-per-bit 4096;
device-uuid 0x77EF6588DC4359F4;
la-peer-max-bio-size 1048576;
al-stripes 1;
al-stripe-size-4k 8;
`;

function parse(text: string): { head: DumpHead | null; words: [number, number, number][] } {
  let head: DumpHead | null = null;
  const words: [number, number, number][] = [];
  parseDump(
    text,
    (h) => {
      head = h;
    },
    (...w) => {
      words.push(w);
    },
  );
  return { head, words };
}

// docs/METADATA.md section 8: output of drbdmeta 9.22.
test('the bitmap of the example', (t) => {
  const bitmap = new Uint8Array(4096);
  bitmap.fill(0xff, 0, 16);
  bitmap[16] = 1;
  bitmap[124 * 8 + 8] = 0x80;
  t.is(
    render(bitmap),
    `bm {
   # at 0kB
    0xFFFFFFFFFFFFFFFF; 0xFFFFFFFFFFFFFFFF; 0x0000000000000001; 0x0000000000000000;
    120 times 0x0000000000000000;
    0x0000000000000000; 0x0000000000000080; 0x0000000000000000; 0x0000000000000000;
   # at 32768kB
    384 times 0x0000000000000000;
}
# bits-set 130;
`,
  );
  t.is(render(new Uint8Array(0)), 'bm {\n}\n# bits-set 0;\n');
});

test('what is written is read back, however it was cut into pieces', (t) => {
  const run = fc.tuple(fc.integer({ min: 1, max: 300 }), fc.constantFrom(0, 0, 0xff, 0x55, 0x80));
  fc.assert(
    fc.property(
      fc.array(run, { maxLength: 20 }),
      fc.integer({ min: 1, max: 40 }),
      (runs, piece) => {
        const bytes = new Uint8Array(8192);
        let at = 0;
        for (const [length, value] of runs) {
          bytes.fill(value, at, at + length);
          at += length;
        }
        const text = render(bytes, piece * 32);
        t.is(text, render(bytes));
        const again = new Uint8Array(8192);
        const v = new DataView(again.buffer);
        let to = 0;
        for (const [times, low, high] of parse(HEAD + text).words) {
          for (let i = 0; i < times; i++, to += 8) {
            v.setUint32(to, low, true);
            v.setUint32(to + 4, high, true);
          }
        }
        t.is(to, 8192);
        t.deepEqual(again, bytes);
      },
    ),
  );
});

test('dumps of the kernel nodes, as drbdmeta printed them', (t) => {
  let dumps = 0;
  for (const name of [
    '2-synced-alice',
    '4-crashed-primary-alice',
    '6-crashed-degraded-alice',
    '3-degraded-bob',
  ]) {
    const golden = readFileSync(`test/golden/metadata/${name}.applied.dump-md.txt`, 'utf8');
    const bm = golden.slice(golden.indexOf('version "v08"'), golden.indexOf('(exit status 0)'));
    const disk = gunzipSync(readFileSync(`test/golden/metadata/${name}.img.gz`));
    const at = superblockSector('internal', disk.length / 512);
    const sb = decodeSuperblock(disk, at * 512);
    const layout = layoutOfSuperblock(sb, 'internal', at);
    const length = bitmapBytes(bitsOfSectors(sb.laSizeSectors));
    // apply-al has not been run on our copy: its bits come from the text.
    const bitmap = new Uint8Array(length);
    const v = new DataView(bitmap.buffer);
    let to = 0;
    const { head, words } = parse(bm);
    for (const [times, low, high] of words) {
      for (let i = 0; i < times; i++, to += 8) {
        v.setUint32(to, low, true);
        v.setUint32(to + 4, high, true);
      }
    }
    t.is(head?.current, sb.current);
    t.is(head?.laSizeSectors, sb.laSizeSectors);
    // 9.22 prints 0 for the flags of v08.
    const ours = dumpHead({ ...sb, flags: 0 }, layout, length, '', '') + render(bitmap);
    t.is(ours, bm);
    dumps++;
  }
  t.is(dumps, 4);
});

test('dumps without the keys that 8.3 does not write', (t) => {
  const text = HEAD.replace(/^(bm-byte|la-peer|al-str).*\n/gm, '');
  t.like(parse(`${text}bm {}`).head, {
    bytesPerBit: 4096,
    laPeerMaxBioBytes: 0,
    alStripes: 1,
    alStripeSize4k: 8,
  });
});

const BAD: readonly (readonly [string, string, RegExp])[] = [
  ['another version', HEAD.replace('v08', 'v09'), /^dump is 'v09' you requested 'v08'\.$/],
  [
    'an unclean dump',
    HEAD.replace('uuid {', 'This_is_an_unclean_meta_data_dump. uuid {'),
    /line 2: keyword 'uuid' expected/,
  ],
  [
    'a short UUID',
    HEAD.replace('0xA1A1A1A1A1A1A1A0', '0xA1'),
    /line 3: a 16-digit hex number expected, not '0xA1'/,
  ],
  ['long flags', HEAD.replace('0x00000011', '0x0000000000000011'), /line 4: an 8-digit hex number/],
  [
    'a missing semicolon',
    HEAD.replace('130992;', '130992'),
    /line 7: semicolon \(;\) expected, not 'bm-byte-per-bit'/,
  ],
  ['a size beyond 2^53', HEAD.replace('130992', '9999999999999999999'), /number/],
  ['another bit size', HEAD.replace('4096;', '8192;'), /bm-byte-per-bit of 4096/],
  ['no bitmap', HEAD, /keyword 'bm' expected, but end of file encountered/],
  ['an endless bitmap', `${HEAD}bm { 0x0000000000000000;`, /closing brace/],
  ['a run without a word', `${HEAD}bm { 5 times }`, /16-digit hex number expected, not '}'/],
  ['a bare count', `${HEAD}bm { 5; }`, /keyword 'times' expected/],
  ['something behind the end', `${HEAD}bm { } bm`, /end of file expected, not 'bm'/],
  ['a strange character', `${HEAD}bm { % }`, /closing brace .* expected, not '%'/],
];
for (const [what, text, message] of BAD) {
  test(`refused: ${what}`, (t) => {
    t.throws(() => parse(text), { instanceOf: DumpError, message });
  });
}
