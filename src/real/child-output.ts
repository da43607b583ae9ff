/** Files without a name for what a program that we start says, and for what it is told in secret. */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { IoError } from '../host/io-error.js';
import { loadAddon, memoryFile } from './native-addon.js';

const MAX_OUTPUT_BYTES = 64 << 10;

let outputs = 0;

/**
 * A file for a script's output, without a name. Not in a file system: what a `status` says decides whether a resource is started,
 * and when /run is full it would say nothing.
 */
export function outputFile(root: string): number {
  if (!(loadAddon() instanceof IoError)) return memoryFile();
  const dir = `${root}/run/twinbeat`;
  mkdirSync(dir, { recursive: true });
  const path = `${dir}/script-output.${process.pid}.${outputs++}`;
  const fd = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return fd;
}

export function readOutput(fd: number): string {
  const length = Math.min(fstatSync(fd).size, MAX_OUTPUT_BYTES);
  const bytes = Buffer.alloc(length);
  const got = length > 0 ? readSync(fd, bytes, 0, length, 0) : 0;
  return bytes.toString('utf8', 0, got);
}

/** A file to be the stdin of a program: neither its arguments nor its environment show what it is told. */
export function inputFile(root: string, text: string): number {
  const fd = outputFile(root);
  try {
    writeSync(fd, text, 0); // at a place: whoever inherits it begins at its start
  } catch (e) {
    closeSync(fd);
    throw e;
  }
  return fd;
}
