"""Asks a judge for every pair in both orders, goes on where it was killed, asks nothing twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from neft_ray.errors import bad_input
from neft_ray.judge.cache import VerdictCache, key_of
from neft_ray.judge.cost import Cost, TokenPrices, estimated_tokens
from neft_ray.judge.judges import Judge, Verdict
from neft_ray.judge.outputs import Pair, Pairing
from neft_ray.judge.winrate import WinRate, win_rate_of

TIE = 0.5
MOST_WITHOUT_VERDICT = 16
"""First replies that may all hold no verdict: such a judge is not asked on."""

Progress = Callable[[int, int], None]
"""Is told how many of how many verdicts are there, in the thread that called."""


@dataclass(frozen=True)
class JudgedPair:
    """What the judge says of a pair, asked in both orders."""

    pair: Pair
    reference_first: Verdict | None
    """With the reference as output 1; None where the outputs are equal and nothing is asked."""
    system_first: Verdict | None
    """With the judged system as output 1."""

    @property
    def orders(self) -> tuple[float | None, float | None]:
        """The preference for the judged system, shown second and shown first."""
        first, second = self.reference_first, self.system_first
        if first is None or second is None:
            return TIE, TIE
        shown_first = None if second.preference is None else 1 - second.preference
        return first.preference, shown_first

    @property
    def preference(self) -> float | None:
        """For the judged system, the mean of both orders; None if an order has no verdict.

        One order alone would bring in the judge's liking for a place.
        """
        one, other = self.orders
        return None if one is None or other is None else (one + other) / 2

    @property
    def orders_disagree(self) -> bool:
        """Whether the judge prefers one output in one order and the other in the other."""
        one, other = self.orders
        return one is not None and other is not None and (one - TIE) * (other - TIE) < 0

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Those that were asked for."""
        return tuple(it for it in (self.reference_first, self.system_first) if it is not None)


