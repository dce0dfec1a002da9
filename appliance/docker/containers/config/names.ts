/** Names for containers that were given none: an adjective and a pioneer of computing. */
import { randomInt } from 'node:crypto';

const LEFT =
  'amber brave bright calm clever cosmic daring eager fearless gentle golden happy honest keen lively lucid mellow merry nimble noble patient polite proud quick quiet quirky rapid serene sharp silent steady stellar sunny swift tender trusting upbeat vivid warm wise witty zealous'.split(
    ' ',
  );
const RIGHT =
  'allen babbage bartik boole borg cerf church codd dijkstra engelbart feynman goldberg hamilton hamming hoare hopper hypatia johnson kay kernighan khayyam knuth lamarr lamport liskov lovelace mccarthy meitner minsky naur newell noether perlman ritchie shannon stonebraker sutherland tarjan thompson turing wirth wozniak zuse'.split(
    ' ',
  );

const pick = (words: string[]): string => words[randomInt(words.length)]!;

/** A name that is not taken. After some attempts a number is added. */
export function randomName(taken: (name: string) => boolean): string {
  for (let attempt = 0; ; attempt++) {
    const name = `${pick(LEFT)}_${pick(RIGHT)}${attempt < 5 ? '' : randomInt(10 ** Math.min(6, attempt - 4))}`;
    if (!taken(name)) return name;
  }
}
