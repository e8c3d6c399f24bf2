"""What the checkpoints of a batch are of: its rows, its settings, and its problems."""

from typing import Any

from pyspark.sql import DataFrame

from sparkml_lsml.engine.blocks.report import Report
from sparkml_lsml.engine.predictors.module import ModulePredictor
from sparkml_lsml.losses.custom import CustomLoss, samples
from sparkml_lsml.spark.folders.fingerprint import LABEL, Fingerprint
from sparkml_lsml.spark.folders.persistence import digest
from sparkml_lsml.spark.rows.frames import column_type
from sparkml_lsml.spark.rows.plan import IngestPlan
from sparkml_lsml.spark.rows.resident import ResidentBlocks
from sparkml_lsml.spark.training.batch import Batch
from sparkml_lsml.spark.training.member import Member


def fingerprint_of(
    batch: Batch, plan: IngestPlan, dataset: DataFrame, blocks: ResidentBlocks, report: Report
) -> Fingerprint:
    """The fingerprint of a batch.

    Parameters
    ----------
    batch : Batch
    plan : IngestPlan
    dataset : DataFrame
        The rows as they were before they were packed.
    blocks : ResidentBlocks
    report : Report
        Of the rows that are trained on.
    """
    features = (plan.features,) if isinstance(plan.features, str) else plan.features
    columns = (*features, plan.label, plan.weight, plan.validation)
    exact = {
        "columns": {c: column_type(dataset, c, "column").simpleString() for c in columns if c},
        "rows": blocks.rows,
        "checksum of the rows": blocks.checksum,
        "features": report.longest,
        "labels": {str(label): rows for label, (rows, _) in report.labels.items()},
        "task": plan.task,
        "folds": plan.folds,
        "models": [facts_of(member) for member in batch.members],
    }
    if any(member.replicate >= 0 for member in batch.members):
        # which rows a replicate sees depends on the partition that they are in
        exact["partitions"] = blocks.partitions
    known = {"the features": report.moments, LABEL: report.label_moments}
    return Fingerprint.of(exact, {name: each for name, each in known.items() if each is not None})


def facts_of(member: Member) -> dict[str, Any]:
    """What makes a model of a batch what it is, the rows aside."""
    settings, problem = member.settings, member.problem
    loss = problem.loss
    # a name says little of a loss that is the user's own
    own = {"loss at fixed points": samples(loss)} if isinstance(loss, CustomLoss) else {}
    if isinstance(problem.predictor, ModulePredictor):
        own["network at fixed points"] = problem.predictor.samples()
    start = {} if settings.initial is None else {"initial model": digest(settings.initial)}
    return {
        "estimator": settings.estimator,
        **settings.params(),
        # in the place of what was asked for
        "solver": problem.solver,
        **own,
        # a subclass of the user's may make of its Params what it likes
        "predictor": repr(problem.predictor),
        "strengths": [problem.l1, problem.l2],
        **start,
        "held out": member.held_out,
        "replicate": member.replicate,
        "class": member.positive,
    }
