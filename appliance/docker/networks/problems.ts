/** Several problems as one message, as Docker writes them. */

/** One as it is, several as a list, whose further lines are indented. */
export function joined(problems: readonly string[]): string {
  if (problems.length === 1) return problems[0]!.trim();
  return problems.map((problem) => `* ${problem.replaceAll('\n', '\n\t')}`).join('\n');
}
