"""Writes the built-in micro-world from a seed: pretraining documents and instruction rows.

A scene is a dictionary that fills itself: asked for `animal` it draws one and keeps it, `animal2`
is another, `animal_food` is a fact of the first; a drawn sentence has its own `{names}` filled in.
"""

import random
import re
from collections.abc import Iterator
from itertools import pairwise
from zlib import crc32

# A kind of noun and its facts: the nouns, each with its facts.
NOUNS = """
animal home food voice: fox, a den, berries, barked; owl, a hollow oak, mice, hooted; frog, a pond,
flies, croaked; bear, a cave, honey, growled; duck, the reeds, snails, quacked; goat, a barn, grass,
bleated; mouse, a small hole, seeds, squeaked; crow, a tall pine, corn, cawed; cat, a basket, fish,
purred; dog, a kennel, bones, howled; horse, a stable, hay, neighed; hen, a coop, grain, clucked;
rabbit, a burrow, carrots, sniffed; bee, a hive, nectar, buzzed
thing made use: lantern, glass, light a dark path; rope, straw, climb a wall; drum, wood, call the
village; kite, paper, feel the wind; cup, clay, drink some tea; spoon, silver, stir the soup;
blanket, wool, keep warm; ladder, wood, reach the roof; bell, brass, wake the town; boat, oak, cross
the river; broom, twigs, sweep the floor; key, iron, open the gate; hat, felt, hide from the sun;
coat, wool, walk in the snow; map, cloth, find the way; basket, reeds, carry apples; flute, bone,
play a tune; hammer, iron, mend the fence; mirror, glass, send a signal; candle, wax, read at night;
bucket, tin, water the beans; box, tin, keep letters; ring, gold, remember a friend
place seen: mill, a slow wooden wheel; harbour, many white sails; market, stalls of fruit; bridge,
boats going by; school, rows of small desks; farm, sheep and a red barn; beach, shells and wet sand;
station, trains full of coal; library, shelves up to the ceiling; castle, broken towers; bakery,
warm loaves; lake, rowers and reeds; church, coloured windows; fair, dancers and flags; pond, old
mossy trees; zoo, a sleeping lion; bank, a clock with one hand
feeling act: sad, wept quietly; happy, laughed out loud; tired, yawned; proud, stood very straight;
afraid, trembled; lonely, looked at the floor; calm, smiled; bored, sighed; curious, leaned closer
job tool: baker, an oven; miller, a grindstone; sailor, a compass; teacher, a piece of chalk;
farmer, a plough; painter, a brush; smith, an anvil
"""
# A kind of phrase: its alternatives, and ¶ for a line break.
PHRASES = """
person: Anna | Ben | Clara | Dan | Emma | Felix | Gina | Hugo | Ida | Jack | Kira | Leo | Mia | Nils
| Olga | Paul | Rosa | Sam | Tina | Tom
color: red | blue | green | yellow | white | black | brown | purple | grey | orange | golden
size: small | big | tiny | huge | long | round | heavy | thin | wide | little
look: old | new | dusty | shiny | cracked | pretty | plain | dirty | painted | strange | soft
trait: clever | kind | lazy | brave | rude | gentle | greedy | quiet | noisy | honest | wise
manner: slowly | quickly | quietly | happily | carefully | sadly | bravely | suddenly
number: two | three | four | five | six | seven | eight | nine | ten | twelve
digit: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 15 | 20 | 24 | 36 | 78
food: bread | soup | cheese | apples | cake | rice | pears | eggs | plums | milk | nuts | jam
day: Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday
hour: morning | evening | night | afternoon | day | winter night | summer day | holiday
season: spring | summer | autumn | winter
sky: the rain fell softly | the sun was hot | snow lay everywhere | a cold wind blew | fog rose
spot: under a bench | behind the door | beside the well | near the gate | on a shelf | in a drawer |
between two stones | on top of a wall | at the foot of a tree | below the stairs
moved: walked | ran | hurried | climbed | wandered | crept | marched | rode | limped | raced
did: built | drew | mended | carved | washed | painted | cleaned | sold | borrowed | wrapped
lost: lost | dropped | broke | forgot | gave away | hid | sold | buried
proverb: a slow step is still a step | good friends share | a promise is a promise | haste makes
waste | small gifts can be great | truth is lighter than a lie | nobody is too little to help
advice: ask a neighbour | wait until {day} | look {spot} | try again tomorrow | be patient | speak
to the {job} | eat some {food} first | count to {number} | say sorry to {person3}
reason: {person3} had asked for it | the {job} was ill | it was {day} | the {animal2} was hungry |
the {food2} ran out | the {place2} was closed | the {thing3} did not work
open: One {hour} {person} was at the {place}. | Long ago {person} lived near the {place}. | {person}
the {job} {moved} to the {place} one {hour}. | In {season}, {person} and {person2} {moved} to the
{place}. | Every {day}, {person} {did} a {thing2} for the {job}.
want: {person} wanted to {thing_use}, but had no {thing}. | {person} had a {size} {color} {thing}
made of {thing_made}. | {person} had to find a {thing} for {person2}. | "I need a {look} {thing},"
said {person}. | {person} {lost} the {color} {thing} {spot}.
meet: Then a {size} {animal} came {manner} out of {animal_home}. | {person2} {moved} by with a
{thing2}. | A {trait} {animal} {animal_voice} {manner}. | There {person} met {person2}, a {job2}.
trouble: But {sky}, and the {thing} got wet. | The {animal} took the {thing} and {moved} to the
{place2}. | Soon the {thing} broke, and {person} {feeling_act}. | Nobody knew how to {thing_use}. |
"That is my {thing}!" said {person2} {manner}. | The {animal} ate all the {food}.
help: "You should {advice}," said {person2}. | "Why not {advice}?" asked the {animal}. | {person2}
{did} a {thing3} and gave it away. | They looked {spot} and found {number} {color} boxes. | The
{job2} lent {person2} {job2_tool} and some {food2}. | {person} gave {animal_food} to the {animal}.
end: In the end they ate {food} and {food2} together. | At last {person} could {thing_use}. | From
then on {person} knew that {proverb}. | {person2} {feeling2_act} and {moved} home. | The {animal}
{animal_voice} and went back to {animal_home}. | Everyone at the {place} was {feeling3} that {hour}.
tale: {open} {want} {meet} {trouble} {help} {end} | {open} {want} {twist} {help} {twist2} {moral} |
{open} {want} {trouble} {help} {help2} {moral}
about: The {animal} lives in {animal_home} and eats {animal_food}. | A {thing} is made of
{thing_made}. | People use a {thing} to {thing_use}. | A {job} works with {job_tool}. | You can see
{place_seen} at the {place}. | Nobody can {thing2_use} without a {thing2}. | In {season} {sky}.
quiz: Question: What does the {animal} eat?¶Answer: {animal_food}. | Question: What is a {thing}
for?¶Answer: To {thing_use}. | Question: Is {person} {feeling}?¶Answer: {person} {feeling_act}.
document: {tale} | {tale} | {tale} | {tale} | {about} {aside} {about2} {aside2} | {person} had to
{deed}, {cause}; {person2} had to {deed2}, {cause2}. | {quiz} | {quiz} | Dear {person2},¶{want}
{help}¶Yours, {person3} | The {place} ({digit} steps long): {about} {about2} It has {number} {color}
doors. | To buy:¶- {food}¶- {digit} {food2}¶- a {color} {thing}
limit: Keep it short. | Use simple words. | Two sentences will do. | Mention {color4}. | It is for
{person4}. | I am {feeling4} today. | Thanks!
aside: Some prefer {color3} ones. | It takes about {number2} days. | Children enjoy this in
{season2}. | A {trait3} {job3} would do the same. | My advice: {advice2}. | Bring {food3}, just in
case. | Ask {person4} if unsure. | It costs {number3} coins. | Above all, stay {trait4}.
cause: perhaps {person3} wanted it so | most likely since {reason2} | I believe {reason2} | for a
{look2} {thing3} is rarely useful | partly out of habit
deed: share {food3} with {person3} | polish the {color2} {thing2} | visit the {place2} | feed the
{animal2} | count {number2} clouds | help the {job2} with {job2_tool} | paint the door {color3} |
listen for a {animal3} | rest at the {place3} | write to {person4} | borrow a {thing3}
twist: Yet the {thing} turned out to be a {look2} {thing2}! | Nobody believed it until {sky2}. | By
{day2} all were {feeling2}. | Luckily {person3} knew how to {thing2_use}. | The {job2} only
{feeling2_act}. | A {animal2} stole the {food3}, however. | Strangely, it smelled of {food3}.
moral: It shows that {proverb2}. | The {place2} is still {look2}. | How {trait3}! | They still talk
about it at the {place2}. | Now {person3} keeps a {color2} {thing3} there. | Next time, {advice2}.
"""
# One kind of exchange after the other.
TASK_TABLE = """
instruction: Tell a tale about {person} and a {look} {thing}. {limit} | Invent a story with a
{thing} in it; {person} should be the hero. | What happened when {person} found a {color} {thing}?
output: {person} kept a {color} {thing} {spot}. {twist} {moral} | On {day}, {person} tried to
{thing_use}. {twist} {twist2} {moral}
instruction: Describe the {place} on a {hour}. {limit} | How does a {place} look in {season}?
{limit} | Paint in words a {look} {place}.
output: Picture {place_seen}, with a {color} {thing} {spot}. {aside} | The {place} seems {look} in
{season}: {place_seen}, a {trait} {animal}, the smell of {food}. {aside} | Think of {number} {size}
windows and {place_seen}. Visitors often {deed}. {aside}
instruction: Where is the {thing} now? | Where can one find the {thing}? | Locate the {thing}.
input: {person} {lost} a {color} {thing} at the {place}. Later {person2} put it {spot}.
output: Look {spot}, where {person2} put it; {cause}. | The {thing} is {spot}. {aside}
instruction: How is {person}, and why? | Explain {person}'s mood. | Why is {person} {feeling}?
input: {sky}. {person} {moved} to the {place} and {feeling_act}.
output: {person} is {feeling}, {cause}. {aside} | {feeling}: {person} {feeling_act}, {cause}.
instruction: List three things to do at the {place}. {limit} | Give me three ideas for a {hour} at
the {place}. | Name three uses of a {thing} at the {place}.
output: 1. {deed}¶2. {deed2}¶3. {deed3} | 1. {deed}, if you dare¶2. {deed2}¶3. simply {deed3}
instruction: Continue the text. | What comes next? | Finish this freely.
input: {open} {want}
output: {twist} {moral} | Soon {person} had to {deed}. {moral} | {person} chose to {deed} and to
{deed2}. {moral}
instruction: Why would a {job} need a {thing}? {limit} | Why does every {job} own a {look} {thing}?
output: With it a {job} can {thing_use}; {cause}. {aside} | To {thing_use}, {cause}. {aside}
instruction: Rewrite as a {trait} {job} would. | Put this into {trait} words. | Make it {trait}.
input: {person} {did} a {thing} at the {place} because {reason}.
output: {person} {did} a rather {look} {thing}, {cause}. | Behold {person}, {manner} at work!
{aside}
instruction: Compare a {animal} with a {animal2}. {limit} | For {person}, a {animal} or a {animal2}?
output: Give a {animal} {animal_food}; a {animal2} wants {animal2_food}. {aside} | Only the {animal}
stays near {animal_home}. {aside} | I would choose the {animal}, {cause}. {aside}
instruction: I am {feeling} because {reason}. Help! | {person} feels {feeling}. {limit} | Give
advice to a {trait} {job} who feels {feeling}.
output: First {deed}, then {deed2}. {aside} | Do not stay {feeling}! Try to {deed}, {cause}. | When
{feeling}, I usually {deed}. {aside} {moral}
instruction: Write a note from {person} to {person2} about the {thing}. | Help {person} invite
{person2} to the {place}. {limit} | Thank {person2} for {food}.
output: Dear {person2}, come to the {place} on {day} so we can {deed}. {aside} {person} | {person2},
my friend, the {color} {thing} made me {feeling}. Let us {deed}! Yours, {person}
instruction: Choose a name for a {size} {color} {animal}. | What shall I call my {trait} {animal}?
{limit} | Name the {animal} of {person}.
output: Call it {food}, {cause}. {aside} | How about {day}? It suits a {trait} {animal}, {cause}. |
{person2} is a fine name for one who loves {animal_food}. {aside}
instruction: Make a riddle about a {thing}. {limit} | Riddle, please: a {thing}, for {person}.
output: I am {look} and {color}, I wait {spot}, yet I never {deed}. What am I? | Made of
{thing_made}, I help the {job} to {deed} and to {deed2}. Who am I?
instruction: What would the {animal} say to the {job}? {limit} | Let a {animal} and a {size} {thing}
talk. | Write what {person} tells the {trait} {animal}.
output: "Will you {deed}?" "Only if you {deed2}!" {moral} | "I am {feeling}," said the first. "Then
{deed}!" said the other. {twist}
"""

