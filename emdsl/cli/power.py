"""`emdsl power`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from emdsl.cli import console, options
from emdsl.errors import UsageError
from emdsl.outcomes.sample_size import ALPHA, POWER
from emdsl.study.annotation_power import HALF_WIDTH, annotation_power
from emdsl.study.compiled import compile_study
from emdsl.study.power import compute_power
from emdsl.study.project import open_project

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.study.annotation_power import AnnotationPower
    from emdsl.study.power import Power


@click.command("power")
@options.with_options(options.STUDY, options.AS_JSON)
@options.MEASURE
@options.option(
    "--effect", type=click.FloatRange(0, min_open=True), envvar=None,
    help="The difference to detect, in the unit of the measure: 0.05.  [default: the measure's own `effect`]",
)  # fmt: skip
@options.option(
    "--rate", type=click.FloatRange(0, 1), envvar=None, help="Assume this rate instead of the measured one."
)
@options.option("--power", type=click.FloatRange(0.5, 1, max_open=True), default=POWER, help="[default: 0.8]")
@options.option("--alpha", type=click.FloatRange(0, 0.5, min_open=True), default=ALPHA, help="[default: 0.05]")
@options.option(
    "--annotations", is_flag=True, envvar=None,
    help="Compute the number of annotations that a rate with `via` needs.",
)  # fmt: skip
@options.option(
    "--half-width", type=click.FloatRange(0, 1, min_open=True, max_open=True), envvar=None,
    help=f"With --annotations: the wanted half width of the interval.  [default: {HALF_WIDTH}]",
)  # fmt: skip
@options.option(
    "--sensitivity", type=click.FloatRange(0, 1), envvar=None, help="With --annotations: the assumed sensitivity."
)
@options.option(
    "--specificity", type=click.FloatRange(0, 1), envvar=None, help="With --annotations: the assumed specificity."
)
def command(
    file: Path, cache: Path | None, env_file: Path | None, simulate: bool, as_json: bool, measure: str | None,
    effect: float | None, rate: float | None, power: float, alpha: float, annotations: bool,
    half_width: float | None, sensitivity: float | None, specificity: float | None,
) -> int:  # fmt: skip
    """Compute the sample size of each cell that FILE needs to detect an effect. Nothing is sent.

    For a rate or a mean the effect is between two groups of the measure; for a contrast, between its sides. Rates and
    variances come from the cached answers, unless a rate is assumed.

    \b
    Examples:
      emdsl power study.em --effect 0.1
      emdsl power study.em --effect 0.1 --rate 0.05
      emdsl power study.em --annotations --half-width 0.05
    """
    console.expect_json(wanted=as_json)
    study = compile_study(open_project(file, cache, env_file, simulate=simulate), file)
    result: Power | AnnotationPower
    if annotations:
        if effect is not None:
            raise UsageError("--effect does not apply to --annotations: give --half-width")
        result = annotation_power(
            study, measure=measure, half_width=half_width or HALF_WIDTH, rate=rate, sensitivity=sensitivity,
            specificity=specificity,
        )  # fmt: skip
    elif half_width is not None or sensitivity is not None or specificity is not None:
        raise UsageError("--half-width, --sensitivity and --specificity need --annotations")
    else:
        result = compute_power(study, measure=measure, effect=effect, rate=rate, power=power, alpha=alpha)
    if as_json:
        console.show_json(result.as_json())
    else:
        console.show(result.parts())
    return 0
