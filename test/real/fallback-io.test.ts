import { SMALL_POOL } from '../../src/host/buffer-pool.js';
import { FallbackIo } from '../../src/real/fallback-io.js';
import { ioConformance } from '../host/io-conformance.js';
import { realRig } from './real-rig.js';

ioConformance('fallback', (t) => realRig(t, new FallbackIo({ pool: SMALL_POOL, streams: 8 })));
