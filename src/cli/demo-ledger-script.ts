/** A resource script for the ledger, as small as one can be. `root` is put before /run and /var; `args` are the ledger's own. */
import { join } from 'node:path';
import { PROJECT } from './pair.js';

export function ledgerScript(root: string, args: string): string {
  const program = join(PROJECT, 'build', 'bin', 'twinbeat');
  return `#!/bin/sh
pidfile=${root}/run/ledger.pid
alive() { [ -s "$pidfile" ] && [ -d "/proc/$(cat "$pidfile")" ]; }
case $1 in
start)
  if ! alive; then
    rm -f "$pidfile"
    setsid ${program} demo-ledger ${args} --pid-file "$pidfile" </dev/null >>${root}/var/log/ledger.out 2>&1 &
    n=0
    until alive; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.05; done
  fi ;;
stop)
  if alive; then
    kill "$(cat "$pidfile")"
    n=0
    while alive; do n=$((n + 1)); [ $n -lt 200 ] || exit 1; sleep 0.05; done
  fi ;;
status) if alive; then echo running; else echo stopped; exit 3; fi ;;
esac
exit 0
`;
}
