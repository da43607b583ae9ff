/**
 * The media of one life of heartbeat: what ha.cf names, as UDP sockets, serial lines and ping(8).
 *
 * A place (interface and port) where nobody else was heard for deadtime is opened again, and then each deadtime: its interface
 * may have been made anew, and a group is joined on an interface that exists, not on a name.
 */
import type { HeartbeatConfig, Media, MediaEvents } from '../host/heartbeat-ports.js';
import { PingMedium } from './heartbeat-ping.js';
import { SerialMedium } from './serial-medium.js';
import type { TestingLoss } from './testing-loss.js';
import { UdpMedium } from './udp-medium.js';

/** So often within deadtime. */
const LOOKS = 4;

type OneMedium = UdpMedium | SerialMedium;
type Log = (level: 'info' | 'WARN' | 'ERROR', text: string) => void;

export function openMedia(
  config: HeartbeatConfig,
  events: MediaEvents,
  loss: TestingLoss,
  log: Log,
): Media {
  const { haCf } = config;
  let isClosed = false;
  const media: OneMedium[] = [];
  const silence = new Silence(haCf.deadtimeMs, log);
  for (const medium of haCf.media) {
    const host = {
      log,
      received: (datagram: Uint8Array, link: string, isOwn: boolean) => {
        if (isClosed || !loss.isReceived(datagram)) return;
        if (!isOwn) silence.heard(opened.place);
        events.received(datagram, link);
      },
    };
    const opened: OneMedium =
      medium.type === 'serial' ? new SerialMedium(medium, host) : new UdpMedium(medium, host);
    media.push(opened);
  }
  const answered = (name: string) => {
    if (!isClosed) events.pingAnswered(name);
  };
  const pings = haCf.pings.map((ping) => new PingMedium(ping, haCf.keepaliveMs, { answered, log }));
  // open() reports what fails and tries again: it does not reject.
  void Promise.all(media.map((medium) => medium.open())).then(() => {
    if (isClosed) return;
    for (const ping of pings) ping.open();
    silence.watch(media);
    events.opened();
  });
  return {
    links: media.map((medium) => medium.link),
    send(datagram) {
      for (const medium of media) if (loss.isSent()) medium.send(datagram);
    },
    close(closed) {
      isClosed = true;
      silence.end();
      for (const ping of pings) ping.close();
      void Promise.all(media.map((medium) => medium.close())).then(closed);
    },
  };
}

interface Heard {
  atMs: number; // by somebody else, or opened again
  isSaid: boolean; // that it was opened again since
}

/** Places where nobody else is heard. */
class Silence {
  readonly #limitMs: number;
  readonly #log: Log;
  readonly #places = new Map<string, Heard>();
  #timer: NodeJS.Timeout | null = null;

  constructor(limitMs: number, log: Log) {
    this.#limitMs = limitMs;
    this.#log = log;
  }

  heard(place: string): void {
    this.#places.set(place, { atMs: performance.now(), isSaid: false });
  }

  watch(media: readonly OneMedium[]): void {
    for (const { place } of media) if (!this.#places.has(place)) this.heard(place);
    this.#timer = setInterval(() => this.#look(media), this.#limitMs / LOOKS);
  }

  end(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  #look(media: readonly OneMedium[]): void {
    const nowMs = performance.now();
    for (const [place, heard] of this.#places) {
      if (nowMs - heard.atMs < this.#limitMs) continue;
      if (!heard.isSaid) {
        this.#log('info', `${place}: nobody heard for ${this.#limitMs} ms, opened again`);
      }
      this.#places.set(place, { atMs: nowMs, isSaid: true });
      for (const medium of media) if (medium.place === place) void medium.open();
    }
  }
}
