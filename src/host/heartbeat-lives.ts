/**
 * The lives of a heartbeat daemon: one HeartbeatNode after the other, each with its own media and generation.
 *
 *     inheriting   what did a killed predecessor leave running?  nothing -> new life
 *                  its last keepalive is surely younger than deadtime -> new life that resumes its claim
 *                  older -> the other node may run it all by now: stop every group first, then a new life
 *     opening      a generation is taken, the media are opened
 *     living       -> released -> lingering (the other node may ask again) -> closing
 *     closing      told to stop -> ended;  restart, after a partition -> resting (deadtime + 1 s) -> opening
 *     reload       living -> closing -> opening, with the claim of the old life
 *
 * A group that cannot be stopped takes the machine down (stuck-group.ts); where that is not to be had, the daemon stays and
 * goes on claiming it.
 *
 * The same class runs in production (real/heartbeat-daemon) and in the simulator (sim/sim-heartbeat).
 */
import type { HaResourceGroup } from '../config/haresources.js';
import { type Hold, includes, parseHold } from '../resource-manager/hold.js';
import type { Standing } from '../resource-manager/standing.js';
import { fieldOf, type HaMessage } from '../wire/hamsg.js';
import { type Bound, boundsOf } from './bound.js';
import { ClientStatus } from './client-status.js';
import { Dopd } from './dopd.js';
import { fenceDeviceOf } from './fence-device.js';
import { builtInClients, builtInOf } from './heartbeat-clients.js';
import type { HeartbeatReply, HeartbeatReport, HeartbeatRequest } from './heartbeat-control.js';
import { HeartbeatNode, type HeartbeatPorts } from './heartbeat-node.js';
import type {
  ConfigTimes,
  HeartbeatConfig,
  LivesHost,
  Media,
  ScriptProcess,
} from './heartbeat-ports.js';
import { heartbeatReport } from './heartbeat-report.js';
import {
  loadPeers,
  loadStanding,
  loadState,
  savePeers,
  saveState,
  takeGeneration,
  takeUuid,
} from './heartbeat-state.js';
import { RecoverLink, type RecoverWish } from './recover-link.js';
import { ScriptTimes } from './script-times.js';
import { ScriptWatch } from './script-watch.js';
import { type StopGroupsHost, stopGroups } from './stop-groups.js';
import { rebootFor } from './stuck-group.js';
import type { TimerId } from './timers.js';

export type LivesPhase =
  | 'inheriting'
  | 'opening'
  | 'living'
  | 'lingering'
  | 'closing'
  | 'resting'
  | 'ended';

const STOP_RETRY_MAX = 10;
/** A node that resumes must be heard well before its peer gives it up. */
const RESUME_MARGIN_MS = 1000;
const LINGER_MS = 1000;
const RESTART_EXTRA_MS = 1000;
const SCRIPT_POLL_MS = 100;
const CONFIG_FILES = [
  ['haCf', 'ha.cf'],
  ['haresources', 'haresources'],
  ['authkeys', 'authkeys'],
] as const;

export class HeartbeatLives {
  readonly #host: LivesHost;
  #config: HeartbeatConfig;
  #fileTimes: ConfigTimes; // of the files that are in force
  #phase: LivesPhase = 'inheriting';
  #node: HeartbeatNode | null = null;
  #dopd: Dopd | null = null;
  #clientStatus: ClientStatus | null = null;
  #recoverLink: RecoverLink | null = null;
  #standing: Standing; // of the last life
  readonly #times = new ScriptTimes();
  #media: Media | null = null;
  #timer: TimerId | null = null; // the machines' own deadline
  #rest: TimerId | null = null; // the end of the pause between two lives
  #uuid = new Uint8Array(16);
  #peers = new Map<string, number>(); // generations of other nodes, as they are in the file
  #script: ScriptProcess | null = null;
  /** A script that a killed predecessor left running: ours wait for its end, the life does not. */
  #left: ScriptProcess | null = null;
  #leftWatch: ScriptWatch | null = null;
  #savedMs = 0;
  #savedHold: Hold = 'none';
  #staleMs: number | null = null; // the last keepalive of a predecessor whose resources are being stopped
  readonly #stuck: string[] = [];
  #stopAsked = false;
  /** Of the files that a reload is to take, as soon as nothing is half done; null: none was asked for. */
  #reloadTimes: ConfigTimes | null = null;

