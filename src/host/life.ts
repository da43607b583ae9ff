/**
 * One life of a heartbeat daemon: its node (heartbeat-node.ts), and beside it what else talks to the other node: dopd, the
 * questions of cl_status, `twinbeat recover`, a group that cannot be stopped. They live as long as it does.
 *
 *     HeartbeatLives --received, pingAnswered, send, tick--> HeartbeatNode --message--> Dopd, ClientStatus, RecoverLink, FenceLink
 *
 * What a script or a question answers to a life that has ended says nothing about the next one: it is dropped here. But what an
 * ended dopd has still to say is sent by whatever life is there then.
 */
import type { AuthKeys } from '../config/authkeys.js';
import type { HaResourceGroup } from '../config/haresources.js';
import type { Hold } from '../resource-manager/hold.js';
import type { Standing } from '../resource-manager/standing.js';
import type { HaMessage } from '../wire/hamsg.js';
import { hasArbiter } from './arbiter-config.js';
import { ClientStatus } from './client-status.js';
import { Dopd } from './dopd.js';
import { fenceDeviceOf } from './fence-device.js';
import { FenceLink } from './fence-link.js';
import { builtInClients } from './heartbeat-clients.js';
import { HeartbeatNode } from './heartbeat-node.js';
import type { HeartbeatConfig, LivesHost, Media } from './heartbeat-ports.js';
import type { HeartbeatNodeConfig, HeartbeatPorts, NodeSettings } from './node-ports.js';
import { RecoverLink, type RecoverWish } from './recover-link.js';
import { type StopGroupsHost, stopRetryMax } from './stop-groups.js';

/** What the lives before it leave to this one. */
export interface LifeStart {
  readonly generation: number;
  readonly uuid: Uint8Array;
  readonly peers: ReadonlyMap<string, number>; // generations of other nodes
  readonly resume: Hold;
  /** Until when that may run, by the life before; null: it asked no arbiter. */
  readonly serveUntilMs: number | null;
  readonly standing: Standing;
}

/** What a life asks of HeartbeatLives. */
export interface LifeHost {
  readonly host: LivesHost;
  readonly media: Media;
  readonly runScript: StopGroupsHost['runScript'];
  /** By the present life, which may be a later one. */
  send(message: HaMessage): void;
  /** The node was told something: its deadline is another one, perhaps. */
  told(): void;
  /** What is claimed, or known of the other node, may have changed. */
  changed(): void;
  stuck(group: HaResourceGroup): void;
  /** What runs here may not run any longer, and is not stopped. */
  die(why: string): void;
  /** Everything is released and `shutdone` sent; `restart`: a new life is to follow. */
  released(restart: boolean): void;
}

export class Life {
  readonly node: HeartbeatNode;
  readonly dopd: Dopd;
  readonly clientStatus: ClientStatus;
  readonly recoverLink: RecoverLink;
  readonly fenceLink: FenceLink;
  readonly #life: LifeHost;
  #config: HeartbeatConfig;
  #isOver = false;

  constructor(life: LifeHost, config: HeartbeatConfig, start: LifeStart) {
    this.#life = life;
    this.#config = config;
    const { host, send } = life;
    const { timers, clock, random, digests } = host;
    const { generation } = start;
    this.node = new HeartbeatNode(
      nodeConfig(config, start, life),
      config.authkeys,
      digests,
      {
        wallSeconds: () => Math.floor(clock.wallMs() / 1000),
        loadavg: () => host.loadavg(),
        random,
      },
      this.#ports(),
      this.#nowMs(),
    );
    const { node } = this;
    this.dopd = new Dopd({
      peer: node.peer,
      timers,
      generation,
      peerState: () => ({ status: node.peerStatus(), generation: node.peerGeneration() }),
      send,
      runDrbdadmOutdate: (resource, ended) => host.runDrbdadmOutdate(resource, ended),
      log: (level, text) => host.log(level, text),
    });
    this.clientStatus = new ClientStatus({ timers, generation, send });
    this.recoverLink = new RecoverLink({
      peer: node.peer,
      timers,
      generation,
      send,
      recover: (wish, done) => this.recover(wish, done),
    });
    this.fenceLink = new FenceLink({
      peer: node.peer,
      timers,
      generation,
      limitMs: config.ini.fence.timeoutS * 1000,
      isThere: () => node.peerStatus() === 'active',
      peerGeneration: () => node.peerGeneration(),
      send,
      reset: (done) => node.resetPeer(done, this.#nowMs()),
      log: (level, text) => host.log(level, text),
    });
  }

  #nowMs(): number {
    return this.#life.host.clock.nowMs();
  }

