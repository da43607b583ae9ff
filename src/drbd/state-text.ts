/** A state change as a log line, in the words of the originals: `role( Secondary -> Primary ) pdsk( ... ) `. */
import { connName, diskName, isSuspended, roleName, type State } from './state.js';

/** What differs between two states; '' when nothing does. Ends with a space, as a kernel's line does. */
export function changeText(old: State, next: State): string {
  const name = (what: string, from: string, to: string): string =>
    from === to ? '' : `${what}( ${from} -> ${to} ) `;
  const flag = (what: string, from: boolean | number, to: boolean | number): string =>
    name(what, String(Number(from)), String(Number(to)));
  return (
    name('role', roleName(old.role), roleName(next.role)) +
    name('peer', roleName(old.peer), roleName(next.peer)) +
    name('conn', connName(old.conn), connName(next.conn)) +
    name('disk', diskName(old.disk), diskName(next.disk)) +
    name('pdsk', diskName(old.pdsk), diskName(next.pdsk)) +
    flag('susp', isSuspended(old), isSuspended(next)) +
    flag('aftr_isp', old.aftrIsp, next.aftrIsp) +
    flag('peer_isp', old.peerIsp, next.peerIsp) +
    flag('user_isp', old.userIsp, next.userIsp)
  );
}

const flags = (s: State): string =>
  [
    isSuspended(s) ? 's' : 'r',
    s.aftrIsp ? 'a' : '-',
    s.peerIsp ? 'p' : '-',
    s.userIsp ? 'u' : '-',
    s.suspFen ? 'F' : '-',
    s.suspNod ? 'N' : '-',
  ].join('');

/** The whole state in one line, for a refused change: ` state = { cs:Connected ro:... ds:... r----- }`. */
export function stateLine(tag: string, s: State): string {
  return `${tag} = { cs:${connName(s.conn)} ro:${roleName(s.role)}/${roleName(s.peer)} ds:${diskName(s.disk)}/${diskName(s.pdsk)} ${flags(s)} }`;
}