  constructor(host: LivesHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#config = config;
    this.#fileTimes = host.config.times();
    this.#standing = loadStanding(host.files);
  }

  get phase(): LivesPhase {
    return this.#phase;
  }

  /** The node of the present life. */
  get node(): HeartbeatNode | null {
    return this.#node;
  }

  /** Once. */
  start(): void {
    const taken = takeUuid(this.#host.files, this.#host.random);
    this.#uuid = new Uint8Array(taken.uuid);
    if (taken.isFirst) {
      this.#log('info', 'No uuid found for current node - generating a new uuid.');
    }
    const peers = loadPeers(this.#host.files);
    if (peers === null) {
      const text =
        'the generations of other nodes cannot be read: what one sent in an older life is believed until it is heard';
      this.#log('WARN', text);
    }
    this.#peers = peers ?? new Map();
    for (const client of this.#config.haCf.respawns) {
      if (builtInOf(client) !== null) continue;
      this.#log('WARN', `respawn ${client.path}: not run, there is no client API for it`);
    }
    const { health, heartbeat } = this.#config.ini;
    if (health.intervalS > 0 && heartbeat.scriptTimeoutS === 0) {
      const text =
        'script-timeout = 0: a stop that hangs holds up a restart and a fail over for ever';
      this.#log('WARN', `[health] without a limit for scripts (${text})`);
    }
    this.#inherit((resume) => this.#begin(resume));
  }

  /** Orderly end, as soon as nothing is half done. */
  stop(): void {
    if (this.#stopAsked) return;
    this.#stopAsked = true;
    if (this.#phase === 'resting') {
      if (this.#rest) this.#host.timers.cancel(this.#rest);
      this.#end();
      return;
    }
    this.#node?.shutdown(this.#nowMs());
    this.#arm();
  }

  /** What the original's scripts write to the FIFO: hb_standby, hb_takeover. */
  send(message: HaMessage): void {
    const type = fieldOf(message, 't');
    const resources = parseHold(fieldOf(message, 'rsc_hold'));
    if (type === 'ask_resources' && fieldOf(message, 'info') === 'me' && resources !== null) {
      this.answer({ verb: 'standby', resources }, (reply) => {
        if (!reply.ok) this.#log('WARN', `hb_standby ${resources}: ${reply.text}`);
      });
    } else this.#send(message);
  }

  #send(message: HaMessage): void {
    this.#node?.send(message, this.#nowMs());
    this.#arm();
  }

  #nowMs(): number {
    return this.#host.clock.nowMs();
  }

  readonly #log: LivesHost['log'] = (level, text) => this.#host.log(level, text);

  #end(): void {
    this.#phase = 'ended';
    this.#disarm();
    this.#log('info', `${this.#config.node} Heartbeat shutdown complete.`);
    this.#host.files.remove('state');
    this.#host.ended(0);
  }

  // ---- before the first life

  /** What a predecessor that did not end in good order left behind: the claim to go on with. */
  #inherit(done: (resume: Hold) => void): void {
    const state = loadState(this.#host.files);
    if (!state) {
      done('none');
      return;
    }
    const { hold, script } = state;
    this.#script = script;
    this.#left = script;
    const silentMs = Math.round(this.#nowMs() - state.aliveMs);
    const { keepaliveMs, deadtimeMs } = this.#config.haCf;
    // The last keepalive may have left up to its interval before the last sign of life.
    const isHeardInTime = silentMs >= 0 && silentMs + keepaliveMs + RESUME_MARGIN_MS < deadtimeMs;
    if (hold === 'none') done('none');
    else if (isHeardInTime) {
      const text = `the last heartbeat ended ${silentMs} ms ago: resuming ${hold} resources`;
      this.#log('WARN', text);
      done(hold);
    } else {
      const text = `the last heartbeat ended without releasing ${hold} resources: stopping them`;
      this.#log('WARN', text);
      // Killed before this is over, we leave the same behind, as old as it is.
      this.#savedHold = hold;
      this.#staleMs = state.aliveMs;
      this.#stopEverything(() => {
        this.#savedHold = 'none';
        this.#staleMs = null;
        this.#save();
        done('none');
      });
    }
  }

