/**
 * `drbdsetup wait-connect` and `wait-sync`: wait for the peer, as long as the timeout allows that holds in this state.
 *
 *     peer known to be Outdated -> outdated-wfc-timeout      alone before the reboot -> degr-wfc-timeout      else wfc-timeout
 *
 * drbdd says which one (`timeout-type`). Over with 0 when the peer is there, or when nobody tries to connect any more and
 * --wait-after-sb is not given; with 5 when the time is over, which it never is with 0. The time counts for a resync that
 * wait-sync waits for, too. wait-sync also waits for the end of a resync; it says nothing of --wait-after-sb. Source:
 * drbdsetup-84 9.22 observed with kernel DRBD 8.4.11.
 */
import { adjustTimeouts, type WaitTimeoutType, waitTimeoutS } from '../drbd/attach-decision.js';
import { Err } from '../drbd/return-codes.js';
import type { ControlRequest, WaitEnd } from '../host/control.js';
import { EXIT_USAGE, type Words } from './drbdsetup-args.js';
import { type Answer, ask } from './drbdsetup-client.js';
import type { World } from './world.js';

const MAX_WAIT_S = 300_000;
const EXIT_TIMEOUT = 5;

export async function wait(words: Words, world: World, verb: string): Promise<number> {
  const minor = words.minor();
  const seconds = (name: string): number => words.number(name, '1', MAX_WAIT_S) ?? 0;
  const { timeouts, messages } = adjustTimeouts({
    wfcTimeoutS: seconds('wfc-timeout'),
    degrWfcTimeoutS: seconds('degr-wfc-timeout'),
    outdatedWfcTimeoutS: seconds('outdated-wfc-timeout'),
  });
  const isPatient = words.flag('wait-after-sb');
  words.end();
  for (const message of messages) world.err(`${message}\n`);

  const type = await askQuietly(world, { verb: 'timeout-type', minor }, minor);
  if (!type.ok) {
    const isUnknown = type.failure?.code === Err.MINOR_INVALID;
    world.err(
      isUnknown ? 'error determining which timeout to use: minor not available\n' : type.said,
    );
    return isUnknown ? EXIT_USAGE : type.status;
  }
  const limitS = waitTimeoutS(timeouts, type.value as WaitTimeoutType);
  const endMs = performance.now() + limitS * 1000;
  const name = verb === 'wait-sync' ? verb : 'wait-connect';
  let afterSb = false; // the first answer tells also that it was given up before
  for (;;) {
    const timeoutS = limitS === 0 ? 0 : Math.ceil((endMs - performance.now()) / 1000);
    if (limitS > 0 && timeoutS <= 0) return EXIT_TIMEOUT;
    const answer = await askQuietly(world, { verb: name, minor, timeoutS, afterSb }, minor);
    if (!answer.ok) {
      if (answer.status !== EXIT_TIMEOUT) world.err(answer.said);
      return answer.status;
    }
    const end = answer.value as WaitEnd;
    if (end.over === 'there' || !isPatient) return 0;
    if (name === 'wait-connect') {
      const volume = `drbd${minor} (${end.resource}[${end.volume}])`;
      const patience = "but I'm configured to wait anways (--wait-after-sb)";
      world.err(`\n${volume} is ${end.cstate}, ${patience}\n`);
    }
    afterSb = true;
  }
}

type Quiet = Answer & { readonly said: string };

/** What would be said about a failure comes back with it. */
async function askQuietly(world: World, request: ControlRequest, minor: number): Promise<Quiet> {
  let said = '';
  const err = (text: string): void => {
    said += text;
  };
  const answer = await ask({ ...world, err }, request, `${minor}`);
  return { ...answer, said };
}
