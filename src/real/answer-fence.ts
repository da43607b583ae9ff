/**
 * The real world's answer to `fence`: the other node is reset by a plug-in of cluster-glue or by a fence-agent.
 *
 *     plug-in   stonith -t TYPE -F FILE -l               the nodes that it can reset: not ours -> badhost
 *               stonith -t TYPE -F FILE -T reset NODE    0 OK, 4 badhost, else bad
 *     agent     action=metadata, then reboot: 0 OK, else bad; then, where it has it, status: on (0) or off (2), else bad
 *
 * OK is said only by a device that said so for this node. Everything else is no permission: a list that cannot be had, a
 * program that is missing, killed or late. A plug-in of `external/` resets whatever it is told, also what is not its own: hence
 * the list, which the original does not ask for.
 *
 * Parameters and options go to the program's stdin, and what it says is logged without them. One reset at a time: a second
 * question is answered with bad at once. It is not queued: its shot would fall when the node may be back.
 *
 * Source: stonith(8), its exit statuses as observed of cluster-glue 1.0.12; the fence-agents' API (FenceAgentAPI.md).
 */
import type { StonithDevice } from '../config/ha-cf.js';
import { type FenceDevice, fenceDeviceOf } from '../host/fence-device.js';
import type { HeartbeatConfig } from '../host/heartbeat-ports.js';
import type { NodeLogLevel } from '../host/node-ports.js';
import type { FenceAnswer } from '../resource-manager/answers.js';
import { LimitedRun, type RunEnd } from './limited-run.js';

export interface FenceHost {
  readonly root: string;
  log(level: NodeLogLevel, text: string): void;
}

const STONITH_BADHOST = 4;
const STATUS_OFF = 2;
/** Shorter values of an option (on, 1, eth) are in every sentence. */
const SECRET_CHARS = 4;

export class Fencing {
  readonly #host: FenceHost;
  #isRunning = false;

  constructor(host: FenceHost) {
    this.#host = host;
  }

  /** `answered` is called once, never inside. */
  answer(config: HeartbeatConfig, node: string, answered: (answer: FenceAnswer) => void): void {
    const device = fenceDeviceOf(config);
    if (device === null || this.#isRunning) {
      if (device) this.#host.log('ERROR', `Host ${node} not reset: the last reset still runs`);
      setImmediate(answered, device ? 'bad' : 'none');
      return;
    }
    this.#isRunning = true;
    void this.#reset(device, node, config.ini.fence.timeoutS).then((answer) => {
      this.#isRunning = false;
      setImmediate(answered, answer); // what the machines throw is not for a promise
    });
  }

  async #reset(device: FenceDevice, node: string, timeoutS: number): Promise<FenceAnswer> {
    const { root, log } = this.#host;
    const { name } = device;
    log('info', `Resetting node ${node} with [${name}]`);
    const programs = new LimitedRun(root, timeoutS * 1000);
    const said = saying(name, secretsOf(device, node), log);
    let answer: FenceAnswer = 'bad';
    try {
      answer =
        device.type === 'stonith'
          ? await byPlugin(device.device, node, { root, programs, said })
          : await byAgent(name, device.options, node, { root, programs, said });
    } catch (e) {
      log('ERROR', `${name}: ${e instanceof Error ? e.message : String(e)}`);
    }
    programs.end();
    if (programs.isLate) log('ERROR', `${name} does not end: killed after ${timeoutS} s`);
    if (answer === 'OK') log('info', `node ${node} now reset.`);
    else if (answer === 'bad') log('ERROR', `Host ${node} not reset!`);
    else log('ERROR', `Device ${name} cannot reset host ${node}.`);
    return answer;
  }
}

/**
 * Asks the device, once, whether it can be reached: parameters that are wrong are better known before they are needed. It is only
 * said; the node goes on, as the original's does.
 */
