/** The programs' end of heartbeat's control socket: one request, one reply (host/heartbeat-control.ts). */
import { connect } from 'node:net';
import {
  HEARTBEAT_SOCKET,
  type HeartbeatReply,
  type HeartbeatReport,
  type HeartbeatRequest,
} from '../host/heartbeat-control.js';

export type HeartbeatAnswer =
  | HeartbeatReply
  /** Nobody answers: not running, or not in time. */
  | { readonly ok: null; readonly reason: string };

const DEFAULT_TIMEOUT_MS = 5000;

export function askHeartbeat(
  root: string,
  request: HeartbeatRequest,
  timeoutMs = DEFAULT_TIMEOUT_MS,
): Promise<HeartbeatAnswer> {
  const path = root + HEARTBEAT_SOCKET;
  return new Promise((resolve) => {
    const socket = connect({ path });
    let text = '';
    const finish = (answer: HeartbeatAnswer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(
      () => finish({ ok: null, reason: `${path}: no answer within ${timeoutMs} ms` }),
      timeoutMs,
    );
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`${JSON.stringify({ id: 1, request })}\n`));
    socket.on('data', (more: string) => {
      text += more;
      const end = text.indexOf('\n');
      if (end < 0) return;
      try {
        const { reply } = JSON.parse(text.slice(0, end)) as { reply: HeartbeatReply };
        finish(reply);
      } catch {
        finish({ ok: null, reason: `${path}: not a reply: ${text.slice(0, 100)}` });
      }
    });
    socket.on('error', (e) => finish({ ok: null, reason: `${path}: ${e.message}` }));
    socket.on('close', () => finish({ ok: null, reason: `${path}: closed without an answer` }));
  });
}

/** The report, or why there is none. */
export async function heartbeatReport(
  root: string,
): Promise<{ readonly report: HeartbeatReport } | { readonly report: null; reason: string }> {
  const answer = await askHeartbeat(root, { verb: 'status' });
  if (answer.ok === true) return { report: answer.value as HeartbeatReport };
  return { report: null, reason: answer.ok === null ? answer.reason : answer.text };
}
