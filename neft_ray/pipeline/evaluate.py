"""An evaluation from end to end: replies of one or two models, measures, a judge, a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from neft_ray.config.evaluation import EvaluationConfig
from neft_ray.errors import bad_input
from neft_ray.evaluate import ifeval
from neft_ray.evaluate.record import write_json
from neft_ray.evaluate.sets import EvaluationSet, load_set
from neft_ray.judge import (
    Comparison,
    Judge,
    Judged,
    Outputs,
    Pairing,
    compare_texts,
    pair_outputs,
    read_outputs,
    sentences,
    write_page,
)
from neft_ray.pipeline.evaluation_record import record_evaluation
from neft_ray.pipeline.judges import confirm_cost, make_judge
from neft_ray.pipeline.replies import Replied, replies_of
from neft_ray.pipeline.sides import Side, find_side
from neft_ray.report import write_report
from neft_ray.report.evaluations import COMPARISON_FILE, PAGE_FILE
from neft_ray.run_directory import RunDirectory
from neft_ray.run_in_bucket import EVALUATIONS
from neft_ray.working_copy import Pushing

VERDICTS_FILE = "verdicts.jsonl"
NONE, OUTPUTS = "none", "outputs"


class View(Protocol):
    """Is told how far an evaluation is."""

    def progress(self, what: str, num_done: int, num: int) -> None:
        """So many of so many are there."""

    def confirm(self, what: str) -> bool:
        """Ask a person; False where there is none."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, on what, against what."""

    what: str
    """See `find_side`; or a file of outputs in AlpacaEval's format."""
    on: str | None
    """A set of prompts; None: outputs are compared as they are."""
    against: str | None
    """As `what`; `outputs`: those that come with the set; `none`; None: what suggests itself."""
    storage: Path


@dataclass(frozen=True)
class Evaluated:
    """What came out."""

    folder: Path
    measures: dict[str, dict[str, float]]
    """By model."""
    sentences: Sequence[str]
    page: Path | None
    """None without a second model."""


Subject = Side | Outputs