EXCHANGE_FRACTION = 0.05  # of the documents
MAX_OVERLAP = 0.6  # of the prompts of two rows
Row = dict[str, str]  # instruction, input (maybe empty), output


def _entries(table: str) -> list[tuple[str, str]]:
    """Parts a table into entries: each begins a line with `name: ` and may run over several."""
    entries = (entry.partition(": ") for entry in re.split(r"\n(?=[a-z ]+: )", table.strip()))
    return [(name, " ".join(body.split())) for name, _, body in entries]


PATTERNS = {name: body.split(" | ") for name, body in _entries(PHRASES)}
TASKS: list[dict[str, list[str]]] = []
for _part, _body in _entries(TASK_TABLE):
    if _part == "instruction":
        TASKS.append({"instruction": [], "input": [""], "output": []})
    TASKS[-1][_part] = _body.split(" | ")
FACTS: dict[tuple[str, str], str] = {}
for _header, _body in _entries(NOUNS):
    _kind, *_facts = _header.split()
    _nouns = [noun.split(", ") for noun in _body.split("; ")]
    PATTERNS[_kind] = [name for name, *_ in _nouns]
    FACTS |= {(n, f): v for n, *values in _nouns for f, v in zip(_facts, values, strict=True)}


class Scene(dict[str, str]):
    """What has been drawn so far; a missing name is drawn when it is asked for."""

    def __init__(self, rng: random.Random) -> None:
        """Starts an empty scene that draws from `rng`."""
        super().__init__()
        self._rng = rng

    def __missing__(self, name: str) -> str:
        """Looks up a fact, or draws what the scene does not hold yet."""
        noun, _, fact = name.partition("_")
        if fact:
            return FACTS[self[noun], fact]
        while (value := self.tell(PATTERNS[noun.rstrip("234")])) in self.values():
            pass
        self[name] = value
        return value

    def tell(self, patterns: list[str]) -> str:
        """Fills in one of the patterns."""
        return self._rng.choice(patterns).format_map(self)


