/** An address is announced by its script, with its arguments; one that is missing or fails is answered, too. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import { announceAnswer } from '../../src/real/answer-announce.js';
import { DEFAULT_CONFIG } from '../../src/sim/config.js';
import { heartbeatTexts, readHeartbeatTexts } from '../../src/sim/heartbeat-config.js';

test('announce is called once, and its end is told whatever it is', async (t) => {
  const { config } = readHeartbeatTexts('alpha', heartbeatTexts(DEFAULT_CONFIG));
  if (!config) return t.fail('the configuration is read');
  const dir = mkdtempSync(join(tmpdir(), 'answer-announce-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const scripts = join(dir, 'etc/ha.d/resource.d');
  mkdirSync(scripts, { recursive: true });
  const called = join(dir, 'called');
  writeFileSync(join(scripts, 'IPaddr'), `#!/bin/sh\necho "$@" >>${called}\nexit 1\n`, {
    mode: 0o755,
  });
  const announce = announceAnswer(dir);
  const answer = (text: string): Promise<null> =>
    new Promise((done) => announce(config, { resource: parseHaResource(text) }, done));
  t.is(await answer('IPaddr::10.9.0.1/24/eth0'), null);
  t.is(await answer('SendArpThatIsNotThere::10.9.0.1/eth0'), null);
  t.is(readFileSync(called, 'utf8'), '10.9.0.1/24/eth0 announce\n');
});