export async function checkFenceDevice(
  { root, log }: FenceHost,
  config: Pick<HeartbeatConfig, 'haCf' | 'ini'>,
): Promise<void> {
  const device = fenceDeviceOf(config);
  if (device === null) return;
  const { name } = device;
  const { timeoutS } = config.ini.fence;
  log('info', `Checking status of STONITH device [${name}]`);
  const programs = new LimitedRun(root, timeoutS * 1000);
  const status =
    device.type === 'stonith'
      ? pluginOf(device.device, root, programs)('-S')
      : agentOf(name, device.options, programs)('monitor');
  const end = await status.catch((e: Error) => ({ status: null, out: '', err: e.message }));
  programs.end();
  saying(name, secretsOf(device, ''), log)(end);
  if (end.status === 0) return;
  log('ERROR', `STONITH device ${name} not operational!`);
  log('ERROR', 'STONITH status operation failed.');
  log('info', 'This may mean that the STONITH device has failed!');
}

/** Logs what a program said; `why` stands in front of it. */
type Said = (end: RunEnd, why?: string) => void;

interface Context {
  readonly root: string;
  readonly programs: LimitedRun;
  readonly said: Said;
}

/** Runs the plug-in's program with an action. */
function pluginOf({ type, file, params }: StonithDevice, root: string, programs: LimitedRun) {
  return (...action: readonly string[]) => {
    if (file !== null)
      return programs.run('stonith', ['-t', type, '-F', root + file, ...action], null);
    // A file without parameters is not taken.
    if (params.length === 0)
      return programs.run('stonith', ['-t', type, '-p', '', ...action], null);
    const words = ['-t', type, '-F', '/dev/stdin', ...action];
    return programs.run('stonith', words, `${params.join(' ')}\n`);
  };
}

/** Runs the agent with an action. */
function agentOf(agent: string, options: readonly string[], programs: LimitedRun) {
  return (action: string) =>
    programs.run(agent, [], `${[...options, `action=${action}`].join('\n')}\n`);
}

async function byPlugin(
  device: StonithDevice,
  node: string,
  { root, programs, said }: Context,
): Promise<FenceAnswer> {
  const stonith = pluginOf(device, root, programs);
  const list = await stonith('-l');
  if (list.status !== 0) {
    said(list, 'it does not say which nodes it can reset');
    return 'bad';
  }
  if (!list.out.toLowerCase().split(/\s+/).includes(node.toLowerCase())) return 'badhost';
  const reset = await stonith('-T', 'reset', node);
  said(reset);
  if (reset.status === 0) return 'OK';
  return reset.status === STONITH_BADHOST ? 'badhost' : 'bad';
}

async function byAgent(
  agent: string,
  options: readonly string[],
  node: string,
  { programs, said }: Context,
): Promise<FenceAnswer> {
  const hasPort = options.some((option) => /^(port|plug)=/i.test(option));
  const told = hasPort ? options : [...options, `port=${node}`];
  const ask = agentOf(agent, told, programs);
  const { out: metadata } = await agentOf(agent, [], programs)('metadata');
  const reboot = await ask('reboot');
  said(reboot);
  if (reboot.status !== 0) return 'bad';
  if (!/<action\b[^>]*\bname="status"/.test(metadata)) return 'OK';
  const status = await ask('status');
  if (status.status === 0 || status.status === STATUS_OFF) return 'OK';
  said(status, 'it said that it has reset the node, and does not say its status');
  return 'bad';
}

/** What nobody but the device is to know. */
function secretsOf(device: FenceDevice, node: string): readonly string[] {
  const values =
    device.type === 'stonith'
      ? device.device.params
      : device.options.map((option) => option.slice(option.indexOf('=') + 1));
  // The longest first: one may begin with another.
  return values
    .filter((value) => value.length >= SECRET_CHARS && value !== node)
    .sort((a, b) => b.length - a.length);
}

function saying(name: string, secrets: readonly string[], log: FenceHost['log']): Said {
  return ({ status, out, err }, why) => {
    const level = status === 0 ? 'debug' : 'ERROR';
    if (why !== undefined) log('ERROR', `${name}: ${why}`);
    for (const line of `${out}\n${err}`.split('\n')) {
      const text = secrets.reduce((rest, secret) => rest.replaceAll(secret, '***'), line);
      if (text.trim() !== '') log(level, `${name}: ${text.trimEnd()}`);
    }
  };
}