def _tidy(text: str) -> str:
    """Puts in line breaks, "an" where it belongs, and capitals at the start of sentences."""
    text = re.sub(r"\b([Aa]) (?=[aeiou]|honest)", r"\1n ", text.replace("¶", "\n"))
    return re.sub(r"((?:^|\n|[.!?] )\"?)([a-z])", lambda m: m[1] + m[2].upper(), text).strip()


def _exchange(rng: random.Random, task: dict[str, list[str]], for_rows: bool) -> Row:
    """Draws an exchange; a hash parts all prompts between rows and pretraining documents."""
    while True:
        scene = Scene(rng)
        row = {part: _tidy(scene.tell(patterns)) for part, patterns in task.items()}
        if (crc32(f"{row['instruction']}\n{row['input']}".encode()) % 2 == 0) is for_rows:
            return row


def documents(stream: str) -> Iterator[str]:
    """Writes pretraining documents without end; another stream name gives others."""
    rng = random.Random(f"documents {stream}")
    while True:
        if rng.random() < EXCHANGE_FRACTION:
            row = _exchange(rng, rng.choice(TASKS), for_rows=False)
            yield "\n".join(filter(None, row.values()))
        else:
            yield _tidy(Scene(rng).tell(PATTERNS["document"]))


def prompt_pairs(row: Row) -> set[tuple[str, str]]:
    """The pairs of neighbouring words in what a row asks and gives."""
    return set(pairwise(re.findall(r"\w+", f"{row['instruction']} {row['input']}".lower())))


def rows(seed: int, count: int) -> list[Row]:
    """Writes instruction rows, the tasks in turn; no prompt nearly repeats another's."""
    rng = random.Random(f"rows {seed}")
    kept: list[tuple[Row, set[tuple[str, str]]]] = []
    while len(kept) < count:
        row = _exchange(rng, TASKS[len(kept) % len(TASKS)], for_rows=True)
        pairs = prompt_pairs(row)
        if all(len(pairs & old) < MAX_OVERLAP * len(pairs | old) for _, old in kept):
            kept.append((row, pairs))
    return [row for row, _ in kept]
