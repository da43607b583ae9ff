/**
 * The heartbeat daemon: gives the machines of host/heartbeat-node their sockets, clock, scripts and files, and strings
 * their lives together.
 *
 *     start: what did a killed predecessor leave running?  nothing -> new life
 *            its last keepalive is younger than deadtime -> new life that resumes its claim
 *            older -> the other node may run it all by now: stop every group first, then a new life
 *     life ends: released(stop) -> exit;  released(restart, after a partition) -> pause of deadtime + 1 s -> new life
 *     reload: a new life that resumes the claim of the old one
 *
 * A group that cannot be stopped takes the machine down (reboot -nf), as the original does: its resources must not be
 * started elsewhere while they run here. Under a TWINBEAT_ROOT, or where no reboot is to be had, the daemon stays and
 * goes on claiming them instead.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import type { HaResourceGroup } from '../config/haresources.js';
import type {
  HeartbeatReply,
  HeartbeatReport,
  HeartbeatRequest,
} from '../host/heartbeat-control.js';
import { HeartbeatNode, type HeartbeatPorts, type NodeLogLevel } from '../host/heartbeat-node.js';
import type { Hold } from '../resource-manager/hold.js';
import { Operations, type QueueEffect } from '../resource-manager/operations.js';
import { configTimes, type HeartbeatConfig, loadConfig } from './heartbeat-config.js';
import { HeartbeatControlServer } from './heartbeat-control-server.js';
import { Dopd } from './heartbeat-dopd.js';
import { HeartbeatFifo } from './heartbeat-fifo.js';
import {
  loadState,
  monotonicMs,
  processStart,
  removePidFile,
  removeState,
  type SavedState,
  saveState,
  takeGeneration,
  takeUuid,
  writePidFile,
} from './heartbeat-files.js';
import { HeartbeatLog } from './heartbeat-log.js';
import { PingMedium } from './heartbeat-ping.js';
import { runScript, type ScriptHost } from './heartbeat-script.js';
import { nodeDigests, nodeRandom } from './node-ports.js';
import { UdpMedium } from './udp-medium.js';

export const VERSION = '3.0.6'; // whose behaviour this is

const STOP_RETRY_MAX = 10;
/** A node that resumes must be heard well before its peer gives it up. */
const RESUME_MARGIN_MS = 1000;
const LINGER_MS = 1000;
const RESTART_EXTRA_MS = 1000;
const SCRIPT_POLL_MS = 100;
const REBOOT_LIMIT_MS = 30_000;

export class HeartbeatDaemon {
  readonly #root: string;
  readonly #foreground: boolean;
  readonly #control: HeartbeatControlServer;
  readonly #fifo: HeartbeatFifo;
  #config: HeartbeatConfig;
  #times: ReturnType<typeof configTimes>;
  #log: HeartbeatLog;
  #node: HeartbeatNode | null = null;
  #dopd: Dopd | null = null;
  #media: UdpMedium[] = [];
  #pings: PingMedium[] = [];
  #timer: NodeJS.Timeout | null = null;
  #uuid = new Uint8Array(16);
  #script: SavedState['script'] = null;
  #savedMs = 0;
  #savedHold: Hold = 'none';
  #stuck: string[] = [];
  #stopAsked = false;
  #wake: (() => void) | null = null; // ends the pause between two lives
  #reloadAsked = false;
  #ended: ((status: number) => void) | null = null;

