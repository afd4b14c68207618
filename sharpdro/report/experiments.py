"""Sorting runs into experiments that may be averaged, and naming how these differ."""

import json
from dataclasses import dataclass, field

from sharpdro.command_line.flags import FREE_ON_RESUME, default_of
from sharpdro.methods.specs import METHOD_SETTINGS, METHODS, OWN_SETTINGS
from sharpdro.report.runs import TEST_IMAGES, Run

# Runs that differ in these go into different tables.
TABLE_SETTINGS = ("dataset", "corruption", "num_severity")
_NOT_COMPARED = FREE_ON_RESUME - {"on_nan"} | {"seed", "method", "distribution_agnostic"}
_NOT_COMPARED |= {"data_sink"}  # of earlier versions: how batches got to the device
_NOT_COMPARED |= {"threads"}  # which changes rounding alone
_NOT_COMPARED |= {"save_logits"}  # what is kept besides
_NOT_COMPARED |= {"class_names"}  # with other ones the fingerprint is another, too
# SharpDRO comes last, after what it is compared with.
_ORDER = sorted(METHODS, key=lambda name: name.startswith("sharpdro"))


def method_order(method: str) -> tuple[int, str]:
    """A key to sort methods by; those of the user's own come last."""
    return _ORDER.index(method) if method in _ORDER else len(_ORDER), method


@dataclass
class Experiment:
    """Runs in which nothing differs but the seed; or a single run that is not finished.

    Args:
        method: key into `specs.METHODS`, or the place of one of the user's own.
        settings: what was compared, see `compared`.
        runs: by seed.
    """

    method: str
    settings: dict
    runs: list[Run] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        return all(run.is_finished for run in self.runs)

    @property
    def is_reference(self) -> bool:
        """Whether it was trained on other severities than the others, to show what they lack."""
        return self.settings.get("severity_law", "poisson") != "poisson"

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


def compared(run: Run, all_names: set[str]) -> dict:
    """What must be equal for runs to be averaged; what a run does not name has its default."""
    is_own = run.method not in METHODS
    method_settings = {OWN_SETTINGS} if is_own else METHODS[run.method].flag_names
    names = (all_names - _NOT_COMPARED - METHOD_SETTINGS) | method_settings
    settings = {name: run.settings.get(name, default_of(name)) for name in sorted(names)}
    every, total = (run.settings.get(n, default_of(n)) for n in ("eval_every", "total_epoch"))
    if "eval_every" in names and every >= total:
        settings["eval_every"] = "last"  # once, after the last epoch, whatever the number
    return settings


def experiments_of(runs: list[Run]) -> tuple[list[Experiment], list[str]]:
    """Sort runs into experiments, baselines first; also remarks on runs that are left out."""
    all_names = set(TABLE_SETTINGS).union(*(run.settings for run in runs))
    experiments, remarks = {}, []
    known = _known_images(runs, all_names)
    for run in sorted(runs, key=lambda run: (method_order(run.method), run.seed)):
        settings = compared(run, all_names)
        settings[TEST_IMAGES] = _images_of(run, all_names, known)
        if not run.summary:
            remarks.append(f"not evaluated yet: {run.folder} (epoch {run.epoch})")
            continue
        # Runs on their way are at different epochs: each stands for itself.
        alone = None if run.is_finished else str(run.folder)
        key = (run.method, json.dumps(settings, sort_keys=True), alone)
        experiment = experiments.setdefault(key, Experiment(run.method, settings))
        if run.seed in experiment.seeds:
            twin = experiment.runs[experiment.seeds.index(run.seed)].folder
            remarks.append(f"left out, the same settings and seed as {twin}: {run.folder}")
            continue
        experiment.runs.append(run)
    return list(experiments.values()), remarks


def _known_images(runs: list[Run], all_names: set[str]) -> dict[str, set[str]]:
    """The checksums of test images that were recorded, by all else that was compared."""
    known = {}
    for run in runs:
        if run.settings.get(TEST_IMAGES):
            known.setdefault(_but_images(run, all_names), set()).add(run.settings[TEST_IMAGES])
    return known


def _images_of(run, all_names, known) -> str | None:
    """The checksum; of a run that has none the only one that its experiment can have."""
    recorded = run.settings.get(TEST_IMAGES)
    others = known.get(_but_images(run, all_names), ())
    return next(iter(others)) if recorded is None and len(others) == 1 else recorded


def _but_images(run, all_names) -> str:
    return json.dumps([run.method, compared(run, all_names - {TEST_IMAGES})], sort_keys=True)


def tables_of(experiments: list[Experiment]) -> dict[tuple, list[Experiment]]:
    """The experiments of each table, by their values of TABLE_SETTINGS."""
    tables = {}
    for experiment in experiments:
        key = tuple(experiment.settings[name] for name in TABLE_SETTINGS)
        tables.setdefault(key, []).append(experiment)
    return dict(sorted(tables.items(), key=lambda item: [str(value) for value in item[0]]))


def labels_of(experiments: list[Experiment]) -> list[str]:
    """A name for each, by which those can be told apart that differ.

    That is the method, then what is not the default: of its own settings all, of those that every
    method has the ones in which some of the experiments differ; --desc only where nothing else
    tells them apart.
    """
    shown = METHOD_SETTINGS | _varying(experiments)
    labels = [_label(e, shown - {"desc"}) for e in experiments]
    return [
        label if labels.count(label) == 1 else _label(e, shown)
        for label, e in zip(labels, experiments)
    ]


def _label(experiment: Experiment, shown: set[str]) -> str:
    settings = {n: v for n, v in experiment.settings.items() if n in shown}
    return " ".join([experiment.method, *_listed(settings)])


def shared_line(experiments: list[Experiment]) -> str:
    """What no label says: settings that all share and that are not the defaults."""
    hidden = METHOD_SETTINGS | _varying(experiments) | {*TABLE_SETTINGS, TEST_IMAGES}
    return " ".join(_listed({n: v for n, v in experiments[0].settings.items() if n not in hidden}))


def _varying(experiments: list[Experiment]) -> set[str]:
    """Names of the settings in which some of the experiments that have them differ."""
    values = {}
    for experiment in experiments:
        for name, value in experiment.settings.items():
            values.setdefault(name, set()).add(json.dumps(value))
    return {name for name, seen in values.items() if len(seen) > 1}


def _listed(settings: dict) -> list[str]:
    return [f"{n}={value}" for n, value in sorted(settings.items()) if value != default_of(n)]
