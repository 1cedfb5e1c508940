/** The known word a mistyped one was most likely meant to be. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const typed = word.slice(0, comparedLengthMax).toLowerCase();
  // A third of the letters may be wrong, two at least: `ulr` is `url`, `foo` is nothing.
  let best = { word: undefined as string | undefined, distance: Math.max(2, Math.floor(typed.length / 3)) + 1 };
  for (const candidate of known) {
    const distance = editDistance(typed, candidate.toLowerCase());
    if (distance < best.distance && distance < Math.max(typed.length, candidate.length)) {
      best = { word: candidate, distance };
    }
  }
  return best.word;
}

const comparedLengthMax = 64;

/** Letters to add, leave out, replace, or swap with their neighbour. */
function editDistance(left: string, right: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1];
      let distance = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
      if (row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1]) {
        distance = Math.min(distance, beforeLast[column - 2]! + 1);
      }
      current.push(distance);
    }
    beforeLast = last;
    last = current;
  }
  return last[right.length]!;
}