  constructor(root: string, config: HeartbeatConfig, foreground: boolean) {
    this.#root = root;
    this.#config = config;
    this.#foreground = foreground;
    this.#times = configTimes(root);
    this.#log = this.#openLog();
    this.#control = new HeartbeatControlServer(root, (request) => this.#answer(request));
    this.#fifo = new HeartbeatFifo(root, {
      received: (message) => {
        this.#node?.send(message, performance.now());
        this.#arm();
      },
      log: (level, text) => this.log(level, text),
    });
  }

  #openLog(): HeartbeatLog {
    const { haCf, node, ini } = this.#config;
    const json = ini.heartbeat.logFormat === 'json';
    return HeartbeatLog.fromConfig(haCf, node, this.#root, json, this.#foreground);
  }

  log(level: NodeLogLevel, text: string): void {
    this.#log.log(level, text);
  }

  /** Runs until the daemon is told to end; the result is its exit status. */
  async run(): Promise<number> {
    const ended = new Promise<number>((resolve) => {
      this.#ended = resolve;
    });
    mkdirSync(`${this.#root}/run/heartbeat/rsctmp`, { recursive: true });
    writePidFile(this.#root);
    process.on('SIGTERM', () => this.stop());
    process.on('SIGINT', () => this.stop());
    process.on('SIGHUP', () => this.#reload());
    this.log('info', `heartbeat: version ${VERSION} (twinbeat)`);
    await this.#control.listen();
    this.#fifo.open();
    const taken = takeUuid(this.#root);
    this.#uuid = new Uint8Array(taken.uuid);
    if (taken.isFirst) {
      this.log('info', 'No uuid found for current node - generating a new uuid.');
    }
    for (const { path } of this.#config.haCf.respawns) {
      if (path.endsWith('/dopd')) continue; // built in
      this.log('WARN', `respawn ${path}: not run, there is no client API for it`);
    }
    const resume = await this.#inherit();
    if (this.#stopAsked) this.#end(0);
    else await this.#begin(resume);
    return ended;
  }

  /** Orderly end, as soon as nothing is half done. */
  stop(): void {
    if (this.#stopAsked) return;
    this.#stopAsked = true;
    this.#wake?.();
    const node = this.#node;
    if (node) {
      node.shutdown(performance.now());
      this.#arm();
    }
  }

  #end(status: number): void {
    this.log('info', `${this.#config.node} Heartbeat shutdown complete.`);
    this.#control.close();
    this.#fifo.close();
    removeState(this.#root);
    removePidFile(this.#root);
    this.#ended?.(status);
  }

  /** What a predecessor that did not end in good order left behind: the claim to go on with. */
  async #inherit(): Promise<Hold> {
    const state = loadState(this.#root);
    if (!state) return 'none';
    const { script, hold } = state;
    if (script && processStart(script.pid) === script.start) {
      this.log('WARN', `waiting for a resource script of the last heartbeat [pid ${script.pid}]`);
      while (processStart(script.pid) === script.start) await pause(SCRIPT_POLL_MS);
    }
    if (hold === 'none') return 'none';
    const silentMs = monotonicMs() - state.aliveMs;
    if (silentMs >= 0 && silentMs + RESUME_MARGIN_MS < this.#config.haCf.deadtimeMs) {
      this.log('WARN', `the last heartbeat ended ${silentMs} ms ago: resuming ${hold} resources`);
      return hold;
    }
    this.log('WARN', `the last heartbeat ended without releasing ${hold} resources: stopping them`);
    await this.#stopEverything();
    return 'none';
  }

  /** Before a life: every group of the file is stopped. Never returns while one of them cannot be. */
  #stopEverything(): Promise<void> {
    return new Promise((resolve) => {
      const queue = new Operations({ stopRetryMax: this.#stopRetryMax() });
      const apply = (effects: readonly QueueEffect[]): void => {
        for (const effect of effects) {
          if (effect.type === 'log') this.log(effect.level, effect.text);
          else if (effect.type === 'run') {
            runScript(this.#scriptHost(), effect.resource, effect.action, (outcome) => {
              const out: QueueEffect[] = [];
              queue.answered(effect.id, outcome, performance.now(), out);
              apply(out);
            });
          } else if (effect.type === 'stuck') this.#escalate(effect.group);
          else if (effect.type === 'job-done') resolve();
        }
        const waitMs = queue.deadlineMs - performance.now();
        if (waitMs < Number.POSITIVE_INFINITY) {
          setTimeout(
            () => {
              const out: QueueEffect[] = [];
              queue.tick(performance.now(), out);
              if (out.length > 0) apply(out);
            },
            Math.max(1, waitMs),
          );
        }
      };
      const out: QueueEffect[] = [];
      queue.add({ id: 1, kind: 'give', groups: this.#config.groups }, performance.now(), out);
      apply(out);
    });
  }

  #stopRetryMax(): number {
    const text = this.#config.haCf.env['STOPRETRYMAX'] ?? process.env['HA_STOPRETRYMAX'] ?? '';
    return /^-?\d+$/.test(text) ? Number(text) : STOP_RETRY_MAX;
  }

  /** A new life. */
  async #begin(resume: Hold): Promise<void> {
    const { haCf, node, groups, authkeys } = this.#config;
    const { generation, isFirst } = takeGeneration(this.#root);
    if (isFirst) this.log('WARN', `No Previous generation - starting at ${generation}`);
    this.log('info', `Heartbeat generation: ${generation}`);
    await this.#openMedia();
    if (this.#stopAsked) {
      await this.#closeMedia();
      this.#end(0);
      return;
    }
    this.#node = new HeartbeatNode(
      {
        membership: {
          node,
          nodes: [...new Set(haCf.nodes)],
          pings: haCf.pings.map((ping) => ping.name),
          links: [...new Set(this.#media.map((medium) => medium.link))],
          uuid: this.#uuid,
          generation,
          ...timingOf(haCf),
          hopfudge: haCf.hopfudge,
        },
        groups,
        autoFailback: haCf.autoFailback,
        resume,
        stopRetryMax: this.#stopRetryMax(),
        innerSignature: haCf.msgfmt === 'classic',
        logBadpack: haCf.logBadpack,
      },
      authkeys,
      nodeDigests,
      {
        wallSeconds: () => Math.floor(Date.now() / 1000),
        loadavg,
        random: nodeRandom,
      },
      this.#ports(),
      performance.now(),
    );
    this.#dopd = new Dopd({
      peer: this.#node.peer,
      isPeerAlive: () => ['up', 'active'].includes(this.#node?.peerStatus() ?? ''),
      send: (message) => this.#node?.send(message, performance.now()),
      log: (level, text) => this.log(level, text),
    });
    this.#node.start(performance.now());
    this.#save();
    this.#arm();
  }

  async #openMedia(): Promise<void> {
    const { haCf } = this.#config;
    const host = {
      received: (datagram: Uint8Array, link: string) => {
        this.#node?.receive(datagram, link, performance.now());
        this.#arm();
      },
      log: (level: 'info' | 'WARN' | 'ERROR', text: string) => this.log(level, text),
    };
    const media: UdpMedium[] = [];
    for (const medium of haCf.media) {
      if (medium.type === 'serial') {
        this.log('ERROR', `serial ${medium.device}: serial media are not supported yet`);
      } else {
        media.push(new UdpMedium(medium, host));
      }
    }
    this.#media = media;
    this.#pings = haCf.pings.map(
      (ping) =>
        new PingMedium(ping, haCf.keepaliveMs, {
          answered: (name) => {
            this.#node?.pingAnswered(name, performance.now());
            this.#arm();
          },
          log: (level, text) => this.log(level, text),
        }),
    );
    await Promise.all(media.map((medium) => medium.open()));
    for (const ping of this.#pings) ping.open();
  }

  async #closeMedia(): Promise<void> {
    for (const ping of this.#pings) ping.close();
    this.#pings = [];
    const media = this.#media;
    this.#media = [];
    await Promise.all(media.map((medium) => medium.close()));
  }

  #ports(): HeartbeatPorts {
    return {
      transmit: (datagram) => {
        for (const medium of this.#media) medium.send(datagram);
      },
      runScript: (id, resource, action) =>
        runScript(this.#scriptHost(), resource, action, (outcome) => {
          this.#node?.scriptDone(id, outcome, performance.now());
          this.#arm();
        }),
      log: (level, text) => this.log(level, text),
      stuck: (group) => this.#escalate(group),
      released: (restart) => void this.#released(restart),
      changed: () => this.#save(),
      message: (_from, message) => {
        if (message.some((f) => f.name === 'to_id' && f.value === 'dopd')) {
          this.#dopd?.receive(message);
        }
      },
    };
  }

  #scriptHost(): ScriptHost {
    const { haCf, node, ini } = this.#config;
    const parameters = Object.entries(haCf.parameters).map(([name, value]) => [
      `HA_${name}`,
      value,
    ]);
    const extra = Object.entries(haCf.env).map(([name, value]) => [`HA_${name}`, value]);
    return {
      root: this.#root,
      timeoutMs: ini.heartbeat.scriptTimeoutS * 1000,
      env: {
        HA_CURHOST: node,
        HA_DIR: '/etc/ha.d',
        HA_FUNCS: '/etc/ha.d/shellfuncs',
        HA_DATEFMT: '%Y/%m/%d_%T ',
        HA_RSCTMP: '/run/heartbeat/rsctmp',
        HA_LOGD: 'no',
        HA_NICEFAILBACK: 'yes',
        OCF_ROOT: '/usr/lib/ocf',
        ...(haCf.logfile ? { HA_LOGFILE: haCf.logfile } : {}),
        ...(haCf.debugfile ? { HA_DEBUGLOG: haCf.debugfile } : {}),
        ...(haCf.logfacility ? { HA_LOGFACILITY: haCf.logfacility } : {}),
        ...(Object.fromEntries([...parameters, ...extra]) as Record<string, string>),
      },
      log: (level, text) => this.log(level, text),
      running: (pid) => {
        const start = pid === null ? null : processStart(pid);
        this.#script = pid === null || start === null ? null : { pid, start };
        this.#save();
      },
    };
  }

  /** Wake up at the machines' own deadline. */
  #arm(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    const node = this.#node;
    if (!node) return;
    const deadlineMs = node.deadlineMs;
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.max(0, Math.ceil(deadlineMs - performance.now()));
    this.#timer = setTimeout(() => {
      node.tick(performance.now());
      if (performance.now() - this.#savedMs >= this.#config.haCf.keepaliveMs) this.#save();
      if (this.#reloadAsked) this.#reloadWhenIdle();
      this.#arm();
    }, waitMs);
  }

  /** The claim on disk is never smaller than what may run: it is written before scripts start. */
  #save(): void {
    this.#savedMs = performance.now();
    const hold = this.#node?.resources.claims() ?? this.#savedHold;
    this.#savedHold = hold;
    saveState(this.#root, { hold, aliveMs: monotonicMs(), script: this.#script });
  }

  async #released(restart: boolean): Promise<void> {
    const node = this.#node;
    if (!node) return;
    // The other node may have to ask for `shutdone` again.
    await pause(Math.max(LINGER_MS, 2 * this.#config.haCf.keepaliveMs));
    node.abandon();
    this.#node = null;
    this.#savedHold = 'none';
    await this.#closeMedia();
    if (!restart || this.#stopAsked) {
      this.#end(0);
      return;
    }
    this.log('info', 'Heartbeat restart triggered.');
    this.log('info', 'Restarting heartbeat.');
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, this.#config.haCf.deadtimeMs + RESTART_EXTRA_MS);
    });
    this.#wake = null;
    if (this.#stopAsked) this.#end(0);
    else await this.#begin('none');
  }

  #escalate(group: HaResourceGroup): void {
    this.#stuck.push(group.key);
    const hold = () => {
      const text = `resource group ${group.key} cannot be stopped: this node goes on claiming it. Stop it by hand, then restart heartbeat.`;
      this.log('CRIT', text);
    };
    if (this.#root !== '') {
      hold();
      return;
    }
    const attempts: readonly (readonly [string, readonly string[]])[] = [
      ['/sbin/reboot', ['-nf']],
      ['/sbin/init', ['6']],
    ];
    const attempt = (index: number): void => {
      const [program, args] = attempts[index] ?? [null, []];
      if (program === null) {
        hold();
        return;
      }
      this.log('CRIT', `Rebooting: ${program} ${args.join(' ')}`);
      const child = spawn(program, args, { stdio: 'ignore' });
      let isOver = false;
      const next = () => {
        if (!isOver) attempt(index + 1);
        isOver = true;
      };
      child.on('error', next);
      // Said to have worked: then we end with the machine. Until then we go on claiming: the original kills itself
      // here, and a reboot that does not come would leave the group running on two nodes.
      child.on('exit', (status) => (status === 0 ? setTimeout(hold, REBOOT_LIMIT_MS) : next()));
    };
    attempt(0);
  }

  #reload(): void {
    const times = configTimes(this.#root);
    const before = this.#times;
    this.#times = times;
    if (times.haCf !== before.haCf || times.haresources !== before.haresources) {
      this.#reloadAsked = true;
      this.#reloadWhenIdle();
      return;
    }
    if (times.authkeys === before.authkeys) {
      this.log('info', 'Configuration unchanged.');
      return;
    }
    this.log('info', 'Rereading authentication file.');
    const { config, messages } = loadConfig(this.#root);
    if (!config) {
      for (const { level, text } of messages) {
        if (level === 'ERROR') this.log('ERROR', text);
      }
      return;
    }
    this.#config = { ...this.#config, authkeys: config.authkeys };
    this.#node?.setKeys(config.authkeys);
  }

  /** A new configuration is a new life that keeps its resources; not in the middle of a change. */
  #reloadWhenIdle(): void {
    const node = this.#node;
    if (!node || node.leaving || this.#stopAsked) return;
    if (node.membership.commUp && node.resources.inTransition) return; // looked at again at each wake-up
    this.#reloadAsked = false;
    const { config, messages } = loadConfig(this.#root);
    for (const { level, text } of messages) {
      if (level === 'ERROR' || level === 'WARN') this.log(level, text);
    }
    if (!config) {
      this.log('ERROR', 'The new configuration is not taken; the old one stays in force.');
      return;
    }
    const gone = this.#config.groups.filter(
      (group) => !config.groups.some((other) => sameGroup(group, other)),
    );
    if (gone.length > 0 && node.resources.hold !== 'none') {
      // Groups that leave the file would go on running with nobody to stop them.
      const keys = gone.map((group) => group.key).join(' ');
      const text = `groups changed or gone in haresources while this node holds resources [${keys}]: go standby first, then reload. The old configuration stays in force.`;
      this.log('ERROR', text);
      return;
    }
    const hold = node.resources.hold;
    this.log('info', `Restarting heartbeat with a new configuration, keeping ${hold} resources.`);
    node.abandon();
    this.#node = null;
    this.#savedHold = hold;
    this.#config = config;
    this.#log = this.#openLog();
    void this.#closeMedia().then(() => this.#begin(hold));
  }

  async #answer(request: HeartbeatRequest): Promise<HeartbeatReply> {
    const node = this.#node;
    if (request.verb === 'status') return { ok: true, value: this.#report() };
    if (!node) return { ok: false, text: 'heartbeat is restarting' };
    if (request.verb === 'outdate') {
      const { peer, resource, timeoutMs } = request;
      return { ok: true, value: await this.#dopd?.outdate(peer, resource, timeoutMs) };
    }
    const nowMs = performance.now();
    const refusal =
      request.verb === 'standby'
        ? node.standby(request.resources, nowMs)
        : node.takeover(request.resources, nowMs);
    this.#arm();
    return refusal === null ? { ok: true, value: null } : { ok: false, text: refusal };
  }

  #report(): HeartbeatReport {
    const { haCf, node: name, groups } = this.#config;
    const node = this.#node;
    const records = node?.membership.nodes;
    const pings = haCf.pings.map((ping) => ping.name);
    return {
      pid: process.pid,
      version: VERSION,
      node: name,
      generation: node?.membership.generation ?? 0,
      rscStatus: node?.resources.rscStatus ?? 'none',
      hold: node?.resources.hold ?? 'none',
      other: node?.resources.other ?? 'none',
      state: node?.resources.state ?? 'INIT',
      standby: node?.resources.standby ?? 'NOT',
      leaving: this.#stopAsked || (node?.leaving ?? true),
      stuck: this.#stuck,
      nodes: [...new Set(haCf.nodes), ...pings].map((each) => {
        const record = records?.get(each);
        const own = [...new Set(this.#media.map((medium) => medium.link))];
        return {
          name: each,
          status: each === name ? (node?.membership.status ?? 'init') : (record?.status ?? 'init'),
          type: pings.includes(each) ? ('ping' as const) : ('normal' as const),
          links: record
            ? record.links.map((link) => ({ name: link.name, status: link.status }))
            : own.map((link) => ({ name: link, status: 'dead' as const })), // own links, as the original
        };
      }),
      groups: groups.map((group) => ({
        key: group.key,
        node: group.node,
        resources: group.resources.map((resource) => resource.text),
      })),
      current: node?.operations.current ?? null,
      parameters: haCf.parameters,
      keepaliveMs: haCf.keepaliveMs,
      deadtimeMs: haCf.deadtimeMs,
    };
  }
}

function sameGroup(a: HaResourceGroup, b: HaResourceGroup): boolean {
  const text = (group: HaResourceGroup) =>
    [group.node, ...group.resources.map((resource) => resource.text)].join(' ');
  return text(a) === text(b);
}

function timingOf(haCf: HeartbeatConfig['haCf']) {
  const { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs } = haCf;
  return { keepaliveMs, deadtimeMs, warntimeMs, initdeadMs, deadpingMs, maxRexmitDelayMs };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function loadavg(): string {
  try {
    return readFileSync('/proc/loadavg', 'latin1').trim();
  } catch {
    return '0.00 0.00 0.00 1/1 1';
  }
}
