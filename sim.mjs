import { plan } from './build/src/sim/swarm.js';
import { run } from './build/src/sim/run.js';
import { nodeDigests } from './build/src/real/node-ports.js';
const from = Number(process.argv[2] ?? 1), to = Number(process.argv[3] ?? from), profile = process.argv[4] ?? 'swarm';
const trace = process.argv[5] === 'trace';
let bad = 0; const kinds = {};
const t0 = Date.now(); let virt = 0, writes=0, steps=0, reads=0;
for (let s = from; s <= to; s++) {
  const p = plan(s, profile);
  const r = run({ seed: s, ...p }, nodeDigests, trace ? (l) => console.log(l) : null, (w) => { w.tracesRequests = trace; globalThis.onWorld?.(w) });
  virt += r.virtualMs; writes += r.writes; steps += r.steps; reads += r.reads;
  if (r.violation) { bad++; const k = `${r.violation.invariant} ${r.violation.checker}`; (kinds[k] ??= []).push(s);
    if (process.argv[5] !== 'quiet') console.log(`seed ${s} ${k} at ${(r.violation.timeMs/1000).toFixed(1)}: ${r.violation.text.slice(0, 200).split('\n')[0]}`); }
  if (from === to) { console.log(r.looked, r.writes, r.reads, r.rows, r.virtualMs, r.traceHash); if (!trace) console.log(r.tail.slice(-60).join('\n')); }
}
const dt = (Date.now() - t0) / 1000;
console.log(`${to-from+1} seeds, ${bad} bad, ${(virt/1000/dt).toFixed(0)} x real time, ${(dt/(to-from+1)).toFixed(2)} s/seed, ${writes} writes ${reads} reads ${steps} steps`);
console.log(JSON.stringify(kinds));
