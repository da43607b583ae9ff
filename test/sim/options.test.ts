import test from 'ava';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { OPTIONS, optionsOf, setOption } from '../../src/sim/options.js';
import { plan } from '../../src/sim/swarm.js';

test('what the swarm draws can be written as options, and read again', (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    const { config } = plan(seed, 'swarm');
    let read = DEFAULT_CONFIG;
    for (const [name, value] of optionsOf(config)) read = setOption(read, name, value);
    t.deepEqual(read, config, `seed ${seed}`);
  }
});

test('each option reads what it writes', (t) => {
  for (const { name, get, set } of OPTIONS) {
    const text = get(DEFAULT_CONFIG);
    t.not(text, null, name);
    t.deepEqual(set(DEFAULT_CONFIG, text ?? ''), DEFAULT_CONFIG, name);
  }
});

test('every name is there once, and unknown names and values say what is expected', (t) => {
  t.is(new Set(OPTIONS.map((o) => o.name)).size, OPTIONS.length);
  const wrong = (name: string, value: string): string =>
    t.throws(() => setOption(DEFAULT_CONFIG, name, value)).message;
  t.regex(wrong('fence', 'dopd'), /^"fence" is not an option .* fence-peer/);
  t.is(
    wrong('fencing', 'maybe'),
    'fencing: expected dont-care, resource-only, resource-and-stonith, found "maybe"',
  );
  t.is(wrong('ko-count', 'x'), 'ko-count: expected a number from 0 to 200, found "x"');
  t.is(wrong('use-rle', 'on'), 'use-rle: expected yes or no, found "on"');
  t.is(wrong('size', '3GB'), 'size: expected a size like 4MiB, found "3GB"');
  t.is(
    wrong('disk-latency', '5ms..1ms'),
    'disk-latency: expected two times like 0.3ms..2ms, found "5ms..1ms"',
  );
  t.regex(wrong('heartbeat-networks', 'eth0,eth7'), /networks, separated by commas/);
});
