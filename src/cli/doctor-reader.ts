/** Files below a root as doctor reads them: what there is to say of one that cannot be read, and of what its parser says. */
import { readFileSync, statSync } from 'node:fs';
import type { Refusal } from './doctor-facts.js';

interface TextFile {
  readonly text: string;
  readonly mode: number;
}

export class Reader {
  readonly root: string;
  readonly refusals: Refusal[] = [];
  readonly remarks: Refusal[] = [];
  readonly notSeen: string[] = [];

  constructor(root: string) {
    this.root = root;
  }

  /** Null when it cannot be read, which is said. `absent` is what a file that may be missing counts as. */
  read(file: string, absent: string | null = null): TextFile | null {
    const path = this.root + file;
    try {
      return { text: readFileSync(path, 'utf8'), mode: statSync(path).mode };
    } catch (e) {
      const { code, message } = e as NodeJS.ErrnoException;
      if (code === 'ENOENT' && absent !== null) return { text: absent, mode: 0o600 };
      if (code === 'EACCES' || code === 'EPERM') {
        this.notSeen.push(`${file} cannot be read: run doctor as root.`);
      } else {
        const why = code === 'ENOENT' ? 'No such file or directory' : message;
        this.refuse(file, `Cannot open [${file}]: ${why}`);
      }
      return null;
    }
  }

  refuse(file: string, text: string): void {
    this.refusals.push(this.#placed(file, text));
  }

  remark(file: string, text: string): void {
    this.remarks.push(this.#placed(file, text));
  }

  /** Messages begin with their place, or have none. */
  #placed(file: string, text: string): Refusal {
    const [, named, line] = /^(\/[^:]+):(\d+)/.exec(text) ?? [];
    return { at: { file: named ?? file, line: line === undefined ? null : Number(line) }, text };
  }
}
