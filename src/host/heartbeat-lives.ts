/**
 * The lives of a heartbeat daemon (life.ts): one node after the other, each with its own media and generation.
 *
 *     inheriting   what a killed predecessor left running is resumed or stopped (inheritance.ts)
 *     opening      a generation is taken, the media are opened
 *     living       -> released -> lingering (the other node may ask again) -> closing
 *     closing      told to stop -> ended;  restart, after a partition -> resting (deadtime + 1 s) -> opening
 *     reload       living -> closing -> opening, with the claim of the old life (reload.ts); living on, where that is enough
 *                  (reload-in-place.ts)
 *
 * A group that cannot be stopped takes the machine down (stuck-group.ts); where that is not to be had, the daemon stays and
 * goes on claiming it.
 *
 * The same class runs in production (real/heartbeat-daemon) and in the simulator (sim/sim-heartbeat).
 */
import type { AuthKeys } from '../config/authkeys.js';
import type { HaResourceGroup } from '../config/haresources.js';
import { type Hold, parseHold } from '../resource-manager/hold.js';
import type { Standing } from '../resource-manager/standing.js';
import { fieldOf, type HaMessage } from '../wire/hamsg.js';
import { arbiterWarnings, watchdogLimitMs } from './arbiter-config.js';
import { type Bound, boundsOf } from './bound.js';
import type { HeartbeatReply, HeartbeatReport, HeartbeatRequest } from './heartbeat-control.js';
import type { HeartbeatNode } from './heartbeat-node.js';
import type { HeartbeatConfig, LivesHost, Media } from './heartbeat-ports.js';
import { heartbeatReport } from './heartbeat-report.js';
import { loadStanding, takeGeneration } from './heartbeat-state.js';
import { inherit } from './inheritance.js';
import { Life } from './life.js';
import { answerRequest } from './life-requests.js';
import { LivesMemory } from './lives-memory.js';
import { LivesScripts } from './lives-scripts.js';
import { Reload } from './reload.js';
import { reloadPlan } from './reload-in-place.js';
import { dieFor, rebootFor } from './stuck-group.js';
import type { TimerId } from './timers.js';

export type LivesPhase =
  | 'inheriting'
  | 'opening'
  | 'living'
  | 'lingering'
  | 'closing'
  | 'resting'
  | 'ended';

const LINGER_MS = 1000;
const RESTART_EXTRA_MS = 1000;

export class HeartbeatLives {
  readonly #host: LivesHost;
  readonly #memory: LivesMemory;
  readonly #scripts: LivesScripts;
  readonly #reload: Reload;
  #config: HeartbeatConfig;
  #phase: LivesPhase = 'inheriting';
  #life: Life | null = null;
  #standing: Standing; // of the last life
  #media: Media | null = null;
  #timer: TimerId | null = null; // the machines' own deadline
  #rest: TimerId | null = null; // the end of the pause between two lives
  readonly #stuck: string[] = [];
  #stopAsked = false;