  #ports(): HeartbeatPorts {
    const { host, media, runScript, told, changed, stuck, die, released } = this.#life;
    return {
      transmit: (datagram) => media.send(datagram),
      runScript: (id, resource, action) =>
        runScript(resource, action, (outcome) => {
          if (this.#isOver) return;
          this.node.scriptDone(id, outcome, this.#nowMs());
          told();
        }),
      ask: (kind, ask, answered) =>
        host.ask(this.#config, kind, ask, (answer) => {
          if (this.#isOver) return;
          answered(answer, this.#nowMs());
          told();
        }),
      outside: host.outside,
      log: (level, text) => host.log(level, text),
      stuck,
      die,
      released,
      changed: () => {
        changed();
        this.dopd.look();
      },
      message: (_from, message) => {
        const isFor = (client: string) =>
          message.some((f) => f.name === 'to_id' && f.value === client);
        if (isFor('dopd')) this.dopd.receive(message);
        this.clientStatus.receive(message);
        if (!isFor('twinbeat')) return;
        this.recoverLink.receive(message);
        this.fenceLink.receive(message);
      },
    };
  }

  /** Settings that a running life takes (reload-in-place.ts). */
  configure(config: HeartbeatConfig): void {
    this.#config = config;
    this.node.configure(settingsOf(config), this.#nowMs());
  }

  /** authkeys was read again. */
  setKeys(authkeys: AuthKeys): void {
    this.#config = { ...this.#config, authkeys };
    this.node.setKeys(authkeys, this.#nowMs());
  }

  /** hb_standby. Null, or why it is refused. */
  standby(rsc: Hold): string | null {
    const refusal = this.node.standby(rsc, this.#nowMs());
    this.#life.told();
    return refusal;
  }

  /** hb_takeover. Null, or why it is refused. */
  takeover(rsc: Hold | 'failback'): string | null {
    const refusal = this.node.takeover(rsc, this.#nowMs());
    this.#life.told();
    return refusal;
  }

  /** An operator says that this node may run resources again. */
  recover(wish: RecoverWish, done: (refusal: string | null) => void): void {
    const { node } = this;
    node.health.recover(wish.force, (refusal) => {
      if (refusal === null && wish.activatePrimary) {
        const why = node.takeover('local', this.#nowMs());
        const text = `recover: its groups are not asked for: ${why}`;
        if (why !== null) this.#life.host.log('WARN', text);
      }
      done(refusal);
      this.#life.told();
    });
    this.#life.told();
  }

  /** Its media are closed from now on. */
  end(): void {
    this.#isOver = true;
    this.node.abandon();
    this.node.health.end();
  }
}

function nodeConfig(
  config: HeartbeatConfig,
  start: LifeStart,
  { host, media }: LifeHost,
): HeartbeatNodeConfig {
  const { generation, uuid, peers, resume, standing } = start;
  const { haCf, node, groups, ini } = config;
  const { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs } = haCf;
  return {
    ...settingsOf(config),
    membership: {
      node,
      nodes: [...new Set(haCf.nodes)],
      pings: haCf.pings.map((ping) => ping.name),
      links: [...new Set(media.links)],
      uuid,
      generation,
      generations: peers,
      ...{ keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs },
      hopfudge: haCf.hopfudge,
      proves: hasArbiter(config),
    },
    groups,
    autoFailback: haCf.autoFailback,
    clients: builtInClients(haCf.respawns),
    resume,
    stopRetryMax: stopRetryMax(config, host.environment),
    innerSignature: haCf.msgfmt === 'classic',
    permission: {
      stonith: fenceDeviceOf(config) !== null,
      fenceDelayMs: ini.fence.delayS * 1000,
    },
    lease: hasArbiter(config)
      ? {
          leaseMs: ini.witness.leaseS * 1000,
          stopLimitMs: ini.witness.stopLimitS * 1000,
          inheritedUntilMs: inheritedUntilMs(start, host.clock.nowMs(), haCf.deadtimeMs),
        }
      : null,
    standing,
  };
}

function settingsOf({ haCf, ini }: HeartbeatConfig): NodeSettings {
  const { intervalS, steps, timeoutS, restartsPerHour } = ini.health;
  return {
    warntimeMs: haCf.warntimeMs,
    deadpingMs: haCf.deadpingMs,
    logBadpack: haCf.logBadpack,
    failbackDelayMs: ini.heartbeat.failbackDelayS * 1000,
    movesPerHour: ini.heartbeat.movesPerHour,
    health: { intervalMs: intervalS * 1000, steps, timeoutMs: timeoutS * 1000, restartsPerHour },
  };
}

/** A life before that asked no arbiter was held for alive by the other node, which does not ask yet either, until deadtime. */
function inheritedUntilMs(
  { resume, serveUntilMs }: LifeStart,
  nowMs: number,
  deadtimeMs: number,
): number {
  return resume === 'none' ? Number.NEGATIVE_INFINITY : (serveUntilMs ?? nowMs + deadtimeMs);
}
