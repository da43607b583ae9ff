/**
 * Planted bugs of the data path and of the states: application writes, epochs, the activity log, generations, fencing, roles,
 * connections. See mutants.ts.
 */
import type { Mutant } from './mutants.js';

export const DRBD_MUTANTS: readonly Mutant[] = [
  // ---- when a write is answered
  {
    name: 'ack-before-peer',
    what: 'a write is answered when the own disk has it, under protocols B and C too',
    file: 'drbd/answer.js',
    find: "if (link === null || r.asked !== 'A')",
    replace: 'if (link === null)',
  },
  {
    name: 'write-ack-when-received',
    what: 'under protocol C the Secondary acknowledges a write that it has received, not written',
    file: 'drbd/link.js',
    find: 'return (flags & DP.SEND_RECEIVE_ACK) !== 0;',
    replace: 'return (flags & (DP.SEND_RECEIVE_ACK | DP.SEND_WRITE_ACK)) !== 0;',
  },
  {
    name: 'receive-ack-before-payload',
    what: 'under protocol B the Secondary acknowledges a write when it has read its header',
    file: 'drbd/peer-io.js',
    find: 'if (!p.receiving)\n            this.#acknowledgeReceipt(p);',
    replace: 'this.#acknowledgeReceipt(p);',
  },
  {
    name: 'answer-before-socket',
    what: 'under protocol A a write is answered before the socket has it',
    file: 'drbd/answer.js',
    find: 'if (r.op === OP_READ || r.op === OP_FLUSH || r.sending)',
    replace: 'if (r.op === OP_READ || r.op === OP_FLUSH)',
  },
  {
    name: 'answer-before-own-disk',
    what: 'a write is answered when the peer has it, though the own disk does not',
    file: 'drbd/app-io.js',
    find: 'if (r.local === LEG_PENDING || !peerAllowsAnswer(this.#volume, r))',
    replace:
      'if ((r.local === LEG_PENDING && (r.net !== LEG_OK || r.op !== OP_WRITE)) || !peerAllowsAnswer(this.#volume, r))',
  },
  {
    name: 'flush-ignores-peer',
    what: 'under protocol C a flush is answered when the own disk has flushed',
    file: 'drbd/app-flushes.js',
    find: '(link.flushesPeer || r.goodDisk === null)',
    replace: 'r.goodDisk === null',
  },
  {
    name: 'fua-not-forwarded',
    what: 'a write with FUA reaches the peer as an ordinary one',
    file: 'drbd/link.js',
    find: 'if (r.fua)\n            flags |= DP.FUA;',
    replace: '',
  },
  {
    name: 'read-error-not-retried',
    what: 'a read that fails on the own disk fails, though the peer has the data',
    file: 'drbd/app-reads.js',
    find: 'this.#askPeer(r); // transparently, where the peer has it',
    replace: 'r.owner.fail(r, EIO);',
  },
  {
    name: 'reads-stale-block',
    what: 'a Primary that is a SyncTarget reads from its own disk what is out of sync there',
    file: 'drbd/volume.js',
    find: '!this.bitmap.anySectors(sector, endSector - sector)',
    replace: 'true',
  },

  // ---- order and barriers
  {
    name: 'barrier-forgotten',
    what: 'a flush does not end the epoch: what was written last is not waited for',
    file: 'drbd/transfer-log.js',
    find: 'flush(request) {\n        this.close();',
    replace: 'flush(request) {',
  },
  {
    name: 'barrier-ack-before-flush',
    what: 'the Secondary acknowledges an epoch that its disk has not flushed',
    file: 'drbd/peer-epochs.js',
    find: "if (this.#owner.writeOrdering() === 'flush') {",
    replace: 'if (false) {',
  },
  {
    name: 'epochs-not-ordered',
    what: 'the Secondary writes an epoch before the one before it is on disk',
    file: 'drbd/peer-epochs.js',
    find: "request.epochOpen = this.#epochs.length === 1 || this.#owner.writeOrdering() === 'none';",
    replace: 'request.epochOpen = true;',
  },
  {
    name: 'overlaps-not-ordered',
    what: 'writes that overlap do not wait for each other',
    file: 'drbd/intervals.js',
    find: 'interval.active = !this.#blocked(interval);',
    replace: 'interval.active = true;',
  },
  {
    name: 'discard-not-replicated',
    what: 'the Secondary acknowledges a discard and does nothing',
    file: 'drbd/peer-io.js',
    find: 'v.eraseDisk(offset, p.lengthBytes, true, tag);',
    replace: 'port.flushDisk(v.dataDisk, tag);',
  },

  // ---- what may differ is marked
  {
    name: 'degraded-write-not-marked',
    what: 'a write that only this node has sets no bit in the bitmap',
    file: 'drbd/app-io.js',
    find: 'const isNew = v.setOutOfSync(r.sector, r.endSector);',
    replace: 'const isNew = true;',
  },
  {
    name: 'lost-write-not-marked',
    what: 'writes that were on their way when the connection broke, or that the peer refused, set no bits',
    file: 'drbd/app-io.js',
    find: 'v.setOutOfSync(r.sector, r.endSector);\n        if (!v.bitmap)',
    replace: 'if (!v.bitmap)',
  },
  {
    name: 'diskless-primary-not-marked',
    what: 'the Secondary of a diskless Primary does not mark what it writes alone',
    file: 'drbd/peer-io.js',
    find: '#onlyHere(p) {\n        this.#volume.setOutOfSync(p.sector, p.endSector);',
    replace: '#onlyHere(p) {',
  },
  {
    name: 'part-of-a-block-not-marked',
    what: 'a write that ends within a 4 KiB block does not mark that block',
    file: 'md/bitmap.js',
    find: 'const last = Math.floor((sector + sectors - 1) / BLOCK_SECTORS);',
    replace: 'const last = Math.floor((sector + sectors) / BLOCK_SECTORS) - 1;',
  },
  {
    name: 'bitmap-page-not-written',
    what: 'bits that are set do not make their page of the bitmap dirty: it is not written',
    file: 'md/bitmap.js',
    find: 'this.#bytes[at] = now;\n        this.markPageDirty(Math.floor(at / PAGE_BYTES));',
    replace: 'this.#bytes[at] = now;',
  },

  // ---- the activity log
  {
    name: 'log-skipped',
    what: 'writes do not enter the activity log',
    file: 'drbd/log-gate.js',
    find: 'if (!log || this.#volume.alSuspended)\n            return true;',
    replace: 'return true;',
  },
  {
    name: 'log-after-write',
    what: 'a write does not wait until its extent is in the activity log on disk',
    file: 'drbd/log-gate.js',
    find: "if (entry === 'hot')\n            return true;\n        this.#waiting.push(w);\n        return false;",
    replace: 'return true;',
  },
  {
    name: 'log-not-applied',
    what: 'after a crash the extents of the activity log are not marked out of sync',
    file: 'md/apply-al.js',
    find: 'mark: applied ? replay.hotExtents : [],',
    replace: 'mark: [],',
  },
  {
    name: 'log-evicts-without-bitmap',
    what: 'an extent leaves the activity log before the bits of its blocks are on disk',
    file: 'drbd/activity-log.js',
    find: 'if (!tr.pages.includes(page))\n                tr.pages.push(page);',
    replace: '',
  },
  {
    name: 'log-evicts-without-flush',
    what: 'an extent leaves the activity log before what was written to it is durable',
    file: 'drbd/log-gate.js',
    find: 'if (pages.length === 0)',
    replace: 'if (pages.length >= 0)',
  },

  // ---- generations
  {
    name: 'no-new-generation',
    what: 'the first write without the peer begins no new generation of data',
    file: 'drbd/changes.js',
    find: "if (generation === 'now')",
    replace: "if (generation === 'never')",
  },
  {
    name: 'generation-before-fenced',
    what: 'a new generation begins while I/O is frozen and the fence handler has not answered',
    file: 'drbd/generation.js',
    find: "return isSuspended(next) && next.role === Roles.Primary ? 'later' : 'now';",
    replace: "return 'now';",
  },
  {
    name: 'primary-not-recorded',
    what: 'the meta-data of a Primary do not say that it is one',
    file: 'drbd/generation.js',
    find: '(primary ? MDF.PRIMARY_IND : 0)',
    replace: '0',
  },
  {
    name: 'crashed-primary-forgotten',
    what: 'at the attach after a crash nobody notices that the node was Primary',
    file: 'drbd/attach-decision.js',
    find: 'const crashedPrimary = has(MDF.CRASHED_PRIMARY) || (has(MDF.PRIMARY_IND) && !frozen);',
    replace: 'const crashedPrimary = false;',
  },
  {
    name: 'outdated-forgotten',
    what: 'a disk that is Outdated comes back as current data after a restart',
    file: 'drbd/generation.js',
    find: '(state.disk > Outdated ? MDF.WAS_UP_TO_DATE : 0)',
    replace: '(state.disk > Inconsistent ? MDF.WAS_UP_TO_DATE : 0)',
  },
  {
    name: 'stale-disk-attached',
    what: 'a node that knows newer data attaches a disk with older ones as good',
    file: 'drbd/volume.js',
    find: 'return seen.length === 0 || seen.some(',
    replace: 'return true || seen.some(',
  },

  // ---- fencing and roles
  {
    name: 'thaw-after-failed-fence',
    what: 'I/O goes on although the peer could not be fenced',
    file: 'drbd/fencing.js',
    find: 'if (!mayGoOn(v, fenced))\n                continue;',
    replace: '',
  },
  {
    name: 'broken-handler-believed',
    what: 'a fence handler that is broken counts as one that has outdated the peer',
    file: 'drbd/fencing.js',
    find: 'default:',
    replace: 'default:\n            return Disks.Outdated;',
  },
  {
    name: 'frozen-write-answered',
    what: 'writes that were on their way when I/O was suspended are answered',
    file: 'drbd/answer.js',
    find: 'return r.op !== OP_READ && (early || (lost && isFrozen));',
    replace: 'return r.op !== OP_READ && early;',
  },
  {
    name: 'outdated-promoted',
    what: 'a node with an Outdated disk becomes Primary without --force',
    file: 'drbd/roles.js',
    find: 'if (code === Ss.NO_UP_TO_DATE_DISK && this.#force && this.#mayForce(disk)) {',
    replace:
      'if (code === Ss.NO_UP_TO_DATE_DISK && (this.#force || disk === Disks.Outdated) && this.#mayForce(disk)) {',
  },
  {
    name: 'two-primaries',
    what: 'a node becomes Primary while its peer is one',
    file: 'drbd/transition.js',
    find: 'when: (n, c) => singlePrimary(n, c) && n.peer === Roles.Primary,',
    replace: 'when: () => false,',
  },

  // ---- connections
  {
    name: 'ping-timeout-ignored',
    what: 'a peer that does not answer pings is not given up: a dead link is never noticed',
    file: 'drbd/link-watch.js',
    find: "return { how: 'NetworkFailure', why: 'PingAck did not arrive in time.' };",
    replace: 'this.#pingSentMs = nowMs; return null;',
  },
  {
    name: 'ko-count-ignored',
    what: 'a peer that answers pings and does not finish writes is waited for without end',
    file: 'drbd/link-watch.js',
    find: 'return Math.min(this.#awaitedMs, this.#owesBarrierMs) + koCount * timeoutDs * 100;',
    replace: 'return Number.POSITIVE_INFINITY;',
  },
  {
    name: 'disk-timeout-ignored',
    what: 'a disk that does not answer is waited for without end, whatever disk-timeout says',
    file: 'drbd/hung-disk.js',
    find: 'if (nowMs - owesSinceMs(v, nowMs, afresh) < timeoutMs)',
    replace: '',
  },
  {
    name: 'redial-without-pause',
    what: 'a node dials again at once when the peer refuses the connection',
    file: 'drbd/connect.js',
    find: 'return connectIntMs + ((this.#coin() ? 1 : -1) * connectIntMs) / 7;',
    replace: 'return 1;',
  },
  {
    name: 'receive-window-ignored',
    what: 'the Secondary reads more from the socket than max-buffers allows',
    file: 'drbd/link.js',
    find: 'return this.window === 0 || this.window + lengthBytes <= limit;',
    replace: 'return limit > 0;',
  },
  {
    name: 'alarm-not-moved',
    what: 'a deadline that is earlier than the alarm that is set does not move it',
    file: 'host/drbd-loop.js',
    find: 'if (this.#timer !== null && deadlineMs >= this.#armedMs - SLACK_MS)',
    replace: 'if (this.#timer !== null)',
  },
];