  constructor(host: LivesHost, config: HeartbeatConfig) {
    this.#host = host;
    this.#config = config;
    this.#reload = new Reload(host);
    this.#standing = loadStanding(host.files);
    this.#memory = new LivesMemory(host);
    this.#scripts = new LivesScripts({
      clock: host.clock,
      timers: host.timers,
      scripts: host.scripts,
      log: this.#log,
      config: () => this.#config,
      changed: () => this.#save(),
    });
  }

  get phase(): LivesPhase {
    return this.#phase;
  }

  /** The node of the present life. */
  get node(): HeartbeatNode | null {
    return this.#life?.node ?? null;
  }

  /** What may run here, also between two lives. */
  get mayRun(): Hold {
    return this.node?.resources.claims() ?? this.#memory.hold;
  }

  /** In force. */
  get authkeys(): AuthKeys {
    return this.#config.authkeys;
  }

  /** Once. */
  start(): void {
    this.#memory.load();
    const { health, heartbeat } = this.#config.ini;
    if (health.intervalS > 0 && heartbeat.scriptTimeoutS === 0) {
      const text =
        'script-timeout = 0: a stop that hangs holds up a restart and a fail over for ever';
      this.#log('WARN', `[health] without a limit for scripts (${text})`);
    }
    for (const text of arbiterWarnings(this.#config)) this.#log('WARN', text);
    inherit(
      {
        host: this.#host,
        config: this.#config,
        memory: this.#memory,
        scripts: this.#scripts,
        stuck: (group) => this.#escalate(group),
        die: (why) => dieFor(why, this.#host),
        changed: () => this.#save(),
      },
      (resume, serveUntilMs) => {
        this.#memory.keep(resume, serveUntilMs);
        this.#begin(resume);
      },
    );
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
    this.node?.shutdown(this.#nowMs());
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
    this.node?.send(message, this.#nowMs());
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

  // ---- a life

  #begin(resume: Hold): void {
    if (this.#stopAsked && resume === 'none') {
      this.#end();
      return;
    }
    this.#phase = 'opening';
    this.#memory.keep(resume, this.#memory.serveUntilMs);
    const { files, clock } = this.#host;
    const log = this.#log;
    const { generation, isFirst } = takeGeneration(files, clock.wallMs());
    if (isFirst) log('WARN', `No Previous generation - starting at ${generation}`);
    log('info', `Heartbeat generation: ${generation}`);
    const media = this.#host.openMedia(this.#config, {
      opened: () => {
        if (this.#stopAsked && resume === 'none') this.#close('none', () => this.#end());
        else this.#live(media, resume, generation);
      },
      received: (datagram, link) => {
        this.node?.receive(datagram, link, this.#nowMs());
        this.#arm();
      },
      pingAnswered: (name) => {
        this.node?.pingAnswered(name, this.#nowMs());
        this.#arm();
      },
    });
    this.#media = media;
  }

  #live(media: Media, resume: Hold, generation: number): void {
    this.#phase = 'living';
    const { uuid, peers, serveUntilMs } = this.#memory;
    const life = new Life(
      {
        host: this.#host,
        media,
        runScript: this.#scripts.run,
        send: (message) => this.#send(message),
        told: () => this.#arm(),
        changed: () => this.#save(),
        stuck: (group) => this.#escalate(group),
        die: (why) => dieFor(why, this.#host),
        released: (restart) => this.#released(restart),
      },
      this.#config,
      { generation, uuid, peers, resume, serveUntilMs, standing: this.#standing },
    );
    this.#life = life;
    life.node.start(this.#nowMs());
    // Told to stop meanwhile: what runs here is only stopped by a life that holds it.
    if (this.#stopAsked) life.node.shutdown(this.#nowMs());
    this.#save();
    this.#arm();
  }

  #disarm(): void {
    if (this.#timer) this.#host.timers.cancel(this.#timer);
    this.#timer = null;
  }

  /** Wake up at the machines' own deadline. */
  #arm(): void {
    this.#disarm();
    const node = this.node;
    const deadlineMs = node?.deadlineMs ?? Number.POSITIVE_INFINITY;
    if (deadlineMs === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.max(0, Math.ceil(deadlineMs - this.#nowMs()));
    this.#timer = this.#host.timers.after(waitMs, () => {
      this.#timer = null;
      node?.tick(this.#nowMs());
      if (this.#nowMs() - this.#memory.savedMs >= this.#config.haCf.keepaliveMs) this.#save();
      if (this.#reload.isWanted) this.#reloadWhenIdle();
      this.#arm();
    });
  }

  #save(): void {
    this.#memory.save(this.node, this.#scripts.running);
  }

  // ---- the end of a life

  #released(restart: boolean): void {
    if (this.#phase !== 'living') return;
    this.#phase = 'lingering';
    this.#host.outside?.released();
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
    this.#standing = this.node?.health.standing ?? this.#standing;
    this.#memory.keep(hold, this.node?.serveUntilMs ?? null);
    this.#life?.end();
    this.#life = null;
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
    const { stopFailure } = this.#config.ini.heartbeat;
    if (stopFailure !== 'fence') {
      rebootFor(group.key, stopFailure, this.#host);
      return;
    }
    const reboot = (why: string): void => {
      this.#log('CRIT', `This node is not reset: ${why}.`);
      rebootFor(group.key, 'reboot', this.#host);
    };
    if (this.#life) this.#life.fenceLink.ask(reboot);
    else reboot('it has not heard the other one yet');
  }

  /** Whether a watchdog may be fed: not when what runs here may not run any longer. */
  mayFeed(nowMs = this.#nowMs()): boolean {
    const { node } = this;
    if (node) return node.mayFeed(nowMs);
    const { hold, serveUntilMs } = this.#memory;
    const limitMs = watchdogLimitMs(this.#config);
    return hold === 'none' || serveUntilMs === null || nowMs < serveUntilMs + (limitMs ?? 0);
  }

  // ---- a new configuration

  /** SIGHUP: look at the files again. */
  reload(): void {
    const look = this.#reload.look(this.node?.peerKeys ?? null);
    if (look?.type === 'keys') this.#setKeys(look.authkeys);
    if (look?.type !== 'life') return;
    this.#reloadWhenIdle();
    const authkeys = this.#reload.keysOfWaiting(this.node?.peerKeys ?? null);
    if (authkeys) this.#setKeys(authkeys);
  }

  #setKeys(authkeys: AuthKeys): void {
    this.#config = { ...this.#config, authkeys };
    this.#life?.setKeys(authkeys);
  }

  /** A new configuration is taken in place, or in a new life that keeps its resources; not in the middle of a change. */
  #reloadWhenIdle(): void {
    const { node } = this;
    if (!node || !this.#reload.isWanted || node.leaving || this.#stopAsked) return;
    const isBusy = node.resources.inTransition || node.operations.busy; // or restarts a group in place
    if (node.membership.commUp && isBusy) return; // looked at again at each wake-up
    if (node.health.isRecovering) return; // its standing is being written
    if (!this.mayFeed()) return; // the watchdog is told its time, which feeds it
    const { hold } = node.resources;
    const { heardOn, peerKeys } = node;
    const config = this.#reload.load(this.#config, { hold, heardOn, peerKeys });
    if (!config) return;
    const { inPlace, newLife } = reloadPlan(this.#config, config);
    if (newLife.length === 0) {
      this.#takeInPlace(config, inPlace);
      return;
    }
    this.#log('info', `A new life takes what has changed: ${[...newLife, ...inPlace].join(', ')}.`);
    this.#log('info', `Restarting heartbeat with a new configuration, keeping ${hold} resources.`);
    this.#config = config; // before the old life is closed: keys that come meanwhile are newer
    this.#close(hold, () => {
      this.#host.configured(this.#config);
      this.#begin(hold);
    });
  }

  /** Membership, media and what is claimed stay as they are: nothing is started, stopped or handed over by that. */
  #takeInPlace(config: HeartbeatConfig, changed: readonly string[]): void {
    const areKeysNew = JSON.stringify(config.authkeys) !== JSON.stringify(this.#config.authkeys);
    this.#config = config;
    this.#host.configured(config);
    this.#life?.configure(config);
    if (areKeysNew) this.#life?.setKeys(config.authkeys);
    const what = changed.length === 0 ? 'it says the same as before' : changed.join(', ');
    this.#log('info', `The new configuration is in force, and nothing was restarted: ${what}.`);
    this.#arm();
  }

  // ---- what programs ask

  /** `reply` is called once, perhaps inside this call. `nowMs`: for a look, which is no input and so has a clock of its own. */
  answer(
    request: HeartbeatRequest,
    reply: (reply: HeartbeatReply) => void,
    nowMs = this.#nowMs(),
  ): void {
    if (request.verb === 'status') reply({ ok: true, value: this.report(nowMs) });
    else if (request.verb === 'bound') reply({ ok: true, value: this.bounds() });
    else if (!this.#life) reply({ ok: false, text: 'heartbeat is restarting' });
    else answerRequest(this.#life, this.#config.node, request, reply);
  }

  /** How long an outage may last, by what is in force. */
  bounds(): Bound[] {
    return boundsOf(this.#config, this.#scripts.times);
  }

  report(nowMs = this.#nowMs()): HeartbeatReport {
    return heartbeatReport({
      nowMs,
      config: this.#config,
      node: this.node,
      links: this.#media?.links ?? [],
      stuck: this.#stuck,
      stopAsked: this.#stopAsked,
      standing: this.#standing,
      pid: this.#host.pid,
    });
  }
}
