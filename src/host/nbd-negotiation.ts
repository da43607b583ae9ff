/**
 * The option phase of one NBD connection: which export the client gets, or why it gets none.
 *
 * Pure: bytes in, answers out; NbdServer moves them. A Secondary's volume is listed but not handed out: INFO and GO get
 * ERR_POLICY with DRBD's reason, EXPORT_NAME, which has no error form, a closed connection.
 */
import {
  decodeExportQuery,
  decodeOptionHeader,
  decodeText,
  ExportFlag,
  encodeBlockSizeInfo,
  encodeExportInfo,
  encodeExportName,
  encodeListed,
  encodeOptionError,
  encodeOptionReply,
  HANDSHAKE_NO_ZEROES,
  Info,
  OPTION_BYTES,
  Option,
  OptionReply,
} from '../wire/nbd.js';
import { type BlockVolume, MAX_REQUEST_BYTES } from './block.js';
import { ERRNO, errnoName } from './errno.js';

/** Names are at most 4096 bytes; GO carries a few more. Anything longer is no honest client. */
const MAX_OPTION_BYTES = 8192;
const FLAGS =
  ExportFlag.HAS_FLAGS |
  ExportFlag.SEND_FLUSH |
  ExportFlag.SEND_FUA |
  ExportFlag.SEND_TRIM |
  ExportFlag.SEND_WRITE_ZEROES |
  ExportFlag.CAN_MULTI_CONN;
const NOTHING = new Uint8Array(0);

export interface NegotiationStep {
  readonly consumed: number; // bytes
  readonly answers: readonly Uint8Array[];
  /** The transmission phase begins; the volume has been opened for writing. */
  readonly volume: BlockVolume | null;
  /** Why the connection ends; '' for an orderly end, null when it goes on. */
  readonly end: string | null;
}

export class NbdNegotiation {
  readonly #zeroes: boolean;
  readonly #exports: () => ReadonlyMap<string, BlockVolume>;

  constructor(clientFlags: number, exports: () => ReadonlyMap<string, BlockVolume>) {
    this.#zeroes = (clientFlags & HANDSHAKE_NO_ZEROES) === 0;
    this.#exports = exports;
  }

  /** The option at pool[start, end), or 'more' while it is not complete. */
  option(pool: Uint8Array, view: DataView, start: number, end: number): NegotiationStep | 'more' {
    if (end - start < OPTION_BYTES) return 'more';
    const header = decodeOptionHeader(view, start);
    if (!header) return ended('it sent what is no option');
    if (header.lengthBytes > MAX_OPTION_BYTES) {
      return ended(`an option of ${header.lengthBytes} bytes, ${MAX_OPTION_BYTES} is the maximum`);
    }
    const consumed = OPTION_BYTES + header.lengthBytes;
    if (end - start < consumed) return 'more';
    const data = pool.subarray(start + OPTION_BYTES, start + consumed);
    switch (header.option) {
      case Option.EXPORT_NAME:
        return this.#exportName(decodeText(data), consumed);
      case Option.ABORT:
        return { ...answer(consumed, ack(Option.ABORT)), end: '' };
      case Option.LIST: {
        if (data.length > 0) return answer(consumed, invalid(Option.LIST));
        const names = [...this.#exports().keys()];
        return answer(consumed, ...names.map(encodeListed), ack(Option.LIST));
      }
      case Option.INFO:
      case Option.GO:
        return this.#go(header.option, data, consumed);
      default: // STARTTLS, STRUCTURED_REPLY, meta contexts
        return answer(consumed, encodeOptionReply(header.option, OptionReply.ERR_UNSUP, NOTHING));
    }
  }

  #find(name: string): BlockVolume | null {
    const exports = this.#exports();
    const only = name === '' && exports.size === 1 ? [...exports.values()][0] : undefined;
    return exports.get(name) ?? only ?? null;
  }

  #exportName(name: string, consumed: number): NegotiationStep {
    const volume = this.#find(name);
    if (!volume) return ended(`there is no export '${name}'`);
    const error = volume.open(true);
    if (error !== 0) return ended(refusal(name, error));
    const size = volume.sizeSectors * 512;
    return { ...answer(consumed, encodeExportName(size, FLAGS, this.#zeroes)), volume };
  }

  #go(option: number, data: Uint8Array, consumed: number): NegotiationStep {
    const query = decodeExportQuery(data);
    if (!query) return answer(consumed, invalid(option));
    const volume = this.#find(query.name);
    if (!volume) {
      const text = `there is no export '${query.name}'; LIST names them`;
      return answer(consumed, encodeOptionError(option, OptionReply.ERR_UNKNOWN, text));
    }
    const error = volume.open(true);
    if (error !== 0) {
      const text = refusal(query.name, error);
      return answer(consumed, encodeOptionError(option, OptionReply.ERR_POLICY, text));
    }
    const answers = [encodeExportInfo(option, volume.sizeSectors * 512, FLAGS)];
    if (query.infos.includes(Info.BLOCK_SIZE) || option === Option.GO) {
      const block = volume.logicalBlockBytes;
      answers.push(encodeBlockSizeInfo(option, block, 4096, MAX_REQUEST_BYTES));
    }
    answers.push(ack(option));
    if (option === Option.GO) return { ...answer(consumed, ...answers), volume };
    volume.release(true); // it was only a question
    return answer(consumed, ...answers);
  }
}

function refusal(name: string, error: number): string {
  if (error === ERRNO.EROFS || error === ERRNO.EMEDIUMTYPE) {
    return `'${name}' is Secondary here: connect to the Primary, or run drbdadm primary first`;
  }
  return `'${name}' cannot be opened: ${errnoName(error)}`;
}

function answer(consumed: number, ...answers: readonly Uint8Array[]): NegotiationStep {
  return { consumed, answers, volume: null, end: null };
}

function ended(reason: string): NegotiationStep {
  return { consumed: 0, answers: [], volume: null, end: reason };
}

function ack(option: number): Uint8Array {
  return encodeOptionReply(option, OptionReply.ACK, NOTHING);
}

function invalid(option: number): Uint8Array {
  return encodeOptionError(option, OptionReply.ERR_INVALID, 'the data of the option do not add up');
}
