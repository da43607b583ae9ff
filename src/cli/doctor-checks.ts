/** All that doctor looks for, in the order of docs/DOCTOR.md. */
import { BOOT_CHECKS } from './doctor-boot.js';
import { DRBD_CHECKS } from './doctor-drbd.js';
import type { Check } from './doctor-finding.js';
import { HA_CHECKS } from './doctor-ha.js';
import { LINK_CHECKS } from './doctor-links.js';
import { NODE_CHECKS } from './doctor-node.js';
import { WITNESS_CHECKS } from './doctor-witness.js';

export const CHECKS: readonly Check[] = [
  ...HA_CHECKS,
  ...WITNESS_CHECKS,
  ...LINK_CHECKS,
  ...DRBD_CHECKS,
  ...BOOT_CHECKS,
  ...NODE_CHECKS,
];