  #stopEverything(stopped: () => void): void {
    const host = {
      timers: this.#host.timers,
      nowMs: () => this.#nowMs(),
      runScript: this.#runScript,
      stuck: (group: HaResourceGroup) => this.#escalate(group),
      log: this.#log,
    };
    const { groups, node } = this.#config;
    const mayRun = groups.filter((group) =>
      includes(this.#savedHold, group.node === node ? 'local' : 'foreign'),
    );
    stopGroups(groups, mayRun, this.#stopRetryMax(), host, stopped);
  }

  #stopRetryMax(): number {
    const { environment } = this.#host;
    const text = this.#config.haCf.env['STOPRETRYMAX'] ?? environment['HA_STOPRETRYMAX'] ?? '';
    return /^-?\d+$/.test(text) ? Number(text) : STOP_RETRY_MAX;
  }

  // ---- a life

  #begin(resume: Hold): void {
    if (this.#stopAsked && resume === 'none') {
      this.#end();
      return;
    }
    this.#phase = 'opening';
    const { files, clock } = this.#host;
    const log = this.#log;
    const { generation, isFirst } = takeGeneration(files, clock.wallMs());
    if (isFirst) log('WARN', `No Previous generation - starting at ${generation}`);
    log('info', `Heartbeat generation: ${generation}`);
    this.#media = this.#host.openMedia(this.#config, {
      opened: () => {
        if (this.#stopAsked && resume === 'none') this.#close('none', () => this.#end());
        else this.#live(resume, generation);
      },
      received: (datagram, link) => {
        this.#node?.receive(datagram, link, this.#nowMs());
        this.#arm();
      },
      pingAnswered: (name) => {
        this.#node?.pingAnswered(name, this.#nowMs());
        this.#arm();
      },
    });
  }

  #live(resume: Hold, generation: number): void {
    this.#phase = 'living';
    const { haCf, node, groups, authkeys } = this.#config;
    const { clock, random, timers, digests } = this.#host;
    this.#node = new HeartbeatNode(
      {
        membership: {
          node,
          nodes: [...new Set(haCf.nodes)],
          pings: haCf.pings.map((ping) => ping.name),
          links: [...new Set(this.#media?.links ?? [])],
          uuid: this.#uuid,
          generation,
          generations: this.#peers,
          ...timingOf(haCf),
          hopfudge: haCf.hopfudge,
        },
        groups,
        autoFailback: haCf.autoFailback,
        clients: builtInClients(haCf.respawns),
        resume,
        stopRetryMax: this.#stopRetryMax(),
        innerSignature: haCf.msgfmt === 'classic',
        logBadpack: haCf.logBadpack,
        permission: {
          stonith: fenceDeviceOf(this.#config) !== null,
          fenceDelayMs: this.#config.ini.fence.delayS * 1000,
        },
        failbackDelayMs: this.#config.ini.heartbeat.failbackDelayS * 1000,
        movesPerHour: this.#config.ini.heartbeat.movesPerHour,
        health: healthOf(this.#config),
        standing: this.#standing,
      },
      authkeys,
      digests,
      {
        wallSeconds: () => Math.floor(clock.wallMs() / 1000),
        loadavg: () => this.#host.loadavg(),
        random,
      },
      this.#ports(),
      this.#nowMs(),
    );
    this.#dopd = new Dopd({
      peer: this.#node.peer,
      timers,
      generation,
      peerState: () => ({
        status: this.#node?.peerStatus() ?? null,
        generation: this.#node?.peerGeneration() ?? 0,
      }),
      send: (message) => this.#send(message),
      runDrbdadmOutdate: (resource, ended) => this.#host.runDrbdadmOutdate(resource, ended),
      log: this.#log,
    });
    this.#clientStatus = new ClientStatus({
      timers,
      generation,
      send: (message) => this.#send(message),
    });
    this.#recoverLink = new RecoverLink({
      peer: this.#node.peer,
      timers,
      generation,
      send: (message) => this.#send(message),
      recover: (wish, done) => this.#recover(wish, done),
    });
    this.#node.start(this.#nowMs());
    // Told to stop meanwhile: what runs here is only stopped by a life that holds it.
    if (this.#stopAsked) this.#node.shutdown(this.#nowMs());
    this.#save();
    this.#arm();
  }

  #ports(): HeartbeatPorts {
    return {
      transmit: (datagram) => this.#media?.send(datagram),
      runScript: (id, resource, action) => {
        const node = this.#node;
        this.#runScript(resource, action, (outcome) => {
          if (node !== this.#node) return; // of an earlier life
          node?.scriptDone(id, outcome, this.#nowMs());
          this.#arm();
        });
      },
      ask: (kind, ask, answered) => {
        const node = this.#node;
        this.#host.ask(this.#config, kind, ask, (answer) => {
          if (node !== this.#node) return; // of an earlier life
          answered(answer, this.#nowMs());
          this.#arm();
        });
      },
      log: this.#log,
      stuck: (group) => this.#escalate(group),
      released: (restart) => this.#released(restart),
      changed: () => {
        this.#save();
        this.#dopd?.look();
      },
      message: (_from, message) => {
        if (message.some((f) => f.name === 'to_id' && f.value === 'dopd')) {
          this.#dopd?.receive(message);
        }
        this.#clientStatus?.receive(message);
        if (message.some((f) => f.name === 'to_id' && f.value === 'twinbeat')) {
          this.#recoverLink?.receive(message);
        }
      },
    };
  }

  readonly #runScript: StopGroupsHost['runScript'] = (resource, action, done) => {
    const { scripts, timers } = this.#host;
    if (this.#left && scripts.isRunning(this.#left)) {
      if (!this.#leftWatch) this.#leftWatch = this.#watchLeft(this.#left);
      timers.after(SCRIPT_POLL_MS, () => this.#runScript(resource, action, done));
      return;
    }
    this.#left = null;
    this.#leftWatch?.end();
    this.#leftWatch = null;
    const startMs = this.#nowMs();
    scripts.run(this.#config, resource, action, {
      running: (script) => {
        this.#script = script;
        this.#save();
      },
      done: (outcome) => {
        if (action === 'status' || outcome.exitStatus === 0) {
          this.#times.ran(resource.text, action, this.#nowMs() - startMs);
        }
        done(outcome);
      },
    });
  };

  /** A script that outlived its daemon gets its time anew, and no more: the group would be down for ever. */
  #watchLeft(script: ScriptProcess): ScriptWatch {
    const { scripts, timers } = this.#host;
    const words = `resource script of the last heartbeat [pid ${script.pid}]`;
    this.#log('WARN', `waiting for a ${words}`);
    return new ScriptWatch(words, this.#config.ini.heartbeat.scriptTimeoutS * 1000, {
      timers,
      nowMs: () => this.#nowMs(),
      kill: (signal) => scripts.kill(script, signal),
      log: (level, text) => this.#log(level, text),
    });
  }

  #disarm(): void {
    if (this.#timer) this.#host.timers.cancel(this.#timer);
    this.#timer = null;
  }

  /** Wake up at the machines' own deadline. */
  #arm(): void {
    this.#disarm();
    const node = this.#node;
    const deadlineMs = node?.deadlineMs ?? Number.POSITIVE_INFINITY;
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.max(0, Math.ceil(deadlineMs - this.#nowMs()));
    this.#timer = this.#host.timers.after(waitMs, () => {
      this.#timer = null;
      node?.tick(this.#nowMs());
      if (this.#nowMs() - this.#savedMs >= this.#config.haCf.keepaliveMs) this.#save();
      if (this.#reloadTimes) this.#reloadWhenIdle();
      this.#arm();
    });
  }

  /** The claim on disk is never smaller than what may run: it is written before scripts start. */
  #save(): void {
    this.#savedMs = this.#nowMs();
    const hold = this.#node?.resources.claims() ?? this.#savedHold;
    this.#savedHold = hold;
    const aliveMs = this.#staleMs ?? this.#savedMs;
    this.#savePeer();
    saveState(this.#host.files, { hold, aliveMs, script: this.#script });
  }

  #savePeer(): void {
    const node = this.#node;
    const generation = node?.peerGeneration() ?? 0;
    if (!node?.peer || generation === 0 || this.#peers.get(node.peer) === generation) return;
    this.#peers.set(node.peer, generation);
    savePeers(this.#host.files, this.#peers);
  }

  // ---- the end of a life

  #released(restart: boolean): void {
    if (this.#phase !== 'living') return;
    this.#phase = 'lingering';
    // The other node may have to ask for `shutdone` again.
    const lingerMs = Math.max(LINGER_MS, 2 * this.#config.haCf.keepaliveMs);
    this.#host.timers.after(lingerMs, () => {
      this.#close('none', () => {
        if (!restart || this.#stopAsked) this.#end();
        else this.#restAndBegin();
      });
    });
  }

  /** Ends the life; what it held goes on with `hold`. */
  #close(hold: Hold, closed: () => void): void {
    this.#phase = 'closing';
    this.#disarm();
    this.#standing = this.#node?.health.standing ?? this.#standing;
    this.#node?.abandon();
    this.#node = null;
    this.#savedHold = hold;
    const media = this.#media;
    this.#media = null;
    if (media) media.close(closed);
    else closed();
  }

  #restAndBegin(): void {
    this.#phase = 'resting';
    this.#log('info', 'Heartbeat restart triggered.');
    this.#log('info', 'Restarting heartbeat.');
    const restMs = this.#config.haCf.deadtimeMs + RESTART_EXTRA_MS;
    this.#rest = this.#host.timers.after(restMs, () => {
      this.#rest = null;
      this.#begin('none');
    });
  }

  #escalate(group: HaResourceGroup): void {
    this.#stuck.push(group.key);
    rebootFor(group.key, this.#config.ini.heartbeat.stopFailure, this.#host);
  }

  // ---- a new configuration

  /** SIGHUP: look at the files again. */
  reload(): void {
    const times = this.#host.config.times();
    const before = this.#fileTimes;
    const hidden: string[] = CONFIG_FILES.filter(([file]) => times[file] === null).map(
      ([, name]) => name,
    );
    // It may be absent, but gone it is not taken for its defaults: by those nothing is fenced.
    const isIniGone = typeof before.twinbeatIni === 'number' && times.twinbeatIni === null;
    if (isIniGone) hidden.push('twinbeat.ini');
    if (hidden.length > 0) {
      // Nobody knows whether they changed, and what cannot be looked at could not be taken.
      const text = `The configuration is not read again: cannot look at ${hidden.join(', ')}. The old one stays in force.`;
      this.#log('ERROR', text);
      return;
    }
    const isNewLife =
      times.haCf !== before.haCf ||
      times.haresources !== before.haresources ||
      times.twinbeatIni !== before.twinbeatIni;
    if (isNewLife) {
      this.#reloadTimes = times;
      this.#reloadWhenIdle();
      return;
    }
    if (times.authkeys === before.authkeys) {
      this.#log('info', 'Configuration unchanged.');
      return;
    }
    this.#log('info', 'Rereading authentication file.');
    const { config, messages } = this.#host.config.load();
    if (!config) {
      for (const { level, text } of messages) {
        if (level === 'ERROR') this.#log('ERROR', text);
      }
      return;
    }
    this.#fileTimes = times;
    this.#config = { ...this.#config, authkeys: config.authkeys };
    this.#node?.setKeys(config.authkeys);
  }

  /** A new configuration is a new life that keeps its resources; not in the middle of a change. */
  #reloadWhenIdle(): void {
    const node = this.#node;
    const times = this.#reloadTimes;
    if (!node || !times || node.leaving || this.#stopAsked) return;
    const isBusy = node.resources.inTransition || node.operations.busy; // or restarts a group in place
    if (node.membership.commUp && isBusy) return; // looked at again at each wake-up
    this.#reloadTimes = null;
    const { config, messages } = this.#host.config.load();
    for (const { level, text } of messages) {
      if (level === 'ERROR' || level === 'WARN') this.#log(level, text);
    }
    if (!config) {
      this.#log('ERROR', 'The new configuration is not taken; the old one stays in force.');
      return;
    }
    const { hold } = node.resources;
    const gone = this.#config.groups.filter(
      (group) => !config.groups.some((other) => sameGroup(group, other)),
    );
    if (gone.length > 0 && hold !== 'none') {
      // Groups that leave the file would go on running with nobody to stop them.
      const keys = gone.map((group) => group.key).join(' ');
      const text = `groups changed or gone in haresources while this node holds resources [${keys}]: go standby first, then reload. The old configuration stays in force.`;
      this.#log('ERROR', text);
      return;
    }
    this.#fileTimes = times; // not of files that are refused: the next reload reads them again
    this.#log('info', `Restarting heartbeat with a new configuration, keeping ${hold} resources.`);
    this.#close(hold, () => {
      this.#config = config;
      this.#host.configured(config);
      this.#begin(hold);
    });
  }

  // ---- what programs ask

  /** `reply` is called once, perhaps inside this call. */
  answer(request: HeartbeatRequest, reply: (reply: HeartbeatReply) => void): void {
    const node = this.#node;
    if (request.verb === 'status') {
      reply({ ok: true, value: this.report() });
      return;
    }
    if (request.verb === 'bound') {
      reply({ ok: true, value: this.bounds() });
      return;
    }
    if (!node || !this.#dopd) {
      reply({ ok: false, text: 'heartbeat is restarting' });
      return;
    }
    if (request.verb === 'outdate') {
      const { peer, resource, timeoutMs } = request;
      this.#dopd.outdate(peer, resource, timeoutMs, (value) => reply({ ok: true, value }));
      return;
    }
    if (request.verb === 'recover') {
      const answered = (refusal: string | null) =>
        reply(refusal === null ? { ok: true, value: null } : { ok: false, text: refusal });
      const name = request.node.toLowerCase();
      if (name === this.#config.node) this.#recover(request, answered);
      else if (name === node.peer) this.#recoverLink?.ask(request, answered);
      else answered(`node ${request.node} is not in ha.cf`);
      this.#arm();
      return;
    }
    if (request.verb === 'clientstatus') {
      this.#askClientStatus(request, (value) => reply({ ok: true, value }));
      return;
    }
    const nowMs = this.#nowMs();
    const refusal =
      request.verb === 'standby'
        ? node.standby(request.resources, nowMs)
        : node.takeover(request.resources, nowMs);
    this.#arm();
    reply(refusal === null ? { ok: true, value: null } : { ok: false, text: refusal });
  }

  /** An operator says that this node may run resources again. */
  #recover(wish: RecoverWish, done: (refusal: string | null) => void): void {
    const node = this.#node;
    if (!node) {
      done('heartbeat is restarting');
      return;
    }
    node.health.recover(wish.force, (refusal) => {
      if (refusal === null && wish.activatePrimary) {
        const why = node.takeover('local', this.#nowMs());
        if (why !== null) this.#log('WARN', `recover: its groups are not asked for: ${why}`);
      }
      done(refusal);
      this.#arm();
    });
  }

  #askClientStatus(
    request: Extract<HeartbeatRequest, { verb: 'clientstatus' }>,
    done: (status: string | null) => void,
  ): void {
    const { node, client, timeoutMs } = request;
    if (node === this.#config.node) done(this.#node?.clientStatus(client) ?? null);
    else if (node !== this.#node?.peer) done(null);
    else this.#clientStatus?.ask(node, client, timeoutMs, done);
  }

  /** How long an outage may last, by what is in force. */
  bounds(): Bound[] {
    return boundsOf(this.#config, this.#times);
  }

  report(): HeartbeatReport {
    return heartbeatReport({
      config: this.#config,
      node: this.#node,
      links: this.#media?.links ?? [],
      stuck: this.#stuck,
      stopAsked: this.#stopAsked,
      standing: this.#standing,
      pid: this.#host.pid,
    });
  }
}

function sameGroup(a: HaResourceGroup, b: HaResourceGroup): boolean {
  const text = (group: HaResourceGroup) =>
    [group.node, ...group.resources.map((resource) => resource.text)].join(' ');
  return text(a) === text(b);
}

function healthOf({ ini }: HeartbeatConfig) {
  const { intervalS, steps, timeoutS, restartsPerHour } = ini.health;
  return { intervalMs: intervalS * 1000, steps, timeoutMs: timeoutS * 1000, restartsPerHour };
}

function timingOf(haCf: HeartbeatConfig['haCf']) {
  const { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs } = haCf;
  return { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs };
}
