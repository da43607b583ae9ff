/** Findings for people, on a terminal of 80 columns. */
import type { Finding } from './doctor-finding.js';

export const COLUMNS = 80;
const LABEL = '  here  '; // as wide as rule and next

export function doctorText(
  node: string,
  found: readonly Finding[],
  notSeen: readonly string[],
): string {
  const count = (level: Finding['level']): string => {
    const n = found.filter((finding) => finding.level === level).length;
    return `${n} ${level}${n === 1 ? '' : 's'}`;
  };
  return [
    ...found.map((finding) => `${findingText(finding)}\n`),
    `${node}: ${found.length === 0 ? 'nothing found' : `${count('error')}, ${count('warning')}`}.\n`,
    'Not seen:\n',
    ...notSeen.map((text) => `${wrapped('  - ', text)}\n`),
  ].join('');
}

function findingText({ name, level, file, line, rule, evidence, next }: Finding): string {
  const where = file === null ? '' : `  ${file}${line === null ? '' : `:${line}`}`;
  const [first = '', ...more] = next;
  const lines = [
    `${level === 'error' ? 'ERROR' : 'warning'}  ${name}${where}`,
    wrapped('  here  ', evidence),
    wrapped('  rule  ', rule),
    wrapped('  next  ', first),
    ...more.map((text) => wrapped(' '.repeat(LABEL.length), text)),
  ];
  return `${lines.join('\n')}\n`;
}

/** Lines of a terminal, the further ones as far to the right as the first. A command is not broken, so that it can be copied. */
export function wrapped(label: string, text: string): string {
  if (text.startsWith('$ ')) return label + text;
  const lines: string[] = [];
  let line = label;
  for (const word of text.split(' ')) {
    const isFirst = line.length === label.length;
    if (!isFirst && line.length + 1 + word.length > COLUMNS) {
      lines.push(line);
      line = ' '.repeat(label.length) + word;
    } else line += isFirst ? word : ` ${word}`;
  }
  return [...lines, line].join('\n');
}
