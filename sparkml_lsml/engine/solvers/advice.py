"""What is said of why a solver stopped."""

ADVICE = {
    "converged": "the tolerance was reached",
    "precision": "what a further step promises is lost in the rounding of the objective: this is "
    "the minimum to the precision of the arithmetic",
    "max_iter": "maxIter was reached before the tolerance: raise maxIter or tol",
    "line_search": "no step along the negative gradient lowers the objective, though it should: "
    "this is not the minimum. Rescale features and labels of extreme size, or use another solver",
    "stalled": "the objective stands still, and nothing shows that this is its minimum: use "
    "solver='auto', or another stepSize",
    "diverged": "the objective is not finite or grows without end: lower stepSize, use "
    "solver='auto', or rescale features and labels of extreme size",
    "callback": "a callback asked to stop",
    "early_stopping": "the validation loss has not improved for 'patience' iterations: the "
    "coefficients of its least value were kept; raise patience to look further",
    "direct": "solved directly, without iterations",
    "completed": "all epochs of the schedule are done",
    "settled": "the loss of the mini-batches has not fallen by 'tol' for some epochs in a row",
    "piece": "the epochs over one piece of the rows are done: call partialFit with the next",
}
"""What each reason for stopping means and what to do."""

STEPS_DIVERGED = (
    "also with smaller and smaller steps: lower stepSize, set maxGradNorm, or rescale features and "
    "labels of extreme size"
)
"""The same of local steps that say where they failed, for which no other solver is at hand."""
