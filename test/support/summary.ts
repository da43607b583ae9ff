/** Turns ava's TAP report, the list of skips and what tests have noted into what `make test` prints; exit status 1 when a test failed. */
import { readFileSync } from 'node:fs';

const [report, skipList, avaStatus, noteList] = process.argv.slice(2);
const lines = readFileSync(report ?? '', 'utf8').split('\n');
const skips = readFileSync(skipList ?? '', 'utf8')
  .split('\n')
  .filter(Boolean);

let passed = 0;
let failed = 0;
let skipped = 0;
let detail = 0; // lines of the failure being shown
for (const line of lines) {
  if (/^ok \d+ .*# SKIP/.test(line)) skipped++;
  else if (/^ok /.test(line)) passed++;
  else if (/^not ok /.test(line)) {
    failed++;
    detail = 60;
    console.log(line);
  } else if (detail > 0) {
    detail = line.startsWith('  ...') ? 0 : detail - 1;
    console.log(line);
  }
}
if (failed === 0 && avaStatus !== '0') {
  failed = 1;
  console.log(`ava ended with status ${avaStatus}; the end of its report:`);
  console.log(lines.slice(-40).join('\n'));
}
if (noteList) process.stdout.write(readFileSync(noteList, 'utf8'));
for (const skip of skips) console.log(`skipped: ${skip}`);
console.log(`${passed - skips.length} passed, ${failed} failed, ${skipped + skips.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
