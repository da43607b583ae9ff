/**
 * Blanks at the ends of a line of heartbeat's files: space, tab, return, form feed. A pattern that ends with `$` tries anew at each
 * blank in the middle, which takes the square of their number.
 */
const BLANKS = ' \t\r\f';

export function isBlank(char: string | undefined): boolean {
  return char !== undefined && BLANKS.includes(char);
}

export function trimBlanksEnd(text: string): string {
  let end = text.length;
  while (isBlank(text[end - 1])) end--;
  return text.slice(0, end);
}

/** The first word of a line and the rest without the blanks around it; null when there is none. */
export function firstWord(line: string): { readonly word: string; readonly rest: string } | null {
  let start = 0;
  while (isBlank(line[start])) start++;
  let end = start;
  while (end < line.length && !isBlank(line[end])) end++;
  if (end === start) return null;
  let rest = end;
  while (isBlank(line[rest])) rest++;
  return { word: line.slice(start, end), rest: trimBlanksEnd(line.slice(rest)) };
}