@dataclass(frozen=True)
class Evaluation:
    """One call of `neft-ray evaluate`."""

    request: Request
    config: EvaluationConfig
    address: str | None
    view: View

    def run(self) -> Evaluated:
        """Evaluate a model, against another one where there is one.

        Everything that can be refused is refused before anything is generated or asked.

        Raises:
            UserError: If something cannot be used, see the parts; or nobody agrees to the cost.
        """
        first = self._subject(self.request.what)
        asked = load_set(self.request.on, self.config.max_prompts) if self.request.on else None
        second = self._second(first, asked)
        if asked is None and (isinstance(first, Side) or isinstance(second, Side)):
            what = "a model has nothing to answer"
            raise bad_input("evaluate", what, "name a set with --on, such as alpaca_eval")
        _refuse_one_name(first, second)
        if asked is not None and asked.kind == "ifeval":
            ifeval.check_ready(asked.rows)
        if self.config.engine == "vllm":
            from neft_ray.generate.vllm_engine import check_vllm

            check_vllm()
        judge = make_judge(self.config.judge) if self.config.judge else None
        if judge is not None and second is None:
            raise bad_input("judge", "has nothing to compare with", "name a model with --against")
        folder = self._folder(first, asked)
        with Pushing(folder):
            found = self._evaluated(first, second, asked, judge, folder)
        run = _run_of(first)
        if found.page is not None and run is not None and run.owner_pid is None:
            write_report(run)
            Pushing(run.report).push()
        return found

    def _evaluated(
        self,
        first: Subject,
        second: Subject | None,
        asked: EvaluationSet | None,
        judge: Judge | None,
        folder: Path,
    ) -> Evaluated:
        """Let the models answer what has been checked, and set them beside each other."""
        replied: dict[str, Replied] = {}
        remarks: list[str] = []
        for side in (first, second):
            if isinstance(side, Side) and asked is not None:
                replied[side.label] = found = self._replied(
                    side, asked, folder / _name(side, first)
                )
                remarks += record_evaluation(side, asked.name, found)
        measures = {found.title: found.measures for found in replied.values()}
        if len(measures) < len(replied):  # trials of two runs may have one title
            measures = {label: found.measures for label, found in replied.items()}
        if second is None:
            return Evaluated(folder, measures, remarks, None)
        outputs = [replied[s.label].outputs if isinstance(s, Side) else s for s in (first, second)]
        pairing = pair_outputs(*outputs)
        judged = self._judged(pairing, judge, folder) if judge is not None else None
        there = folder / f"{_name(first, first)}-against-{_name(second, first)}"
        write_page(there / PAGE_FILE, pairing, judged)
        said = sentences(pairing, judged)
        summary = _summary(asked, pairing, judged) | {"measures": measures, "sentences": said}
        write_json(there / COMPARISON_FILE, summary)
        return Evaluated(folder, measures, [*said, *remarks], there / PAGE_FILE)

    def _subject(self, reference: str) -> Subject:
        file = Path(reference).expanduser()
        if file.suffix == ".json" and file.is_file():
            return read_outputs(file)
        config = self.config
        storage, address = self.request.storage, self.address
        return find_side(reference, storage, config.template, config.rebuild, address)

    def _second(self, first: Subject, asked: EvaluationSet | None) -> Subject | None:
        """Return what a model is set beside.

        Where it is not said: the best trial of the other arm of the same run, with or without
        noise; else the outputs that come with the set.
        """
        against = self.request.against
        if against == NONE:
            return None
        if against == OUTPUTS and (asked is None or asked.outputs is None):
            what = "the set brings no outputs of another system"
            raise bad_input("--against outputs", what, "name a model, a run or a file of outputs")
        if against not in (None, OUTPUTS):
            return self._subject(against)
        other_arm = first.other_arm if isinstance(first, Side) else None
        if other_arm is not None and against != OUTPUTS:
            return self._subject(other_arm)
        return asked.outputs if asked is not None else None

    def _folder(self, first: Subject, asked: EvaluationSet | None) -> Path:
        run = _run_of(first)
        name = asked.name if asked is not None else "outputs"
        return (run.root if run is not None else self.request.storage) / EVALUATIONS / name

    def _replied(self, side: Side, asked: EvaluationSet, folder: Path) -> Replied:
        def progress(num_done: int, num: int) -> None:
            self.view.progress(f"{folder.name} answers", num_done, num)

        return replies_of(side, asked, self.config, folder, self.address, progress)

    def _judged(self, pairing: Pairing, judge: Judge, folder: Path) -> Judged:
        assert self.config.judge is not None
        comparison = Comparison(pairing, judge, folder / VERDICTS_FILE)
        confirm_cost(comparison, self.config.judge, self.view.confirm)

        def progress(num_done: int, num: int) -> None:
            self.view.progress(f"{judge.name} judges", num_done, num)

        return comparison.run(progress, self.config.judge.num_at_once)


def _run_of(subject: Subject) -> RunDirectory | None:
    return subject.run if isinstance(subject, Side) else None


def _refuse_one_name(first: Subject, second: Subject | None) -> None:
    """Refuse two models whose replies would lie in one folder and be taken for one another's."""
    if not (isinstance(first, Side) and isinstance(second, Side)):
        return
    if first.label == second.label and first.model.path != second.model.path:
        what = f"is the name of both {first.model.path} and {second.model.path}"
        raise bad_input(first.label, what, "rename a folder: names tell models apart")


def _name(subject: Subject, first: Subject) -> str:
    """Return a name for a folder: of a trial its own, if it is of the first one's run."""
    if isinstance(subject, Side):
        is_of_run = isinstance(first, Side) and subject.run == first.run
        return subject.short if is_of_run else subject.label
    return re.sub(r"[^\w.-]+", "_", subject.name)[:60]


def _summary(
    asked: EvaluationSet | None, pairing: Pairing, judged: Judged | None
) -> dict[str, Any]:
    """Return a comparison's figures as values that JSON has."""
    texts = compare_texts(pairing)
    rate = judged.win_rate if judged is not None else None
    return {
        "set": asked.name if asked is not None else None,
        "system": pairing.system,
        "reference": pairing.reference,
        "num_pairs": len(pairing.pairs),
        "texts": {"system": asdict(texts.system), "reference": asdict(texts.reference)},
        "judge": judged.judge if judged is not None else None,
        "win_rate": asdict(rate) if rate is not None else None,
    }
