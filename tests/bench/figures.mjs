// What the kernel says of a process, and what is made of many figures: medians, ratios, a table.
import { readdir, readFile } from 'node:fs/promises';

/** Microseconds on a CPU so far, in user mode and in the kernel, of all threads. */
export async function cpu(pid) {
  const threads = await readdir(`/proc/${pid}/task`);
  const ran = async (thread) => Number((await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')[0]);
  return (await Promise.all(threads.map(ran))).reduce((all, one) => all + one, 0) / 1000;
}

/** KiB in memory now. */
export async function rss(pid) {
  return Number((await readFile(`/proc/${pid}/status`, 'utf8')).match(/^VmRSS:\s+(\d+) kB$/m)[1]);
}

export function median(numbers) {
  const sorted = numbers.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * One row. Each of `peers` has a figure for each round, in the same order; `direct` may be missing. The ratio is the
 * median of the rounds' ratios, because what disturbed a round disturbed both.
 */
export function row(what, { direct, bare, doorman }) {
  const ratios = doorman.map((figure, round) => figure / bare[round]);
  const spread = ratios.length > 1 ? `${near(Math.min(...ratios))} to ${near(Math.max(...ratios))}` : '';
  return [
    what,
    direct ? near(median(direct)) : '',
    near(median(bare)),
    near(median(doorman)),
    near(median(ratios)),
    spread,
  ];
}

export function table(rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const head = ['what', 'direct', 'bare proxy', 'mcp-doorman', 'ratio', 'of rounds'];
  return [line(head), '|---|---:|---:|---:|---:|---:|', ...rows.map(line)].join('\n');
}

/** Three digits that count, or all before the point. */
function near(number) {
  if (!Number.isFinite(number)) throw new Error(`no figure: ${number}`);
  return Math.abs(number) >= 100 ? number.toFixed(0) : number.toPrecision(3);
}
