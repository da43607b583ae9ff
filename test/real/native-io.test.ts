import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { FallbackIo } from '../../src/real/fallback-io.js';
import { haveIoUring } from '../../src/real/native-addon.js';
import { NativeIo } from '../../src/real/native-io.js';
import { ioConformance } from '../host/io-conformance.js';
import { realRig } from './real-rig.js';

const SIZES = { pool: SMALL_POOL, streams: 8 };

// `make test` builds the addon. A host without io_uring runs the suite over what openIo gives it there.
const { ok, reason } = haveIoUring();
if (ok) ioConformance('native', (t) => realRig(t, new NativeIo(SIZES)));
else ioConformance(`native (${reason})`, (t) => realRig(t, new FallbackIo(SIZES)));