@dataclass(frozen=True)
class Judged:
    """A whole comparison."""

    pairing: Pairing
    judge: str
    rows: tuple[JudgedPair, ...]
    """In the order of the pairing."""
    num_asked: int
    """Verdicts that this run asked for; the others were known."""

    @cached_property
    def win_rate(self) -> WinRate | None:
        """Of the judged system over all pairs with a verdict; None without any."""
        return win_rate_of(
            [row.preference for row in self.rows],
            [len(row.pair.system) for row in self.rows],
            [len(row.pair.reference) for row in self.rows],
        )

    @property
    def num_orders_disagree(self) -> int:
        """Pairs on which the judge changes its mind with the order."""
        return sum(row.orders_disagree for row in self.rows)

    @property
    def num_without_verdict(self) -> int:
        """Pairs that no win rate counts."""
        return sum(row.preference is None for row in self.rows)

    @property
    def num_equal(self) -> int:
        """Pairs of equal outputs: ties that nobody was asked about."""
        return sum(not row.verdicts for row in self.rows)

    @property
    def problems(self) -> dict[str, int]:
        """Why replies held no verdict, with their number."""
        verdicts = (verdict for row in self.rows for verdict in row.verdicts)
        return dict(Counter(it.problem for it in verdicts if it.preference is None).most_common())

    @property
    def sources(self) -> dict[str, int]:
        """Where preferences come from, with their number."""
        verdicts = (verdict for row in self.rows for verdict in row.verdicts)
        return dict(Counter(it.source for it in verdicts if it.source).most_common())

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Input and output tokens of all verdicts, known ones too; None where one does not say."""
        verdicts = [verdict for row in self.rows for verdict in row.verdicts]
        inputs = [it.input_tokens for it in verdicts if it.input_tokens is not None]
        outputs = [it.output_tokens for it in verdicts if it.output_tokens is not None]
        return (
            sum(inputs) if len(inputs) == len(verdicts) else None,
            sum(outputs) if len(outputs) == len(verdicts) else None,
        )


class Comparison:
    """Two systems' outputs, a judge, and the file that its verdicts are kept in."""

    def __init__(self, pairing: Pairing, judge: Judge, cache_file: Path) -> None:
        self._pairing = pairing
        self._judge = judge
        self._cache = VerdictCache(cache_file)

    def cost(self, prices: TokenPrices | None = None) -> Cost:
        """Return what is still to be asked and about what it takes. Asks nothing.

        Raises:
            UserError: If the file of verdicts cannot be read.
        """
        known = self._cache.read()
        questions = dict(self._questions())
        missing = [question for key, question in questions.items() if key not in known]
        inputs = sum(estimated_tokens(self._judge.prompt.render(*it)) for it in missing)
        outputs = len(missing) * self._judge.max_output_tokens
        money = prices.of(inputs, outputs) if prices else None
        return Cost(
            num_pairs=len(self._pairing.pairs),
            num_questions=len(questions),
            num_known=len(questions) - len(missing),
            input_tokens=inputs,
            output_tokens=outputs,
            money=money,
        )

    def run(self, progress: Progress | None = None, concurrency: int = 4) -> Judged:
        """Ask for all verdicts that are not known.

        Args:
            progress: Called after every verdict.
            concurrency: Questions at a time.

        Raises:
            UserError: If the judge cannot be asked, or never gives a verdict. What was answered
                is kept.
            StorageError: If the disk is full or not writable.
        """
        with self._cache.adding():
            verdicts = self._cache.read()
            questions = dict(self._questions())
            missing = {key: it for key, it in questions.items() if key not in verdicts}
            numbers = count(len(questions) - len(missing) + 1)
            with closing(self._ask(missing, concurrency)) as answers:
                for key, verdict in answers:
                    verdicts[key] = verdict
                    if progress:
                        progress(next(numbers), len(questions))
        rows = tuple(self._judged(pair, verdicts) for pair in self._pairing.pairs)
        return Judged(self._pairing, self._judge.name, rows, len(missing))

    def _questions(self) -> Iterator[tuple[str, tuple[str, str, str]]]:
        """Yield what is to be asked, with its key: each pair in both orders."""
        for pair in self._pairing.pairs:
            if pair.system != pair.reference:
                for outputs in ((pair.reference, pair.system), (pair.system, pair.reference)):
                    question = (pair.instruction, *outputs)
                    yield key_of(self._judge, *question), question

    def _ask(
        self, questions: dict[str, tuple[str, str, str]], concurrency: int
    ) -> Generator[tuple[str, Verdict], None, None]:
        """Yield verdicts as they come, each on the disk already."""
        stop = threading.Event()

        def ask(key: str, question: tuple[str, str, str]) -> Verdict | None:
            if stop.is_set():
                return None
            try:
                verdict = self._judge.ask(*question)
                self._cache.add(key, verdict)
            except BaseException:
                stop.set()
                raise
            return verdict

        with ThreadPoolExecutor(concurrency, thread_name_prefix="judge") as threads:
            waiting = {threads.submit(ask, *item): item[0] for item in questions.items()}
            num, seen_one = 0, False
            try:
                for done in as_completed(waiting):
                    verdict = done.result()
                    if verdict is None:
                        continue  # behind one that failed, whose error is yet to come
                    num += 1
                    seen_one |= verdict.preference is not None
                    if num == MOST_WITHOUT_VERDICT and not seen_one:
                        raise _no_verdicts(self._judge, verdict)
                    yield waiting[done], verdict
            finally:
                stop.set()
                threads.shutdown(wait=True, cancel_futures=True)

    def _judged(self, pair: Pair, verdicts: dict[str, Verdict]) -> JudgedPair:
        if pair.system == pair.reference:
            return JudgedPair(pair, None, None)
        first = key_of(self._judge, pair.instruction, pair.reference, pair.system)
        second = key_of(self._judge, pair.instruction, pair.system, pair.reference)
        return JudgedPair(pair, verdicts[first], verdicts[second])


def _no_verdicts(judge: Judge, last: Verdict) -> Exception:
    """Return the error of a judge whose replies cannot be read."""
    return bad_input(
        judge.name,
        f"none of its first {MOST_WITHOUT_VERDICT} replies holds a verdict; "
        f"the last is {last.problem}: {last.reply[:200]!r}",
        "use another judge or prompt, or allow more output tokens",
    )
