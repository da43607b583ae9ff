/** twinbeat status: what heartbeat on this node knows, for people: nodes, resources, health, standing. */
import type { HeartbeatReport } from '../host/heartbeat-control.js';
import { heartbeatReport } from './heartbeat-client.js';
import type { World } from './world.js';

export function statusText(report: HeartbeatReport): string {
  const { node, rscStatus, standing, nodes, groups, current, stuck, disputes } = report;
  const lines = [
    standing.state === 'ok' ? `standing   ok` : `standing   ${standing.state}: ${standing.why}`,
    `resources  ${rscStatus}${current ? ` (${current.kind} ${current.key})` : ''}`,
    ...nodes.map((each) => {
      const links = each.links.map((link) => `${link.name} ${link.status}`).join(', ');
      const own = each.name === node;
      return `node       ${each.name} ${each.status}${own ? ' (this one)' : ` [${links}]`}`;
    }),
  ];
  for (const [file, state] of Object.entries(report.files)) {
    if (state === 'differs') lines.push(`file       ${file} DIFFERS from that of the other node`);
  }
  for (const what of report.waits) lines.push(`waiting    ${what}`);
  for (const group of groups) {
    const gaveUp = report.gaveUp.find(({ key }) => key === group.key);
    const isStuck = stuck.includes(group.key) ? ', STUCK: cannot be stopped' : '';
    const inDispute = disputes.includes(group.key) ? ', IN DISPUTE: haresources differ' : '';
    const why = gaveUp ? `, STOPPED: ${gaveUp.why}` : '';
    lines.push(`group      ${group.key}, home ${group.node}${isStuck}${inDispute}${why}`);
    for (const { level, resource, words } of report.health) {
      if (!group.resources.includes(resource)) continue;
      lines.push(`  ${level.padEnd(11)}  ${resource}${words === '' ? '' : `: ${words}`}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** 0; 1: heartbeat does not run; 2: this node is FAILED_OFFLINE, or a group is stuck, stopped or in dispute. */
export async function statusMain(json: boolean, world: World): Promise<number> {
  const { report, ...no } = await heartbeatReport(world.root);
  if (!report) {
    world.err(`twinbeat status: ${'reason' in no ? no.reason : 'heartbeat is not running'}\n`);
    return 1;
  }
  world.out(json ? `${JSON.stringify(report)}\n` : statusText(report));
  const { standing, stuck, gaveUp, disputes } = report;
  const needsSomebody = [...stuck, ...gaveUp, ...disputes].length > 0;
  return standing.state === 'ok' && !needsSomebody ? 0 : 2;
}
