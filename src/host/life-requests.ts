/** What programs ask of the present life on the control socket: hb_standby, hb_takeover, cl_status, drbd-peer-outdater, `twinbeat recover`. */
import type { HeartbeatReply, HeartbeatRequest } from './heartbeat-control.js';
import type { Life } from './life.js';

/** Those that any state of the daemon answers are not here. */
export type LifeRequest = Exclude<HeartbeatRequest, { verb: 'status' | 'bound' }>;

/** `own`: the name of this node. `reply` is called once, perhaps inside this call. */
export function answerRequest(
  life: Life,
  own: string,
  request: LifeRequest,
  reply: (reply: HeartbeatReply) => void,
): void {
  const unlessRefused = (refusal: string | null) =>
    reply(refusal === null ? { ok: true, value: null } : { ok: false, text: refusal });
  switch (request.verb) {
    case 'outdate': {
      const { peer, resource, timeoutMs } = request;
      life.dopd.outdate(peer, resource, timeoutMs, (value) => reply({ ok: true, value }));
      break;
    }
    case 'recover': {
      const name = request.node.toLowerCase();
      if (name === own) life.recover(request, unlessRefused);
      else if (name === life.node.peer) life.recoverLink.ask(request, unlessRefused);
      else unlessRefused(`node ${request.node} is not in ha.cf`);
      break;
    }
    case 'clientstatus':
      askClientStatus(life, own, request, (value) => reply({ ok: true, value }));
      break;
    case 'client':
      life.node.setClient(request.client, request.online);
      reply({ ok: true, value: null });
      break;
    case 'standby':
      unlessRefused(life.standby(request.resources));
      break;
    case 'takeover':
      unlessRefused(life.takeover(request.resources));
      break;
  }
}

function askClientStatus(
  { node: ownNode, clientStatus }: Life,
  own: string,
  { node, client, timeoutMs }: Extract<HeartbeatRequest, { verb: 'clientstatus' }>,
  done: (status: string | null) => void,
): void {
  if (node === own) done(ownNode.clientStatus(client));
  else if (node !== ownNode.peer) done(null);
  else clientStatus.ask(node, client, timeoutMs, done);
}
