/**
 * The two ports of `twinbeat agent`: one for HAProxy's agent-check, which connects and reads a line, and one for checks by HTTP, which
 * ask first. Anybody may connect: connections are few, short, and what they say is read up to a bound and otherwise ignored.
 */
import { createServer, type Server, type Socket } from 'node:net';

export type AgentKind = 'agent' | 'http';

export interface AgentAddress {
  readonly kind: AgentKind;
  readonly host: string;
  readonly port: number;
}

/** A balancer has one or two open; more than these wait for nobody and are closed. */
const MOST_CONNECTIONS = 64;
/** From the connection to the end of it. */
const PATIENCE_MS = 5000;
const MOST_REQUEST_BYTES = 8192;

/** ADDRESS:PORT or [ADDRESS]:PORT; null: neither. */
export function parseAgentAddress(kind: AgentKind, text: string): AgentAddress | null {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text);
  const port = Number(found?.[3]);
  const host = found?.[1] ?? found?.[2];
  return host === undefined || port > 65_535 ? null : { kind, host, port };
}

/** `answer`: the whole text for one connection; `hasBody` is false for HEAD. Resolves when it listens; rejects as listen does. */
export function serveAgent(
  { kind, host, port }: AgentAddress,
  answer: (hasBody: boolean) => Promise<string>,
): Promise<Server> {
  const server = createServer((socket) => {
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    const patience = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.on('close', () => clearTimeout(patience));
    socket.on('error', () => socket.destroy());
    const say = (hasBody: boolean): void => {
      void answer(hasBody).then((text) => socket.end(text));
    };
    if (kind === 'agent') {
      socket.resume(); // agent-send: words that are not needed
      say(true);
    } else onRequest(socket, say);
  });
  server.maxConnections = MOST_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

/** The end of the head is waited for; which path is asked for does not matter. */
function onRequest(socket: Socket, say: (hasBody: boolean) => void): void {
  let head = '';
  let isAnswered = false;
  socket.setEncoding('latin1');
  socket.on('data', (more: string) => {
    if (isAnswered) return;
    head += more;
    if (head.length > MOST_REQUEST_BYTES) socket.destroy();
    else if (/\r?\n\r?\n/.test(head)) {
      isAnswered = true;
      say(!head.startsWith('HEAD '));
    }
  });
}
