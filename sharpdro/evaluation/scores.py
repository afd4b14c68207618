"""Loss and accuracy on a set of images. Knows no MindSpore."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Score:
    """Mean loss (nats), accuracy in [0, 1] and number of images."""

    loss: float
    accuracy: float
    count: int


# One number each of a row of val.csv and test.csv.
SCORE_COLUMNS = [field.name for field in fields(Score)]


def mean_score(scores: list[Score]) -> Score:
    """Mean over severities."""
    return Score(
        sum(s.loss for s in scores) / len(scores),
        sum(s.accuracy for s in scores) / len(scores),
        sum(s.count for s in scores),
    )


def worst_score(scores: list[Score]) -> Score:
    """The severity of the lowest accuracy (of several, the one of the highest loss)."""
    return min(scores, key=lambda s: (s.accuracy, -s.loss))
