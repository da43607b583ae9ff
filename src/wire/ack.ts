/**
 * Acknowledgements and negative replies on the meta socket, in their decoded form; the data path uses hot.ts.
 * Source: docs/PROTOCOL.md#acks, #epochs.
 */
import { idHi, idLo, joinId } from './data.js';
import * as hot from './hot.js';
import { badValue, type Codec } from './packet.js';

/** P_RECV_ACK, P_WRITE_ACK ... P_NEG_RS_DREPLY, P_OV_RESULT, P_RS_IS_IN_SYNC, P_RS_CANCEL, P_RETRY_WRITE. */
export interface BlockAck {
  readonly sector: number; // 0
  readonly blockId: bigint; // 8, the echo; ID_SYNCER; or 4711/4712 in P_OV_RESULT
  readonly sizeBytes: number; // 16
  readonly seq: number; // 20, of the same counter as P_DATA
}

export interface BarrierAck {
  readonly barrier: number; // 0, the echo of P_BARRIER
  readonly setSize: number; // 4, writes received in that epoch, of all volumes
}

export const blockAckCodec: Codec<BlockAck> = {
  decode(view, at) {
    const a = hot.newBlockAck();
    if (hot.readBlockAck(view, at, a) === hot.REFUSED) return badValue('sector above 2^53', at);
    return {
      sector: a.sector,
      blockId: joinId(a.idHi, a.idLo),
      sizeBytes: a.sizeBytes,
      seq: a.seq,
    };
  },
  encode(a, view, at) {
    hot.putBlockAck(view, at, a.sector, idHi(a.blockId), idLo(a.blockId), a.sizeBytes, a.seq);
  },
};

export const barrierAckCodec: Codec<BarrierAck> = {
  decode(view, at) {
    const a = hot.newBarrierAck();
    hot.readBarrierAck(view, at, a);
    return a;
  },
  encode(a, view, at) {
    hot.putBarrierAck(view, at, a.barrier, a.setSize);
  },
};
