/**
 * The end of a trace for a report: what each node said in a column of its own, what happened to both (steps, a violation)
 * across. Lines are those of trace.ts.
 */

export const REPORT_COLUMNS = 160;
const TIME_COLUMNS = 12;
const OBJECT_COLUMNS = 9;
const BETWEEN = ' | ';

interface Parts {
  readonly time: string;
  readonly node: string;
  readonly object: string;
  readonly text: string;
}

function parts(line: string): Parts {
  const m = /^(.{12}) (.{5}) (\S+) +([\s\S]*)$/.exec(line);
  if (!m) return { time: '', node: '', object: '', text: line };
  const [, time = '', node = '', object = '', text = ''] = m;
  return { time, node: node.trim(), object, text };
}

/** At most `columns` wide: broken at spaces where there are some; what follows is indented under the text. */
function wrapped(object: string, text: string, columns: number): string[] {
  const head = object.padEnd(OBJECT_COLUMNS);
  const room = columns - head.length - 1;
  const out: string[] = [];
  for (const paragraph of text.split('\n')) {
    for (let rest = paragraph; out.length === 0 || rest !== ''; ) {
      let cut = rest.length;
      if (rest.length > room) {
        const space = rest.lastIndexOf(' ', room);
        cut = space > room / 2 ? space : room;
      }
      out.push(rest.slice(0, cut));
      rest = rest.slice(cut).trimStart();
    }
  }
  return out.map((line, i) => `${i === 0 ? head : ' '.repeat(head.length)} ${line}`.trimEnd());
}

/** No line is wider than `columns`. */
export function sideBySide(lines: readonly string[], columns = REPORT_COLUMNS): string[] {
  const own = Math.floor((columns - TIME_COLUMNS - 1 - BETWEEN.length) / 2);
  const blank = ' '.repeat(TIME_COLUMNS);
  const out = [
    `${'seconds'.padStart(TIME_COLUMNS)} ${'alpha'.padEnd(own)}${BETWEEN}beta`,
    `${'-'.repeat(TIME_COLUMNS + 1 + own)}-+-${'-'.repeat(own)}`,
  ];
  let last = '';
  for (const line of lines) {
    const { time, node, object, text } = parts(line);
    const shown = time === last ? blank : time.padStart(TIME_COLUMNS);
    last = time;
    const across = node !== 'alpha' && node !== 'beta';
    const cells = across
      ? wrapped(object, text, columns - TIME_COLUMNS - 1)
      : wrapped(object, text, own);
    cells.forEach((cell, i) => {
      const at = i === 0 ? shown : blank;
      const left = node === 'beta' ? ' '.repeat(own) : cell.padEnd(own);
      const row = across
        ? `${at} ${cell}`
        : `${at} ${left}${BETWEEN}${node === 'beta' ? cell : ''}`;
      out.push(row.trimEnd());
    });
  }
  return out;
}
