/** Running one resource, below a directory, for the tests of real/heartbeat-script and real/resource-command. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { parseHaResource } from '../../src/config/haresources.js';
import { runScript, type ScriptHost } from '../../src/real/heartbeat-script.js';
import type { Action, ScriptOutcome } from '../../src/resource-manager/group-operation.js';

/** A TWINBEAT_ROOT with these scripts: path below its /etc -> text. */
export function scriptRoot(t: ExecutionContext, scripts: Readonly<Record<string, string>>): string {
  const dir = mkdtempSync(join(tmpdir(), 'heartbeat-script-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  mkdirSync(join(dir, 'etc/ha.d/resource.d'), { recursive: true });
  mkdirSync(join(dir, 'etc/init.d'), { recursive: true });
  for (const [name, text] of Object.entries(scripts)) {
    const path = join(dir, 'etc', name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return dir;
}

export interface Run {
  readonly outcome: ScriptOutcome;
  readonly logs: readonly string[];
  readonly pids: readonly (number | null)[];
}

/** Runs a resource of haresources once, as the daemon does. */
export function runResource(
  dir: string,
  resource: string,
  action: Action,
  timeoutMs = 0,
): Promise<Run> {
  const logs: string[] = [];
  const pids: (number | null)[] = [];
  const host: ScriptHost = {
    root: dir,
    env: { HA_CURHOST: 'node-a', HA_t: 'status' },
    timeoutMs,
    log: (level, text) => logs.push(`${level}: ${text}`),
    running: (pid) => pids.push(pid),
  };
  return new Promise((resolve) =>
    runScript(host, parseHaResource(resource), action, (outcome) =>
      resolve({ outcome, logs, pids }),
    ),
  );
}
