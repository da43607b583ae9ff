/**
 * Carries out what the connect machine (connect.ts) decides: sockets through the host, bytes through the port. When both
 * streams are there and the peer is who it should be, they go to a new Link, unread bytes included.
 */
import { Connect, type ConnectEffect, connectSettings } from './connect.js';
import type { Core } from './core.js';
import type { StreamOwner } from './ports.js';
import type { Resource } from './resource.js';
import { Conns } from './state.js';

/** One owner per stream for its whole life: first the connector, then the link's receiver. */
class StreamSwitch implements StreamOwner {
  owner: StreamOwner;
  #start = 0; // bytes seen and not consumed
  #end = 0;
  #ended = -1;

  constructor(owner: StreamOwner) {
    this.owner = owner;
  }

  streamData(stream: number, start: number, end: number): void {
    this.#start = start;
    this.#end = end;
    this.owner.streamData(stream, start, end);
  }

  streamEnd(stream: number, error: number): void {
    this.#ended = error;
    this.owner.streamEnd(stream, error);
  }

  consumed(bytes: number): void {
    this.#start += bytes;
  }

  /** A new owner; it gets what has been seen and not consumed. */
  handOver(stream: number, owner: StreamOwner): void {
    this.owner = owner;
    if (this.#end > this.#start) owner.streamData(stream, this.#start, this.#end);
    if (this.#ended >= 0) owner.streamEnd(stream, this.#ended);
  }
}

export class Connector implements StreamOwner {
  readonly #core: Core;
  readonly #resource: Resource;
  #machine: Connect | null = null;
  #listener = -1;
  readonly #streams = new Map<number, StreamSwitch>();
  readonly #effects: ConnectEffect[] = [];
  #working = false;

  constructor(core: Core, resource: Resource) {
    this.#core = core;
    this.#resource = resource;
  }

  start(afterMs: number): void {
    const { local, remote, netOptions } = this.#resource;
    if (!local || !remote) return;
    if (!this.#machine?.running) {
      const { random, digests } = this.#core.host;
      const settings = connectSettings(netOptions, this.#core.host.dialect?.());
      this.#machine = new Connect(settings, random, digests);
    }
    this.#machine.start(this.#core.port.nowMs(), this.#effects, afterMs);
    this.#work();
  }

  /** From the next step on. */
  optionsChanged(): void {
    const { netOptions } = this.#resource;
    this.#machine?.configure(connectSettings(netOptions, this.#core.host.dialect?.()));
  }

  stop(): void {
    const machine = this.#machine;
    if (!machine) return;
    machine.stop(this.#effects);
    this.#machine = null;
    this.#work();
    this.#stopListening();
  }

  get deadlineMs(): number {
    return this.#machine?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  tick(nowMs: number): void {
    const machine = this.#machine;
    if (!machine || nowMs < machine.deadlineMs) return;
    machine.tick(nowMs, this.#effects);
    this.#work();
  }

  // ---- answers of the host

  accepted(stream: number): void {
    const machine = this.#machine;
    if (!machine) {
      this.#core.port.close(stream);
      return;
    }
    machine.accepted(stream, this.#core.port.nowMs(), this.#effects);
    this.#attach(stream);
    this.#work();
  }

  /** A stream handle, or -errno. */
  dialed(result: number): void {
    const machine = this.#machine;
    const now = this.#core.port.nowMs();
    if (!machine) {
      if (result >= 0) this.#core.port.close(result);
      return;
    }
    if (result < 0) {
      machine.dialFailed(-result, now);
    } else {
      this.#attach(result);
      machine.dialed(result, now, this.#effects);
    }
    this.#work();
  }

  #attach(stream: number): void {
    const owner = new StreamSwitch(this);
    this.#streams.set(stream, owner);
    this.#core.port.attachStream(stream, owner);
  }

  streamData(stream: number, start: number, end: number): void {
    const bytes = this.#core.port.pool.slice(start, end);
    this.#machine?.received(stream, bytes, this.#core.port.nowMs(), this.#effects);
    this.#work();
  }

  streamEnd(stream: number, _error: number): void {
    this.#machine?.streamEnded(stream, this.#core.port.nowMs(), this.#effects);
    this.#work();
  }

  // ---- effects

  #work(): void {
    if (this.#working) return; // an effect's answer produced more: the loop below takes them in order
    this.#working = true;
    for (let effect = this.#effects.shift(); effect; effect = this.#effects.shift()) {
      this.#carryOut(effect);
    }
    this.#working = false;
  }

  #carryOut(effect: ConnectEffect): void {
    const { port, host } = this.#core;
    const r = this.#resource;
    const now = port.nowMs();
    switch (effect.type) {
      case 'listen': {
        if (!r.local) return;
        this.#stopListening();
        const result = host.listen(r.name, r.local);
        if (result >= 0) this.#listener = result;
        else this.#machine?.listenFailed(-result, now, this.#effects);
        return;
      }
      case 'stopListen':
        this.#stopListening();
        return;
      case 'dial':
        if (r.local && r.remote) host.dial(r.name, r.local, r.remote, effect.timeoutMs);
        return;
      case 'send':
        this.#send(effect.stream, effect.bytes);
        return;
      case 'consume':
        this.#streams.get(effect.stream)?.consumed(effect.bytes);
        port.consume(effect.stream, effect.bytes);
        return;
      case 'close':
        this.#streams.delete(effect.stream);
        port.close(effect.stream);
        return;
      case 'askAlive':
        for (const stream of effect.streams) {
          this.#machine?.alive(stream, port.streamAlive(stream), now, this.#effects);
        }
        return;
      case 'cstate':
        r.setConn(effect.conn === 'WFConnection' ? Conns.WFConnection : Conns.Unconnected);
        return;
      case 'established': {
        const data = this.#streams.get(effect.dataStream);
        const meta = this.#streams.get(effect.metaStream);
        this.#streams.clear();
        if (!data || !meta) return;
        r.connected(effect, (dataOwner, metaOwner) => {
          data.handOver(effect.dataStream, dataOwner);
          meta.handOver(effect.metaStream, metaOwner);
        });
        return;
      }
      case 'standAlone':
        r.standAlone('');
        return;
      case 'log':
        host.log(effect.level, r.name, effect.text);
        return;
    }
  }

  #send(stream: number, bytes: Uint8Array): void {
    const { port } = this.#core;
    const at = port.alloc(4096, 'spare');
    if (at < 0) {
      // No buffer: the peer sees a handshake that does not go on, and tries again.
      port.close(stream);
      this.#machine?.streamEnded(stream, port.nowMs(), this.#effects);
      return;
    }
    port.pool.set(bytes, at);
    port.send(
      stream,
      at,
      bytes.length,
      this.#core.cold(() => port.free(at)),
    );
  }

  #stopListening(): void {
    if (this.#listener >= 0) this.#core.port.close(this.#listener);
    this.#listener = -1;
  }
}
