/**
 * Which configuration is taken at a reload (SIGHUP), and when. Nothing is half applied: what is refused leaves the old one in force.
 *
 *     a file cannot be looked at                      refused
 *     ha.cf, haresources, twinbeat.ini changed        in place, or a new life that keeps its resources (reload-in-place.ts), as soon as
 *                                                     nothing is half done
 *     only authkeys                                   its keys, at once
 *     both, and something is half done                the keys at once, the rest then: what is half done may wait for a node that has the
 *                                                     new keys already, and is not heard by the old ones
 *     what could start a service twice                refused (reload-plan.ts)
 */
import type { AuthKeys } from '../config/authkeys.js';
import type { ConfigTimes, HeartbeatConfig, LivesHost } from './heartbeat-ports.js';
import { keyRefusals, type ReloadSituation, reloadRefusals, type WordsOf } from './reload-plan.js';

const CONFIG_FILES = [
  ['haCf', 'ha.cf'],
  ['haresources', 'haresources'],
  ['authkeys', 'authkeys'],
] as const;

export type ReloadHost = Pick<LivesHost, 'config' | 'log'>;

/** A new life is wanted from now on (`load`); or only other keys. */
export type Look =
  | { readonly type: 'life' }
  | { readonly type: 'keys'; readonly authkeys: AuthKeys };

export class Reload {
  readonly #host: ReloadHost;
  #taken: ConfigTimes; // of the files that are in force
  /** Of the files that are to be taken as soon as nothing is half done; null: no reload was asked for. */
  #wanted: ConfigTimes | null = null;

  constructor(host: ReloadHost) {
    this.#host = host;
    this.#taken = host.config.times();
  }

  /** A new life is wanted. */
  get isWanted(): boolean {
    return this.#wanted !== null;
  }

  /** Look at the files again. Null: nothing is taken. */
  look(peerKeys: ReloadSituation['peerKeys']): Look | null {
    const times = this.#host.config.times();
    const before = this.#taken;
    const hidden: string[] = CONFIG_FILES.filter(([file]) => times[file] === null).map(
      ([, name]) => name,
    );
    // It may be absent, but gone it is not taken for its defaults: by those nothing is fenced.
    const isIniGone = typeof before.twinbeatIni === 'number' && times.twinbeatIni === null;
    if (isIniGone) hidden.push('twinbeat.ini');
    if (hidden.length > 0) {
      // Nobody knows whether they changed, and what cannot be looked at could not be taken.
      const text = `The configuration is not read again: cannot look at ${hidden.join(', ')}. The old one stays in force.`;
      this.#host.log('ERROR', text);
      return null;
    }
    const isNewLife =
      times.haCf !== before.haCf ||
      times.haresources !== before.haresources ||
      times.twinbeatIni !== before.twinbeatIni;
    if (isNewLife) {
      this.#wanted = times;
      return { type: 'life' };
    }
    if (times.authkeys === before.authkeys) {
      this.#host.log('info', 'Configuration unchanged.');
      return null;
    }
    return this.#loadKeys(times, peerKeys);
  }

  /** The wanted life has to wait: its keys, when they are other ones. Null: they are not, or are refused, and so is that life. */
  keysOfWaiting(peerKeys: ReloadSituation['peerKeys']): AuthKeys | null {
    const wanted = this.#wanted;
    if (!wanted || wanted.authkeys === this.#taken.authkeys) return null;
    // Of the files in force but for authkeys: the others are looked at when their life can begin.
    const look = this.#loadKeys({ ...this.#taken, authkeys: wanted.authkeys }, peerKeys);
    if (look === null) this.#wanted = null;
    return look?.authkeys ?? null;
  }

  #loadKeys(
    times: ConfigTimes,
    peerKeys: ReloadSituation['peerKeys'],
  ): Extract<Look, { type: 'keys' }> | null {
    this.#host.log('info', 'Rereading authentication file.');
    const { config, messages } = this.#host.config.load();
    if (!config) {
      for (const { level, text } of messages) {
        if (level === 'ERROR') this.#host.log('ERROR', text);
      }
      return null;
    }
    const refusals = keyRefusals(config, peerKeys, this.#wordsOf);
    this.#refuse(refusals);
    if (refusals.length > 0) return null;
    this.#taken = times;
    return { type: 'keys', authkeys: config.authkeys };
  }

  readonly #wordsOf: WordsOf = (authkeys) => this.#host.config.keyWords(authkeys);

  /** Nothing of the files is taken then: the next reload reads them again. */
  #refuse(refusals: readonly string[]): void {
    for (const text of refusals) {
      this.#host.log('ERROR', `${text}. The old configuration stays in force.`);
    }
  }

  /** For the wanted life, beside `old`, as things are. Null: refused, or none was wanted. */
  load(old: HeartbeatConfig, situation: ReloadSituation): HeartbeatConfig | null {
    const times = this.#wanted;
    this.#wanted = null;
    if (!times) return null;
    const { config, messages } = this.#host.config.load();
    for (const { level, text } of messages) {
      if (level === 'ERROR' || level === 'WARN') this.#host.log(level, text);
    }
    if (!config) {
      this.#host.log('ERROR', 'The new configuration is not taken; the old one stays in force.');
      return null;
    }
    const refusals = reloadRefusals(old, config, situation, this.#wordsOf);
    this.#refuse(refusals);
    if (refusals.length > 0) return null;
    this.#taken = times; // not of files that are refused: the next reload reads them again
    return config;
  }
}
