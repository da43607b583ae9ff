/** The media of one life of heartbeat: what ha.cf names, as UDP sockets and ping(8). */
import type { HeartbeatConfig, Media, MediaEvents } from '../host/heartbeat-ports.js';
import { PingMedium } from './heartbeat-ping.js';
import { UdpMedium } from './udp-medium.js';

type Log = (level: 'info' | 'WARN' | 'ERROR', text: string) => void;

export function openMedia(config: HeartbeatConfig, events: MediaEvents, log: Log): Media {
  const { haCf } = config;
  let isClosed = false;
  const udp: UdpMedium[] = [];
  const received = (datagram: Uint8Array, link: string) => {
    if (!isClosed) events.received(datagram, link);
  };
  for (const medium of haCf.media) {
    if (medium.type === 'serial') {
      log('ERROR', `serial ${medium.device}: serial media are not supported yet`);
    } else {
      udp.push(new UdpMedium(medium, { received, log }));
    }
  }
  const answered = (name: string) => {
    if (!isClosed) events.pingAnswered(name);
  };
  const pings = haCf.pings.map((ping) => new PingMedium(ping, haCf.keepaliveMs, { answered, log }));
  // UdpMedium.open reports what fails and tries again: it does not reject.
  void Promise.all(udp.map((medium) => medium.open())).then(() => {
    if (isClosed) return;
    for (const ping of pings) ping.open();
    events.opened();
  });
  return {
    links: udp.map((medium) => medium.link),
    send(datagram) {
      for (const medium of udp) medium.send(datagram);
    },
    close(closed) {
      isClosed = true;
      for (const ping of pings) ping.close();
      void Promise.all(udp.map((medium) => medium.close())).then(closed);
    },
  };
}
